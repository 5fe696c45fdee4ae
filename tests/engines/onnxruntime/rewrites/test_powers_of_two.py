"""Powers of two move from activations into weights, and not one bit of a result changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from anybit import Session, load
from anybit.cleanup.infer_shapes import InferShapes
from anybit.engines.onnxruntime.rewrites.powers_of_two import move_powers_of_two
from anybit.graph.constants import constant
from tests.models import model, parameters, quant, samples


def layers(*, between=("Relu",), scale=0.125, bits=4, attributes=None, zeropt=0.0, fork=False, factor=1.0):
    """x @ w1 + b -> `between` -> Quant -> @ w2 -> y."""
    nodes = [helper.make_node("MatMul", ["x", "w1"], ["m"]), helper.make_node("Add", ["m", "b"], ["h0"])]
    for place, op_type in enumerate(between):
        nodes.append(helper.make_node(op_type, [f"h{place}"], [f"h{place + 1}"]))
    nodes += [
        quant(f"h{len(between)}", "q", **(attributes or {})),
        helper.make_node("MatMul", ["q", "w2"], ["y"]),
    ]
    if fork:
        nodes.append(helper.make_node("Neg", ["q"], ["z"]))
    weights = {"w1": samples(8, 6, seed=1), "b": samples(1, 6, seed=2)[0], "w2": samples(6, 5, seed=3) * factor}
    values = parameters("q", scale=scale, bits=bits, zeropt=zeropt) | {
        k: v.astype(np.float32) for k, v in weights.items()
    }
    return model(nodes, values, inputs={"x": ["N", 8]}, outputs=["y", "z"] if fork else ["y"])


def scale_after(proto) -> float:
    loaded = load(proto)
    InferShapes()(loaded)
    move_powers_of_two(loaded)
    (node,) = (n for n in loaded.graph if n.op_type == "Quant")
    return float(np.reshape(constant(node.inputs[1]), ()))


def same_bits(proto, x) -> None:
    moved, still = (Session(proto, engine=e, threads=1).run(x) for e in ("auto", "onnxruntime"))
    for name, array in still.items():
        np.testing.assert_array_equal(moved[name], array)


@settings(max_examples=30)
@given(
    exponent=st.integers(-12, 12).filter(bool),
    bits=st.integers(2, 12),
    signed=st.booleans(),
    between=st.lists(st.sampled_from(["Relu", "LeakyRelu", "Identity", "Neg", "Abs"]), max_size=2),
    mode=st.sampled_from(["ROUND", "FLOOR", "CEIL", "UP", "DOWN", "HALF_UP", "HALF_DOWN"]),
)
def test_not_one_bit_changes(exponent, bits, signed, between, mode):
    attributes = {"signed": int(signed), "rounding_mode": mode}
    proto = layers(between=between, scale=2.0**exponent, bits=bits, attributes=attributes)
    assert scale_after(proto) == 1
    same_bits(proto, samples(32, 8, seed=4) * np.float32(4 * 2.0**exponent))


@pytest.mark.parametrize(
    "arguments",
    [
        {"scale": 1.0},
        {"scale": 2.0**-30},
        {"zeropt": 1.0},
        {"bits": 1},
        {"between": ("Sigmoid",)},
        {"between": ("Relu", "Tanh")},
        {"fork": True},
        {"factor": 1e-35},  # the weight would lose bits
    ],
    ids=str,
)
def test_what_does_not_commute_stays(arguments):
    proto = layers(**arguments)
    assert scale_after(proto) == np.float32(arguments.get("scale", 0.125))
    same_bits(proto, samples(32, 8, seed=4))


def test_other_scales_stay():
    assert scale_after(layers(scale=0.3)) == np.float32(0.3)


def test_convolutions_norms_and_pools_take_the_scale():
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c1", "g", "o", "m", "v"], ["n"]),
        helper.make_node("MaxPool", ["n"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        quant("p", "q1"),
        helper.make_node("Conv", ["q1", "w2"], ["c2"]),
        helper.make_node("GlobalAveragePool", ["c2"], ["a"]),
        helper.make_node("Flatten", ["a"], ["f"]),
        quant("f", "q2", signed=0),
        helper.make_node("Gemm", ["q2", "w3", "b3"], ["y"], transB=1),
    ]
    shapes = {"w1": (4, 3, 3, 3), "b1": 4, "g": 4, "o": 4, "m": 4, "w2": (5, 4, 2, 2), "w3": (2, 5), "b3": 2}
    values = {k: rng.normal(size=s).astype(np.float32) for k, s in shapes.items()} | {"v": np.ones(4, np.float32)}
    values |= parameters("q1", scale=0.25) | parameters("q2", scale=2.0**-6, bits=8)
    proto = model(nodes, values, inputs={"x": ["N", 3, 8, 8]}, outputs=["y"])
    loaded = load(proto)
    InferShapes()(loaded)
    move_powers_of_two(loaded)
    scales = [float(np.reshape(constant(n.inputs[1]), ())) for n in loaded.graph if n.op_type == "Quant"]
    assert scales == [1, 1]
    same_bits(proto, rng.normal(size=(4, 3, 8, 8)).astype(np.float32))


def test_a_weight_that_two_layers_share_is_scaled_for_each():
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        quant("a", "q1"),
        helper.make_node("MatMul", ["q1", "w"], ["b"]),
        quant("b", "q2"),
        helper.make_node("MatMul", ["q2", "w"], ["y"]),
    ]
    values = {"w": samples(6, 6)} | parameters("q1", scale=0.25) | parameters("q2", scale=4.0)
    proto = model(nodes, values, inputs={"x": ["N", 6]}, outputs=["y"])
    assert proto.graph.initializer[0].name == "w"
    same_bits(proto, samples(32, 6, seed=5) * 4)
