"""Integer products: taken where they are exact and pay, equal to the reference, and never for what is not finite."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from anybit import Session, compare, load
from anybit.cleanup.infer_shapes import InferShapes
from anybit.engines.onnxruntime.rewrites.integer_matmul import use_integer_matmul
from tests.models import model, parameters, quant, samples


def dense(*, activation=None, weight=None, rows=96, columns=96, x_attributes=None, w_attributes=None, tail="Relu"):
    """x -> Quant -> MatMul(Quant(w)) -> y."""
    nodes = [
        quant("x", "xq", **(x_attributes or {})),
        quant("w", "wq", **({"narrow": 1} | (w_attributes or {}))),
        helper.make_node("MatMul", ["xq", "wq"], ["h"]),
        helper.make_node(tail, ["h"], ["y"]),
    ]
    values = parameters("xq", **(activation or {})) | parameters("wq", **({"scale": 0.25} | (weight or {})))
    values["w"] = samples(rows, columns, seed=1)
    return model(nodes, values, inputs={"x": ["N", rows]}, outputs=["y"])


def is_taken(proto) -> bool:
    loaded = load(proto)
    InferShapes()(loaded)
    return use_integer_matmul(loaded)


def agree(proto, x) -> None:
    fast, right = (Session(proto, engine=e).run(x)["y"] for e in ("onnxruntime", "reference"))
    np.testing.assert_allclose(fast, right, rtol=1e-6, atol=1e-6 * float(np.nanmax(np.abs(right), initial=0)))


@settings(max_examples=40)
@given(
    st.integers(2, 6),
    st.booleans(),
    st.booleans(),
    st.integers(2, 6),
    st.booleans(),
    st.floats(1e-3, 10),
    st.booleans(),
)
def test_integer_products_equal_the_reference(bits, signed, narrow, weight_bits, weight_narrow, scale, per_column):
    weight_scale = np.linspace(0.1, 0.9, 96, dtype=np.float32) if per_column else 0.3
    proto = dense(
        activation={"bits": bits, "scale": scale},
        weight={"bits": weight_bits, "scale": weight_scale},
        x_attributes={"signed": int(signed), "narrow": int(narrow)},
        w_attributes={"narrow": int(weight_narrow)},
    )
    assert is_taken(proto)
    lo, hi = (-(2 ** (bits - 1)) - 2, 2 ** (bits - 1) + 2) if signed else (-2, 2**bits + 2)
    steps = np.random.default_rng(0).integers(2 * lo, 2 * hi, (16, 96)) / 2  # grid points, ties and overflow
    agree(proto, (steps * scale).astype(np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_what_is_not_finite_means_what_the_reference_says(value):
    proto = dense()
    x = samples(3, 96)
    x[1, 5] = value
    fast, right = (Session(proto, engine=e).run(x)["y"] for e in ("onnxruntime", "reference"))
    np.testing.assert_array_equal(np.isnan(fast), np.isnan(right))
    np.testing.assert_allclose(fast, right, rtol=1e-6)


def test_lists_are_taken_too():
    x = samples(2, 96)
    session = Session(dense())
    np.testing.assert_array_equal(session.run({"x": x.tolist()})["y"], session.run(x)["y"])


def test_both_scales_may_be_tensors_of_one_element():
    proto = dense(
        activation={"scale": np.full((1, 1), 0.5, np.float32)}, weight={"scale": np.full(1, 0.25, np.float32)}
    )
    assert is_taken(proto)
    agree(proto, samples(4, 96))


@pytest.mark.parametrize(
    "arguments",
    [
        {"rows": 16, "columns": 16},  # too small to pay
        {"activation": {"zeropt": 1.0}},
        {"weight": {"zeropt": 1.0}},
        {"x_attributes": {"rounding_mode": "FLOOR"}},
        {"activation": {"bits": 9}},
        {"activation": {"bits": 8}, "weight": {"bits": 8, "scale": 0.02}},  # pairs of products pass 16 bits
        {"activation": {"scale": np.full(96, 0.5, np.float32)}},
        {"weight": {"bits": 8}, "w_attributes": {"signed": 0}},  # beyond int8
        {"weight": {"scale": np.full((96, 1), 0.5, np.float32)}},  # a scale for each row
        {"activation": {"scale": 1e-25}, "weight": {"scale": 1e-20}},  # a product of scales that float32 cannot hold
        {"activation": {"scale": 1e20}, "weight": {"scale": 1e20}},
        {"tail": "Sqrt"},  # makes NaN of finite numbers
    ],
    ids=str,
)
def test_what_is_not_exact_or_does_not_pay_stays_float(arguments):
    proto = dense(**arguments)
    assert not is_taken(proto)
    rows = arguments.get("rows", 96)
    agree(proto, samples(4, rows))


def test_an_activation_that_others_read_stays():
    proto = dense()
    proto.graph.node.append(helper.make_node("Neg", ["xq"], ["z"]))
    proto.graph.output.append(helper.make_tensor_value_info("z", 1, None))
    assert not is_taken(proto)


def test_intermediate_tensors_keep_their_names():
    session = Session(dense(), tensors=["h"])
    x = samples(2, 96)
    reference = Session(dense(), tensors=["h"], engine="reference")
    np.testing.assert_allclose(session.run(x)["h"], reference.run(x)["h"], rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("factor", [1.0, -0.7])
@pytest.mark.parametrize("behind", ["Relu", "Neg"])
def test_a_norm_behind_the_product_becomes_its_scale_and_bias(factor, behind):
    """Two layers, so that the second reads what became of the first; one gamma of each sign, and an unused name."""
    nodes, values, x = [], {}, "x"
    rng = np.random.default_rng(3)
    for k in (1, 2):
        nodes += [
            quant(x, f"q{k}", signed=int(behind == "Neg")),
            quant(f"w{k}", f"wq{k}", narrow=1),
            helper.make_node("MatMul", [f"q{k}", f"wq{k}"], [f"h{k}"]),
            helper.make_node("BatchNormalization", [f"h{k}", *(f"{n}{k}" for n in "gbmv")], [f"n{k}"]),
            helper.make_node(behind, [f"n{k}"], [f"y{k}"]),
        ]
        values |= parameters(f"q{k}") | parameters(f"wq{k}", scale=0.25) | {f"w{k}": samples(96, 96, seed=k)}
        values |= {f"g{k}": (factor * rng.uniform(0.5, 2, 96)).astype(np.float32), f"b{k}": samples(1, 96, seed=k)[0]}
        values |= {f"m{k}": samples(1, 96, seed=9)[0], f"v{k}": rng.uniform(0.5, 2, 96).astype(np.float32)}
        x = f"y{k}"
    proto = model(nodes, values, inputs={"x": ["N", 96]}, outputs=["y2"])
    assert is_taken(proto)
    result = compare(proto, proto, samples(64, 96), engine_a="reference", engine_b="onnxruntime")
    assert result.equal
    seen = Session(proto, tensors=["h1", "n1"]).run(samples(2, 96))
    right = Session(proto, tensors=["h1", "n1"], engine="reference").run(samples(2, 96))
    for name in ("h1", "n1", "y2"):
        np.testing.assert_allclose(seen[name], right[name], rtol=1e-5, atol=1e-4)


def test_a_norm_of_a_tensor_that_others_read_stays():
    proto = dense()
    del proto.graph.node[3]
    proto.graph.node.extend([
        helper.make_node("BatchNormalization", ["h", "g", "g", "g", "g"], ["n"]),
        helper.make_node("Add", ["n", "h"], ["y"]),
    ])  # fmt: skip
    proto.graph.initializer.append(helper.make_tensor("g", 1, [96], np.full(96, 0.5, np.float32)))
    assert is_taken(proto)
    agree(proto, samples(4, 96))
