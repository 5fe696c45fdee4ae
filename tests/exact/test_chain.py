"""Chains of element-wise nodes against the reference engine, and NaN on the way."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

import anybit
from anybit.analysis.values.interpreter import values_of
from anybit.cleanup.infer_shapes import InferShapes
from anybit.errors import Refusal
from anybit.exact.chain import Chain, chain_of, extended, step_function_of, thresholded
from anybit.exact.integer_layers import IntegerLayer, find_layers
from anybit.exact.numbers import Integers
from anybit.exact.step_function import Proof
from anybit.exact.thresholds import Steps, steps_of
from anybit.formats.convert import to_hub, translate
from anybit.io.load import load
from tests.models import DOMAIN, model, parameters, quant
from tests.strategies import Array

_ROWS = np.arange(-8, 8, dtype=np.float32)[:, None] * np.ones(3, np.float32)


def layer_with(*nodes: onnx.NodeProto, constants: dict[str, Any], opset: int = 20) -> onnx.ModelProto:
    """Quant of x, MatMul by the unit matrix, nodes from "sums" to "y"; the sums are -8 .. 7."""
    known = parameters("xq", scale=1.0) | parameters("wq", scale=1.0, bits=2.0) | {"w": np.eye(3, dtype=np.float32)}
    head = [quant("x", "xq"), quant("w", "wq"), helper.make_node("MatMul", ["xq", "wq"], ["sums"], name="product")]
    return model([*head, *nodes], known | constants, inputs={"x": ["n", 3]}, outputs=["y"], opset=opset)


def read(proto: onnx.ModelProto) -> IntegerLayer | Refusal:
    """The integer layer of a model, or why there is none."""
    hub, _ = to_hub(proto)
    layers, refusals = find_layers(hub, values_of(hub))
    return (*layers, *refusals)[0]


def bipolar(x: str) -> onnx.NodeProto:
    """A BipolarQuant that makes y."""
    return helper.make_node("BipolarQuant", [x, "y_scale"], ["y"], name="sign", domain=DOMAIN)


_BY_CHANNEL = {
    "Mul": (np.float32([1.5, -0.5, 0.25]),),
    "Add": (np.float32([1.5, -0.5, 0.25]),),
    "Div": (np.float32([[2, -3, 5]]),),
    "PRelu": (np.float32([0.5, 0.25, 0]),),
    "Clip": (np.float32(-2), np.float32(3)),
    "Abs": (),
    "Gelu": (),
    "Tanh": (),
}


@pytest.mark.parametrize("op_type", _BY_CHANNEL)
def test_levels_are_those_of_the_reference_engine(op_type: str):
    parameter = {f"p{i}": p for i, p in enumerate(_BY_CHANNEL[op_type])}
    nodes = [helper.make_node(op_type, ["sums", *parameter], ["t"], name="activation"), quant("t", "y")]
    proto = layer_with(*nodes, constants=parameter | parameters("y", scale=0.3))
    layer = read(proto)
    assert isinstance(layer, IntegerLayer)
    function = layer.function
    (y,) = anybit.Session(proto, engine="reference").run(_ROWS).values()
    np.testing.assert_allclose(function(_ROWS.astype(np.float64)) * np.float32(0.3), y, rtol=1e-6)
    rises = (np.diff(y, axis=0) >= 0).all(axis=0)
    if function.direction is not None:
        np.testing.assert_array_equal(function.direction > 0, rises)
    elif op_type != "Tanh":
        assert function.doubtful == f"{op_type} 'activation'"
        assert isinstance(steps_of(function), Refusal)


def test_a_number_that_is_none_is_not_hidden_by_the_sign_of_it():
    """2 - sqrt(x) is NaN below 0, where BipolarQuant gives -1, as it does above 4: no function that falls."""
    nodes = [
        helper.make_node("Sqrt", ["sums"], ["root"], name="root"),
        helper.make_node("Sub", ["two", "root"], ["t"], name="difference"),
        bipolar("t"),
    ]
    proto = layer_with(*nodes, constants={"two": np.float32(2), "y_scale": np.float32(1)})
    layer = read(proto)
    assert isinstance(layer, IntegerLayer)
    assert layer.function.proof is Proof.COMPOSITION
    found = steps_of(layer.function)
    assert isinstance(found, Refusal)
    assert found.problem == "sums for which it is no number"
    assert found.node == "BipolarQuant 'sign'"
    for dialect in ("finn", "integer-ops", "quantized-ops"):
        result = translate(proto, dialect)
        (y,) = anybit.Session(result.model, engine="reference").run(_ROWS).values()
        (expected,) = anybit.Session(proto, engine="reference").run(_ROWS).values()
        np.testing.assert_array_equal(y, expected, err_msg=dialect)


@pytest.mark.parametrize("divisor", [0.0, -0.0])
def test_a_division_by_zero_is_refused(divisor: float):
    nodes = [helper.make_node("Div", ["sums", "zero"], ["t"], name="division"), quant("t", "y")]
    layer = read(layer_with(*nodes, constants={"zero": np.float32(divisor)} | parameters("y")))
    assert isinstance(layer, IntegerLayer)
    found = steps_of(layer.function)
    assert isinstance(found, Refusal)
    assert found.problem == "sums for which it is no number"


def test_a_norm_of_another_axis_is_not_by_channel():
    constants = {n: np.float32([1, 2, 3]) for n in ("scale", "bias", "mean", "var")} | parameters("y")
    known = parameters("xq", scale=1.0) | parameters("wq", scale=1.0, bits=2.0) | {"w": np.eye(3, dtype=np.float32)}
    nodes = [
        quant("x", "xq"),
        quant("w", "wq"),
        helper.make_node("MatMul", ["xq", "wq"], ["sums"], name="product"),
        helper.make_node("BatchNormalization", ["sums", "scale", "bias", "mean", "var"], ["t"], name="norm"),
        quant("t", "y"),
    ]
    found = read(model(nodes, known | constants, inputs={"x": [1, 3, 3]}, outputs=["y"], opset=15))
    assert isinstance(found, Refusal)
    assert found.problem == "a parameter that is not one by channel"


def _numbers(proto: onnx.ModelProto) -> tuple[Chain, ir.Model]:
    hub = load(proto)
    InferShapes()(hub)
    product = next(n for n in hub.graph if n.op_type == "MatMul")
    return chain_of(Integers(product.outputs[0], 1, np.ones(3), np.full(3, -8.0), np.full(3, 7.0))), hub


@pytest.mark.parametrize("out_scale", [1.0, -1.0])
def test_thresholds_of_each_channel_are_a_step_of_a_chain(out_scale: float):
    rows: Array = np.float32([[-1, 2], [0, 0], [3, 9]])
    node = helper.make_node("MultiThreshold", ["sums", "rows"], ["y"], domain=DOMAIN, out_scale=out_scale)
    chain, hub = _numbers(layer_with(node, constants={"rows": rows}))
    last = hub.graph[-1]
    found = thresholded(chain, last, hub.opset_imports)
    assert isinstance(found, Chain)
    assert isinstance(found.root, Integers)
    steps = steps_of(step_function_of(found, found.root, np.ones(3), last))
    assert isinstance(steps, Steps)
    expected = out_scale * (_ROWS[:, :, None] >= rows).sum(axis=2)
    np.testing.assert_array_equal(steps.levels(_ROWS.astype(np.float64)), expected)


def test_what_is_not_element_by_element_ends_a_chain():
    node = helper.make_node("Softmax", ["sums"], ["y"], name="softmax")
    chain, hub = _numbers(layer_with(node, constants={}))
    found = extended(chain, hub.graph[-1], 0, hub.opset_imports)
    assert isinstance(found, Refusal)
    assert found.problem == "not known to act element by element"


def _step_behind(node: onnx.NodeProto, constants: dict[str, Any], *, position: int = 0):
    chain, hub = _numbers(layer_with(node, constants=constants))
    return extended(chain, hub.graph[-1], position, hub.opset_imports), chain, hub


@pytest.mark.parametrize(
    ("op_type", "constants", "problem"),
    [
        ("Add", {"p": np.ones((2, 1, 3), np.float32)}, "it changes the shape or the type"),
        ("Mul", {"p": np.ones((5, 3), np.float32)}, "it changes the shape or the type"),
        ("Add", {"p": np.float32([[1], [2]])}, "it changes the shape or the type"),
    ],
)
def test_a_node_that_widens_its_input_is_no_step(op_type: str, constants: dict[str, Any], problem: str):
    found, *_ = _step_behind(helper.make_node(op_type, ["sums", "p"], ["y"], name="node"), constants)
    assert isinstance(found, Refusal)
    assert (found.problem, found.node) == (problem, f"{op_type} 'node'")


def test_a_parameter_that_is_computed_is_named():
    found, *_ = _step_behind(helper.make_node("Add", ["sums", "x"], ["y"], name="node"), {})
    assert isinstance(found, Refusal)
    assert (found.problem, found.got) == ("a parameter is computed", "x")


@pytest.mark.parametrize("parameter", [np.float32(2), np.float32([2]), np.float32([1, 2, 3]), np.float32([[1, 2, 3]])])
@pytest.mark.parametrize("position", [0, 1])
def test_a_chain_of_some_channels_is_a_part_of_it(parameter: Array, position: int):
    names = ["sums", "p"] if position == 0 else ["p", "sums"]
    found, chain, _ = _step_behind(helper.make_node("Sub", names, ["y"]), {"p": parameter}, position=position)
    assert isinstance(found, Chain)
    x = _ROWS * np.float32([1, 10, 100])
    expected = x - parameter if position == 0 else parameter - x
    np.testing.assert_array_equal(found(x), expected)
    some = np.array([2, 0])
    assert isinstance(chain.root, Integers)
    part = found.of(some, chain.root)
    assert part.channels == 2
    np.testing.assert_array_equal(part(x[:, some]), expected[:, some])
    assert part.rising is not None
    assert np.broadcast_to(part.rising, 2).tolist() == [1.0 if position == 0 else -1.0] * 2


def test_directions_of_some_channels_are_their_own():
    found, chain, _ = _step_behind(helper.make_node("Mul", ["sums", "p"], ["y"]), {"p": np.float32([1, -2, 3])})
    assert isinstance(found, Chain)
    assert isinstance(chain.root, Integers)
    part = found.of(np.array([1, 2]), chain.root)
    assert part.rising is not None
    assert part.rising.tolist() == [-1, 1]


def test_numbers_without_a_node_are_plain():
    chain, _ = _numbers(layer_with(quant("sums", "y"), constants=parameters("y")))
    assert chain.plain is chain.root
    found, *_ = _step_behind(helper.make_node("Relu", ["sums"], ["y"]), {})
    assert isinstance(found, Chain)
    assert found.plain is None


@pytest.mark.parametrize("rows", [np.float32([[-1, 2]] * 2), np.float32([[-1, 2]] * 4)])
def test_thresholds_of_other_channels_are_refused(rows: Array):
    node = helper.make_node("MultiThreshold", ["sums", "rows"], ["y"], domain=DOMAIN)
    chain, hub = _numbers(layer_with(node, constants={"rows": np.float32([[-1, 2]] * 3)}))
    hub.graph.initializers["rows"].const_value = ir.tensor(rows)
    found = thresholded(chain, hub.graph[-1], hub.opset_imports)
    assert isinstance(found, Refusal)
    assert "other channels" in found.problem


def test_thresholds_that_are_computed_are_refused():
    node = helper.make_node("MultiThreshold", ["sums", "rows"], ["y"], domain=DOMAIN)
    chain, hub = _numbers(layer_with(node, constants={"rows": np.float32([[-1, 2]] * 3)}))
    last = hub.graph[-1]
    last.replace_input_with(1, hub.graph.inputs[0])
    found = thresholded(chain, last, hub.opset_imports)
    assert isinstance(found, Refusal)
    assert "thresholds that are computed" in found.problem


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_parameters_along_two_axes_are_not_by_channel(channels: int):
    """Both axes are as long as the channels: which one a parameter varies along is told by its place."""
    shape = [1, channels, channels]
    numbers = np.arange(1, channels + 1, dtype=np.float32)
    known = {"rows": numbers.reshape(-1, 1), "columns": numbers, "again": 2 * numbers.reshape(-1, 1)}
    nodes = [
        helper.make_node("Mul", ["x", "rows"], ["a"]),
        helper.make_node("Add", ["a", "again"], ["b"]),
        helper.make_node("Add", ["b", "columns"], ["y"], name="columns"),
    ]
    hub = load(model(nodes, known, inputs={"x": shape}, outputs=["y"]))
    InferShapes()(hub)
    chain = chain_of(Integers(hub.graph.inputs[0], None, np.ones(1), np.full(1, -8.0), np.full(1, 7.0)))
    for node in [*hub.graph][:2]:
        found = extended(chain, node, 0, hub.opset_imports)
        assert isinstance(found, Chain)
        chain = found
    assert (chain.axis, chain.channels) == ((None, 1) if channels == 1 else (1, channels))
    last = extended(chain, hub.graph[-1], 0, hub.opset_imports)
    if channels == 1:
        assert isinstance(last, Chain)
        return
    assert isinstance(last, Refusal)
    assert (last.problem, last.node) == ("a parameter that is not one by channel", "Add 'columns'")


def test_one_row_of_thresholds_is_that_of_all_channels():
    node = helper.make_node("MultiThreshold", ["sums", "rows"], ["y"], domain=DOMAIN)
    chain, hub = _numbers(layer_with(node, constants={"rows": np.float32([[-1, 2]])}))
    found = thresholded(chain, hub.graph[-1], hub.opset_imports)
    assert isinstance(found, Chain)
    assert (found.axis, found.channels) == (1, 3)
    np.testing.assert_array_equal(found(_ROWS), (_ROWS[:, :, None] >= [-1, 2]).sum(axis=2))


@pytest.mark.parametrize(("layout", "axis"), [("NCHW", 1), ("NHWC", 3)])
@pytest.mark.parametrize("others", [0, 1])
def test_thresholds_lie_along_the_channels_of_what_they_read(layout: str, axis: int, others: int):
    nodes = [helper.make_node("MultiThreshold", ["x", "rows"], ["y"], domain=DOMAIN, data_layout=layout)]
    nodes += [helper.make_node("Relu", ["x"], ["z"])] * others
    rows = np.float32([[-1, 2], [0, 0], [3, 9]])
    hub = load(model(nodes, {"rows": rows}, inputs={"x": [1, 3, 3, 3]}, outputs=["y", "z"][: 1 + others]))
    InferShapes()(hub)
    chain = chain_of(Integers(hub.graph.inputs[0], None, np.ones(1), np.full(1, -8.0), np.full(1, 7.0)))
    found = thresholded(chain, hub.graph[0], hub.opset_imports)
    assert isinstance(found, Chain)
    assert (found.axis, found.channels, found.private) == (axis, 3, not others)
