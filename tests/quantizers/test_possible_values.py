"""Enumeration: all numbers that a tensor holds are tried, and no answer is given where they are not known."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

import anybit
from anybit.quantizers.possible_values import Enumeration
from anybit.quantizers.quantizer import Quantizer
from anybit.rounding import Rounding
from tests.formats.qdq.linear_models import loaded
from tests.models import model, parameters, quant


def _source(nodes, values, *, outputs=("y",), shape=(2, 4)):
    return loaded(model(nodes, values, inputs={"x": list(shape)}, outputs=list(outputs)))


def _value(source, name: str):
    return next(v for n in source.graph for v in n.outputs if v.name == name)


@pytest.mark.parametrize("op_type", ["Relu", "Transpose", "Flatten", "Identity"])
def test_points_are_all_numbers_that_runs_give(op_type):
    nodes = [quant("x", "q"), helper.make_node(op_type, ["q"], ["m"]), quant("m", "y", signed=0)]
    source = _source(nodes, parameters("q", scale=0.3, bits=3) | parameters("y", scale=0.7, bits=2))
    points = Enumeration(source).points(_value(source, "m"))
    x = np.random.default_rng(0).uniform(-3, 3, (200, 4)).astype(np.float32)
    session = anybit.Session(source, engine="reference", tensors=["m"])
    seen = np.unique(np.concatenate([session.run(x[k : k + 2])["m"].ravel() for k in range(0, 200, 2)]))
    assert set(seen) <= set(points.ravel())
    assert set(points.ravel()) <= set(seen) | {np.float32(k) * np.float32(0.3) for k in range(-4, 4)}


@pytest.mark.parametrize("op_type", ["LeakyRelu", "Sigmoid", "Neg", "Softmax"])
def test_what_computes_other_numbers_has_no_points(op_type):
    nodes = [quant("x", "q"), helper.make_node(op_type, ["q"], ["m"]), quant("m", "y")]
    source = _source(nodes, parameters("q", bits=3) | parameters("y", bits=3))
    assert Enumeration(source).points(_value(source, "m")) is None


def test_inputs_and_wide_quantisers_have_no_points():
    source = _source([quant("x", "y")], parameters("y", bits=17))
    enumeration = Enumeration(source)
    assert enumeration.points(source.graph.inputs[0]) is None
    assert enumeration.points(_value(source, "y")) is None
    assert not enumeration.agrees(None, Quantizer(np.ones((), np.float32), *(np.zeros(()),) * 3))


@pytest.mark.parametrize(
    ("bits", "channels", "known"), [(16, 1, True), (17, 1, False), (12, 1024, True), (12, 1025, False)]
)
def test_points_are_given_up_to_a_number_of_them(bits, channels, known):
    scale = np.linspace(0.5, 1, channels, dtype=np.float32)
    source = _source([quant("x", "y")], parameters("y", scale=scale, bits=bits), shape=(1, channels))
    points = Enumeration(source).points(_value(source, "y"))
    assert (points is not None) == known
    if points is not None:
        assert points.shape == (1 << bits, 1, channels)
        np.testing.assert_array_equal(points[[0, -1]].reshape(2, -1)[:, 0] * 2, [-(1 << bits - 1), (1 << bits - 1) - 1])


@pytest.mark.parametrize(("bits", "channels", "known"), [(16, 1, False), (12, 1024, True), (12, 1025, False)])
def test_points_begin_at_zero_where_the_integers_do_not(bits, channels, known):
    """1 .. 2^bits, and 0: one more than the largest number of integers, and as many as there may be in all."""
    scale = np.linspace(1, 2, channels, dtype=np.float32)
    source = _source([quant("x", "y", signed=0)], parameters("y", scale=scale, bits=bits, zeropt=-1.0))
    points = Enumeration(source).points(_value(source, "y"))
    assert (points is not None) == known
    if points is not None:
        np.testing.assert_array_equal(points.reshape(len(points), -1)[:, 0], np.arange((1 << bits) + 1))


def test_points_end_at_zero_where_the_integers_do_not():
    source = _source([quant("x", "y", signed=0)], parameters("y", scale=1.0, bits=2, zeropt=5.0))
    points = Enumeration(source).points(_value(source, "y"))
    assert points.ravel().tolist() == [-5, -4, -3, -2, -1, 0]


def test_channels_have_their_own_scales():
    scale = np.float32([0.5, 0.25, 0.125, 2]).reshape(1, 4)
    source = _source([quant("x", "y")], parameters("y", scale=scale, bits=2))
    points = Enumeration(source).points(_value(source, "y"))
    np.testing.assert_array_equal(points.reshape(-1, 4), np.outer([-2, -1, 0, 1], scale))


def test_an_input_of_a_stated_format_has_no_points():
    """No operator of the model makes its numbers: a caller may feed any."""
    proto = model([quant("x", "y")], parameters("y", bits=2), inputs={"x": [2, 4]}, outputs=["y"])
    entry = proto.graph.quantization_annotation.add(tensor_name="x")
    entry.quant_parameter_tensor_names.add(key="finn_datatype", value="INT4")
    source = loaded(proto)
    assert Enumeration(source).points(source.graph.inputs[0]) is None


def test_a_tensor_of_unknown_rank_has_the_points_of_its_grid():
    nodes = [quant("x", "q"), helper.make_node("Reshape", ["q", "s"], ["m"]), quant("m", "y")]
    proto = model(nodes, parameters("q", bits=2) | parameters("y"), inputs={"x": [2, 4]}, outputs=["y"])
    proto.graph.input.append(helper.make_tensor_value_info("s", onnx.TensorProto.INT64, ["rank"]))
    source = loaded(proto)
    assert _value(source, "m").shape is None
    points = Enumeration(source).points(_value(source, "m"))
    np.testing.assert_array_equal(points, [-1, -0.5, 0, 0.5])


def _grid(scale: float, zero_point: float, bits: int, rounding: Rounding = Rounding.ROUND) -> Quantizer:
    ends = (np.asarray(float(-(2 ** (bits - 1)))), np.asarray(float(2 ** (bits - 1) - 1)))
    made = Quantizer(np.asarray(scale, np.float32), np.asarray(float(zero_point)), *ends, rounding)
    return made.between(*ends)


@pytest.mark.parametrize("scale", [0.1, 0.25, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("zero_point", [0, 1, -2])
@pytest.mark.parametrize("rounding", list(Rounding))
def test_quant_and_quantize_linear_agree_where_every_value_says_so(scale, zero_point, rounding):
    source = _source([quant("x", "y")], parameters("y", scale=0.05, bits=6))
    quantizer = _grid(scale, zero_point, 4, rounding)
    x = np.arange(-32, 32).astype(np.float32) * np.float32(0.05)
    expected = np.array_equal(quantizer(x), quantizer.linear(x))
    assert Enumeration(source).agrees(_value(source, "y"), quantizer) == expected


def test_grids_of_other_channels_do_not_agree():
    scale = np.float32([0.5, 0.25, 0.125, 2]).reshape(1, 4)
    source = _source([quant("x", "y")], parameters("y", scale=scale, bits=2))
    other = Quantizer(np.ones((1, 3), np.float32), np.zeros(()), np.asarray(-2.0), np.asarray(1.0)).between(-2, 1)
    assert not Enumeration(source).agrees(_value(source, "y"), other)


@pytest.mark.parametrize("domain", ["", "ai.example"])
def test_dequantize_linear_makes_numbers_that_are_known(domain):
    nodes = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
             helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], name="d")]  # fmt: skip
    source = loaded(model(nodes, {"s": np.float32(0.5), "z": np.uint8(3)}, inputs={"x": [4]}, outputs=["y"]))
    next(n for n in source.graph if n.name == "d").domain = domain
    points = Enumeration(source).points(_value(source, "y"))
    if domain:
        assert points is None
    else:
        np.testing.assert_array_equal(points.ravel(), np.arange(-3, 253) / 2)


def test_numbers_of_a_scale_that_is_computed_are_not_known():
    nodes = [helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0), quant("x", "y")]
    nodes[1].input[1] = "m"
    source = _source(nodes, parameters("y", bits=3))
    assert Enumeration(source).points(_value(source, "y")) is None
