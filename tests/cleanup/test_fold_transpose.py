"""Transposed weight quantisers become quantisers of transposed weights, bit for bit."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from anybit import compare, load
from anybit.cleanup.fold_transpose import FoldTranspose
from anybit.io.save import to_proto
from tests.integration.corpus import needs_corpus
from tests.models import model, parameters, quant
from tests.passes.rewriting import (
    applied,
    assert_same_bits,
    corpus_with,
    operators,
    placed,
    problems,
    settings_of_use,
    text,
)
from tests.strategies import examples, modes, parameter_shapes, positive_scales

W = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


def _transpose(source: str, target: str, perm=(1, 0)):
    attributes = {} if perm is None else {"perm": list(perm)}
    return helper.make_node("Transpose", [source], [target], name=f"{target}_node", **attributes)


def _layer(**values):
    nodes = [quant("w", "wq"), _transpose("wq", "wt", None), helper.make_node("MatMul", ["x", "wt"], ["y"], name="mm")]
    return model(nodes, {"w": W} | parameters("wq", **values), inputs={"x": [2, 4]}, outputs=["y"])


def test_before_and_after():
    proto = _layer(scale=np.float32([[0.1], [0.2], [0.3]]))
    assert text(proto) == [
        "wq = Quant(w[3,4], wq_scale[3,1], 0, 4, narrow=0)",
        "wt = Transpose(wq)",
        "y = MatMul(x, wt)",
    ]
    assert text(applied(proto, FoldTranspose(), modified=True)) == [
        "wt = Quant(w/transposed[4,3], wq_scale/transposed[1,3], 0, 4, narrow=0)",
        "y = MatMul(x, wt)",
    ]


@st.composite
def _models(draw):
    shape = draw(st.sampled_from([(3, 4), (2, 3, 4), (1, 2, 3, 2), (5,)]))
    perm = draw(st.permutations(range(len(shape))))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    shapes = [draw(parameter_shapes(shape)) for _ in range(3)]
    values = {
        "w": rng.normal(size=shape).astype(np.float32),
        "q_scale": positive_scales(rng, shapes[0], np.float32),
        "q_zeropt": rng.integers(-2, 3, shapes[1]).astype(np.float32),
        "q_bits": rng.integers(1, 5, shapes[2]).astype(np.float32),
    }
    nodes = [quant("w", "q", rounding_mode=draw(modes)), _transpose("q", "t", perm)]
    nodes.append(helper.make_node("Add", ["t", "x"], ["y"], name="add"))
    return placed(draw(settings_of_use), nodes, values, inputs={"x": [1]})


@examples(50)
@given(_models())
def test_results_are_the_same_bit_for_bit(proto):
    after = applied(proto, FoldTranspose(), modified=True)
    assert "Transpose" not in operators(after)
    assert_same_bits(proto, after, {"x": np.float32([0.5])})


@pytest.mark.parametrize(
    "outputs", [["a", "b", "c"], ["q", "a", "b", "c"], ["ar", "br", "cr"], ["a", "br", "cr", "q"], ["b", "ar", "cr"]]
)
def test_one_quantiser_serves_each_permutation_and_names_of_outputs_stay(outputs):
    nodes = [quant("w", "q"), _transpose("q", "a"), _transpose("q", "b"), _transpose("q", "c", (0, 1))]
    nodes += [helper.make_node("Relu", [n], [f"{n}r"], name=f"{n}r") for n in "abc"]
    proto = model(nodes, {"w": W} | parameters("q"), inputs={"x": [1]}, outputs=outputs)
    after = applied(proto, FoldTranspose(), modified=True)
    assert [v.name for v in after.graph.outputs] == outputs
    assert "Transpose" not in operators(after)
    own, inner = set(outputs) & set("qabc"), set("abc") - set(outputs)
    assert operators(after).count("Quant") == len(own) + len({name == "c" for name in inner})
    assert_same_bits(proto, after, {"x": np.float32([0])}, ("reference", "onnxruntime"))


def test_chains_and_other_quantisers():
    values = {"w": W, "s": np.float32([[0.5], [0.25], [1]])}
    nodes = [helper.make_node("BipolarQuant", ["w", "s"], ["q"], name="q", domain="qonnx.custom_op.general")]
    nodes += [_transpose("q", "a"), _transpose("a", "b"), _transpose("q", "c"), _transpose("c", "d")]
    nodes += [helper.make_node("Sum", ["b", "d", "x"], ["y"], name="sum")]
    proto = model(nodes, values, inputs={"x": [1]}, outputs=["y"])
    after = applied(proto, FoldTranspose(), modified=True)
    assert set(operators(after)) == {"BipolarQuant", "Sum"}
    assert_same_bits(proto, after, {"x": np.float32([0])})


def test_activations_are_left_alone():
    nodes = [quant("x", "q"), _transpose("q", "y")]
    proto = model(nodes, parameters("q"), inputs={"x": [2, 3]}, outputs=["y"])
    assert operators(applied(proto, FoldTranspose(), modified=False)) == ["Quant", "Transpose"]


def test_a_permutation_of_other_axes_is_noted():
    proto = _layer()
    proto.graph.node[1].attribute.append(helper.make_attribute("perm", [0, 2, 1]))
    loaded = load(proto)
    result = FoldTranspose()(loaded)
    assert not result.modified
    assert problems(result) == {"Transpose 'wt_node'": "perm"}


def test_annotations_move_but_not_the_names_of_axes():
    proto = _layer()
    annotation = proto.graph.quantization_annotation.add(tensor_name="wq")
    annotation.quant_parameter_tensor_names.add(key="finn_datatype", value="INT4")
    annotation.quant_parameter_tensor_names.add(key="tensor_layout", value="['O', 'I']")
    after = to_proto(applied(proto, FoldTranspose()))
    (kept,) = after.graph.quantization_annotation
    assert kept.tensor_name == "wt"
    assert {e.key: e.value for e in kept.quant_parameter_tensor_names} == {"finn_datatype": "INT4"}


@pytest.mark.parametrize("perm", list(permutations(range(3))))
def test_per_channel_scales_of_lower_rank(perm):
    values = {"w": np.arange(24, dtype=np.float32).reshape(2, 3, 4)} | parameters(
        "q", scale=np.float32([1, 2, 3, 4]), bits=6
    )
    nodes = [quant("w", "q"), _transpose("q", "t", perm), helper.make_node("Mul", ["t", "x"], ["y"], name="y")]
    proto = model(nodes, values, inputs={"x": [1]}, outputs=["y"])
    assert_same_bits(proto, applied(proto, FoldTranspose(), modified=True), {"x": np.float32([1])})


@needs_corpus
@pytest.mark.parametrize("case", corpus_with("Transpose", megabytes=0.3), ids=lambda c: c.name)
def test_corpus(case):
    after = applied(case.path, FoldTranspose())
    assert compare(case.path, after, samples=3, tolerance=0, engine_a="reference", engine_b="reference").equal
