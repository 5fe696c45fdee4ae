"""Integer layers of sessions: taken where every level is certified, equal to the reference bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from anybit import Session, load
from anybit.cleanup.fold_constants import FoldConstants
from anybit.cleanup.infer_shapes import InferShapes
from anybit.engines.onnxruntime.rewrites.integer_layers import with_integer_layers
from tests.models import model, parameters, quant, samples


def convolutions(
    *, rounding="ROUND", gammas=(0.7, -1.3, 0.4, 0.0), zero_point=0.0, bits=4.0, quantized=True, depthwise=False
):
    """x -> Quant -> Conv -> BatchNormalization -> Relu -> Quant -> MaxPool -> Conv -> Quant -> y; 3 and 4 channels."""
    channels = len(gammas)
    rng = np.random.default_rng(0)
    second = "c2" if quantized else "h2"
    nodes = [
        quant("x", "xq"),
        quant("w1", "w1q", narrow=1),
        helper.make_node("Conv", ["xq", "w1q"], ["c1"], pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        helper.make_node("BatchNormalization", ["c1", "gamma", "beta", "mean", "variance"], ["n1"]),
        helper.make_node("Relu", ["n1"], ["r1"]),
        quant("r1", "a1", signed=0, rounding_mode=rounding),
        helper.make_node("MaxPool", ["a1"], ["p1"], kernel_shape=[2, 2], strides=[2, 2]),
        quant("w2", "w2q", narrow=1),
        helper.make_node("Conv", ["p1", "w2q"], [second], kernel_shape=[2, 2], group=channels if depthwise else 1),
    ]
    nodes.append(quant(second, "y") if quantized else helper.make_node("Identity", [second], ["y"]))
    constants = {
        "w1": rng.normal(size=(channels, 3, 3, 3)).astype(np.float32),
        "w2": rng.normal(size=(channels, 1 if depthwise else channels, 2, 2)).astype(np.float32),
        "gamma": np.float32(gammas),
        "beta": rng.normal(size=channels).astype(np.float32),
        "mean": rng.normal(size=channels).astype(np.float32),
        "variance": (rng.random(channels) + 0.5).astype(np.float32),
        **parameters("xq", scale=0.25, zeropt=zero_point),
        **parameters("w1q", scale=np.float32([0.3, 0.2, 0.11, 0.4]).reshape(-1, 1, 1, 1), bits=3.0),
        **parameters("a1", scale=0.37, bits=bits),
        **parameters("w2q", scale=0.25, bits=4.0),
        **parameters("y", scale=0.5, bits=5.0),
    }
    return model(nodes, constants, inputs={"x": ["N", 3, 6, 6]}, outputs=["y"])


def is_taken(proto) -> bool:
    loaded = load(proto)
    FoldConstants()(loaded)
    InferShapes()(loaded)
    return with_integer_layers(loaded) is not None


@settings(max_examples=25, deadline=None)
@given(
    rounding=st.sampled_from(["ROUND", "FLOOR", "CEIL", "HALF_UP", "DOWN"]),
    zero_point=st.sampled_from([0.0, 2.0, -3.0]),
    bits=st.sampled_from([1.0, 2.0, 4.0, 7.0]),
    depthwise=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_levels_are_those_of_the_reference(rounding, zero_point, bits, depthwise, seed):
    proto = convolutions(rounding=rounding, zero_point=zero_point, bits=bits, depthwise=depthwise)
    rng = np.random.default_rng(seed)
    x = (rng.integers(-9, 9, (3, 3, 6, 6)) * 0.125).astype(np.float32)  # half of them are ties
    fast, right = (Session(proto, engine=e).run(x)["y"] for e in ("auto", "reference"))
    np.testing.assert_array_equal(fast, right)


def test_convolutions_become_integer_layers_in_the_default_engine_only():
    assert is_taken(convolutions())
    assert not is_taken(convolutions(quantized=False)), "one of two convolutions is no majority"
    x = samples(2, 3, 6, 6)
    np.testing.assert_array_equal(
        Session(convolutions(), engine="onnxruntime").run(x)["y"], Session(convolutions()).run(x)["y"]
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_takes_the_float_form(bad):
    x = samples(2, 3, 6, 6)
    x[0, 1, 2, 3] = bad
    auto, right = (Session(convolutions(), engine=e).run(x)["y"] for e in ("auto", "onnxruntime"))
    np.testing.assert_array_equal(auto, right)


def test_intermediate_tensors_can_still_be_asked_for():
    x = samples(2, 3, 6, 6)
    asked, right = (Session(convolutions(), engine=e, tensors=["n1", "a1"]).run(x) for e in ("auto", "reference"))
    np.testing.assert_allclose(asked["n1"], right["n1"], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(asked["a1"], right["a1"])
