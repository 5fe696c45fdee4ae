"""Quantisers as bytes: the same numbers, movement included, and never for what is not finite."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from anybit import Session, load
from anybit.cleanup.infer_shapes import InferShapes
from anybit.engines.onnxruntime.rewrites.byte_quantizers import use_byte_quantizers
from tests.models import model, parameters, quant, samples


def operators(proto) -> Counter[str]:
    loaded = load(proto)
    InferShapes()(loaded)
    use_byte_quantizers(loaded)
    return Counter(n.op_type for n in loaded.graph.all_nodes())


def lone(*, attributes=None, **given):
    return model(
        [quant("x", "y", **(attributes or {}))], parameters("y", **given), inputs={"x": ["N", 8]}, outputs=["y"]
    )


@given(
    bits=st.integers(2, 8),
    signed=st.booleans(),
    narrow=st.booleans(),
    scale=st.floats(2.0**-20, 2.0**20, width=32).filter(lambda s: s != 1),
)
def test_the_same_numbers_on_grid_points_ties_and_overflow(bits, signed, narrow, scale):
    proto = lone(bits=bits, scale=scale, attributes={"signed": int(signed), "narrow": int(narrow)})
    assert operators(proto)["QuantizeLinear"] == 1
    steps = np.arange(-(2 ** (bits + 2)), 2 ** (bits + 2), dtype=np.float32).reshape(-1, 8) / 2
    x = np.concatenate([np.nextafter(steps * np.float32(scale), np.float32(d)) for d in (-np.inf, np.inf)])
    x = np.concatenate([x, steps * np.float32(scale), [[3e38, -3e38, 0, -0.0, 1e-45, -1e-45, 1, -1]]]).astype(
        np.float32
    )
    fast, right = (Session(proto, engine=e).run(x)["y"] for e in ("auto", "reference"))
    np.testing.assert_array_equal(fast, right)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_means_what_the_reference_says(value):
    x = samples(2, 8)
    x[1, 3] = value
    proto = lone(scale=0.3)
    fast, right = (Session(proto, engine=e).run(x)["y"] for e in ("auto", "reference"))
    np.testing.assert_array_equal(fast, right)


@pytest.mark.parametrize(
    ("given", "attributes"),
    [
        ({"bits": 9}, {}),
        ({"zeropt": 2.0}, {}),
        ({"scale": np.linspace(0.1, 1, 8, dtype=np.float32)}, {}),
        ({}, {"rounding_mode": "FLOOR"}),
        ({"bits": 1}, {}),
        ({"scale": 1.0}, {}),
    ],
    ids=str,
)
def test_what_bytes_do_not_mean_stays(given, attributes):
    proto = lone(**given, attributes=attributes)
    assert operators(proto) == {"Quant": 1}
    x = samples(16, 8) * 8
    fast, right = (Session(proto, engine=e).run(x)["y"] for e in ("auto", "reference"))
    np.testing.assert_array_equal(fast, right)


def moved(*, fork=False):
    """x -> Reshape -> Transpose -> Quant -> Transpose -> Relu -> y, with another reader in between if `fork`."""
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["r"]),
        helper.make_node("Transpose", ["r"], ["t"], perm=[0, 2, 1]),
        quant("t", "q"),
        helper.make_node("Transpose", ["q"], ["u"], perm=[0, 2, 1]),
        helper.make_node("Relu", ["u"], ["y"]),
    ]
    outputs = ["y"]
    if fork:
        nodes += [helper.make_node("Neg", ["t"], ["z"]), helper.make_node("Neg", ["q"], ["v"])]
        outputs += ["z", "v"]
    values = parameters("q", scale=0.3) | {"shape": np.int64([0, 2, 4])}
    return model(nodes, values, inputs={"x": ["N", 8]}, outputs=outputs)


@pytest.mark.parametrize("fork", [False, True])
def test_movement_is_of_bytes_where_nothing_else_reads_it(fork):
    proto = moved(fork=fork)
    loaded = load(proto)
    InferShapes()(loaded)
    assert use_byte_quantizers(loaded)
    order = [n.op_type for n in loaded.graph if n.op_type not in ("Clip", "Neg")]
    before, behind = ["Reshape", "Transpose"], ["Transpose"]
    assert order == (
        [*before, "QuantizeLinear", "DequantizeLinear", *behind, "Relu"]
        if fork
        else ["QuantizeLinear", *before, *behind, "DequantizeLinear", "Relu"]
    )
    x = samples(16, 8) * 4
    fast, right = (Session(proto, engine=e).run(x) for e in ("auto", "reference"))
    for name, array in right.items():
        np.testing.assert_array_equal(fast[name], array)


def test_intermediate_tensors_keep_their_names():
    x, wanted = samples(3, 8), ["r", "t", "q", "u"]
    fast, right = (Session(moved(), engine=e, tensors=wanted).run(x) for e in ("auto", "reference"))
    for name in wanted:
        np.testing.assert_array_equal(fast[name], right[name])
