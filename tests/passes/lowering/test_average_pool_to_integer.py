"""AveragePoolToInteger: what Brevitas writes for an average, as integers, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from anybit import check, load
from anybit.passes.lowering.average_pool_to_integer import AveragePoolToInteger
from tests.integration.corpus import needs_corpus
from tests.models import DOMAIN, model, parameters, quant
from tests.passes.rewriting import applied, assert_same_bits, corpus_with, operators, problems
from tests.strategies import MODES, examples

STEP = np.float32(0.0371)


def _model(
    version: int,
    pool: dict,
    *,
    op_type="AveragePool",
    unit=4.0,
    mode="FLOOR",
    signed=0,
    step=STEP,
    bits=4,
    out_bits=4,
    pixels=4,
    x=(1, 3, 6, 6),
    outputs=("y",),
    off=1.0,
):
    """Quant, a pool, and the Trunc behind it, as Brevitas writes it in this version of the domain."""
    values = parameters("q", scale=step, bits=float(bits))
    fine = np.float32(step / np.float32(pixels)) * np.float32(off)
    values |= {"zero": np.float32(0), "in": np.float32(8), "out": np.float32(out_bits)}
    nodes = [quant("x", "q", signed=signed), helper.make_node(op_type, ["q"], ["p"], name="pool", **pool)]
    attributes = {"rounding_mode": mode}
    if version == 1:
        values |= {"s": step, "pixels": np.float32(pixels)}
        nodes.append(helper.make_node("Mul", ["p", "pixels"], ["m"], name="mul"))
        inputs = ["m", "s", "zero", "in", "out"]
        values["in"] = np.float32(out_bits + np.log2(unit))
    else:
        attributes |= {"signed": signed, "narrow": 0}
        values |= {"s": fine, "os": fine * np.float32(unit)}
        inputs = ["p", "s", "zero", "in", "os", "out"]
    nodes.append(helper.make_node("Trunc", inputs, ["y"], name="trunc", domain=DOMAIN, **attributes))
    return model(nodes, values, inputs={"x": list(x)}, outputs=list(outputs), imports={"": 13, DOMAIN: version})


@st.composite
def _cases(draw):
    version, kernel = draw(st.sampled_from([1, 2])), [draw(st.integers(1, 4)) for _ in range(2)]
    if draw(st.booleans()):
        kernel[1] = kernel[0]
    pool = {"kernel_shape": kernel, "strides": [draw(st.integers(1, 2))] * 2}
    if draw(st.booleans()):
        pool |= {"pads": [draw(st.integers(0, k - 1)) for k in (*kernel, *kernel)], "count_include_pad": 1}
    return _model(
        version,
        pool,
        unit=2.0 ** draw(st.integers(0, 5)),
        mode=draw(st.sampled_from(MODES)) if draw(st.booleans()) else "FLOOR",
        signed=draw(st.integers(0, 1)),
        step=np.float32(draw(st.sampled_from([0.0371, 0.25, 1.0, 3.3]))),
        bits=draw(st.integers(2, 8)),
        out_bits=draw(st.integers(2, 8)),
        pixels=int(np.prod(kernel)),
        x=(draw(st.sampled_from([1, "N"])), 3, 6, 7),
    )


@given(_cases(), st.integers(0, 99))
@examples(150)
def test_results_are_the_same_bit_for_bit(proto, seed):
    after = applied(proto, AveragePoolToInteger(), modified=True)
    assert not {"AveragePool", "GlobalAveragePool"} & set(operators(after))
    assert not [f for f in check(after) if f.rule != "shape"]
    x = np.random.default_rng(seed).normal(size=(1, 3, 6, 7), scale=3).astype(np.float32)
    assert_same_bits(proto, after, {"x": x}, ("reference", "onnxruntime"))


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("op_type", ["AveragePool", "GlobalAveragePool", "ReduceMean"])
def test_floors_of_square_windows_are_a_shift(version, op_type):
    pool = {"AveragePool": {"kernel_shape": [4, 4]}, "ReduceMean": {"axes": [-1, 2], "keepdims": 1}}.get(op_type, {})
    proto = _model(version, pool, op_type=op_type, pixels=16, unit=16.0, x=(2, 3, 4, 4), signed=0)
    after = applied(proto, AveragePoolToInteger(), modified=True)
    assert operators(after) == ["Quant", "Div", "QuantAvgPool2d", "Mul"]
    (pooled,) = [n for n in after.graph if n.op_type == "QuantAvgPool2d"]
    numbers = {n: pooled.attributes.get_int(n) for n in ("kernel", "stride", "ibits", "obits", "signed")}
    assert numbers == {"kernel": 4, "stride": 1, "ibits": 4, "obits": 4, "signed": 0}
    x = np.random.default_rng(0).uniform(-0.1, 0.7, (2, 3, 4, 4)).astype(np.float32)
    assert_same_bits(proto, after, {"x": x}, ("reference", "onnxruntime"))


def test_other_roundings_keep_a_trunc_of_integers():
    proto = _model(2, {"kernel_shape": [2, 2]}, mode="ROUND")
    after = applied(proto, AveragePoolToInteger(), modified=True)
    assert operators(after) == ["Quant", "Div", "Conv", "Trunc", "Mul"]


def test_sums_that_are_clipped_keep_a_trunc_of_integers():
    proto = _model(2, {"kernel_shape": [2, 2]}, unit=2.0)
    after = applied(proto, AveragePoolToInteger(), modified=True)
    assert operators(after) == ["Quant", "Div", "Conv", "Trunc", "Mul"]
    x = np.random.default_rng(0).uniform(-0.1, 0.7, (1, 3, 6, 6)).astype(np.float32)
    assert_same_bits(proto, after, {"x": x}, ("reference", "onnxruntime"))


_PLAIN = {"kernel_shape": [2, 2]}
PER_CHANNEL = np.float32([1, 2, 3]).reshape(3, 1, 1)


@pytest.mark.parametrize(
    ("proto", "problem"),
    [
        (_model(2, _PLAIN | {"pads": [1] * 4}), "windows at the border average fewer pixels"),
        (_model(2, _PLAIN | {"ceil_mode": 1}), "windows of a kind that has no integer form"),
        (_model(2, _PLAIN, off=1.02), "scale of another grid"),
        (_model(2, _PLAIN, step=PER_CHANNEL), "a parameter is not one constant number"),
        (_model(2, _PLAIN, outputs=("y", "p")), "the average is used elsewhere"),
        (_model(2, {}, op_type="GlobalAveragePool", x=(1, 3, "H", 6)), "the number of pixels is not known"),
        (_model(2, _PLAIN, unit=0.5), "the output grid is finer than that of the sums"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)  # fmt: skip
def test_what_is_left_is_named(proto, problem):
    after = applied(proto, AveragePoolToInteger(), modified=False)
    assert problems(after) == {"Trunc 'trunc'": problem}


def test_pixels_that_are_not_quantised_are_left():
    proto = _model(2, _PLAIN)
    proto.graph.node[1].input[0] = "x"
    text = "the pixels are on no common grid without a zero point"
    assert problems(applied(proto, AveragePoolToInteger(), modified=False)) == {"Trunc 'trunc'": text}


def test_models_without_trunc_stay():
    proto = model([quant("x", "y")], parameters("y"), inputs={"x": [1, 2]}, outputs=["y"])
    assert not AveragePoolToInteger()(load(proto)).modified


@needs_corpus
@pytest.mark.parametrize("case", corpus_with("Trunc", megabytes=8), ids=lambda c: c.name)
def test_real_models(case):
    after = applied(load(case.path), AveragePoolToInteger())
    assert not {"AveragePool", "GlobalAveragePool", "ReduceMean"} & set(operators(after))
    assert_same_bits(case.path, after, {str(after.graph.inputs[0].name): case.inputs[:2]})
