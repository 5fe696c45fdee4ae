"""Multiply-accumulates in terms of free dimensions give what is counted once the dimensions are set."""

from __future__ import annotations

import ast
import operator

import numpy as np
import pytest
from onnx import helper

from anybit.analysis.cost.cost import BitOperations, cost
from anybit.cleanup.set_input_shape import SetInputShape
from anybit.io.load import load
from anybit.reporting.describe import describe
from tests.models import model, parameters, quant

_OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: operator.pow,
}


def value(expression, **names):
    """What an expression of integers comes to."""

    def of(node):
        match node:
            case ast.BinOp():
                return _OPERATORS[type(node.op)](of(node.left), of(node.right))
            case ast.UnaryOp(op=ast.USub()):
                return -of(node.operand)
            case ast.Name():
                return names[node.id]
            case ast.Subscript():
                return names[node.value.id][node.slice.value]
            case _:
                return node.value

    return of(ast.parse(expression, mode="eval").body)


def weights(*shape):
    return np.ones(shape, np.float32)


def convolutional():
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("MaxPool", ["a"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p", "w2"], ["b"], kernel_shape=[1, 1], group=2),
        helper.make_node("ConvTranspose", ["b", "w3"], ["y"], kernel_shape=[2, 2], strides=[2, 2]),
    ]
    constants = {"w1": weights(4, 3, 3, 3), "w2": weights(8, 2, 1, 1), "w3": weights(8, 6, 2, 2)}
    return nodes, constants


def attention():
    nodes = [
        helper.make_node("MatMul", ["x", "wq"], ["q"]),
        helper.make_node("Transpose", ["x"], ["k"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "k"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["s"]),
        helper.make_node("MatMul", ["s", "x"], ["y"]),
    ]
    return nodes, {"wq": weights(8, 8)}


@pytest.mark.parametrize("sizes", [(5, 6), (12, 9), (33, 64)])
@pytest.mark.parametrize("named", [True, False])
def test_a_convolutional_net(sizes, named):
    nodes, constants = convolutional()
    free = ["H", "W"] if named else [None, None]
    source = load(model(nodes, constants, inputs={"x": [1, 3, *free]}, outputs=["y"]))
    result = cost(source)
    assert result.dense.macs is None
    names = dict(zip("HW", sizes, strict=True)) if named else {"x": (1, 3, *sizes)}
    SetInputShape({"x": (1, 3, *sizes)})(source)
    counted = cost(source)
    assert counted.macs_expression == ""
    assert value(result.macs_expression, **names) == counted.dense.macs


def test_a_dimension_whose_name_is_made_up_is_called_by_its_place():
    nodes, constants = convolutional()
    source = load(model(nodes, constants, inputs={"x": [1, 3, "unk__7", 64]}, outputs=["y"]))
    expression = cost(source).macs_expression
    assert "x[2]" in expression
    assert "unk__" not in expression
    SetInputShape({"x": (1, 3, 33, 64)})(source)
    assert value(expression, x=(1, 3, 33, 64)) == cost(source).dense.macs


def test_free_dimensions_of_two_inputs_that_have_no_names_are_told_apart():
    """Samples are joined, so that no proof makes the batch 1, and shapes are set as if they were known."""
    nodes = [
        helper.make_node("MatMul", ["a", "w"], ["p"]),
        helper.make_node("MatMul", ["b", "w"], ["q"]),
        helper.make_node("ReduceMax", ["p", "first"], ["y"]),
        helper.make_node("ReduceMax", ["q", "first"], ["z"]),
    ]
    constants = {"w": weights(8, 2), "first": np.array([0])}
    source = model(nodes, constants, inputs={"a": [None, None, 8], "b": [None, None, 8]}, outputs=["y", "z"])
    expression = cost(source).macs_expression
    sizes = {"a": (1, 3, 8), "b": (1, 5, 8)}
    read = load(source)
    SetInputShape(sizes)(read)
    assert value(expression, **sizes) == cost(read).dense.macs == (3 + 5) * 16


@pytest.mark.parametrize("sizes", [(5, 6), (12, 9)])
def test_bit_operations_of_layers_of_several_widths(sizes):
    """One layer of a quantised image and weights, one of float numbers, and one of a size that is known."""
    nodes = [
        quant("x", "a", signed=0),
        quant("w1", "b"),
        helper.make_node("Conv", ["a", "b"], ["c"], kernel_shape=[3, 3], strides=[2, 2]),
        helper.make_node("Conv", ["c", "w2"], ["y"], kernel_shape=[1, 1]),
        quant("w3", "d"),
        helper.make_node("MatMul", ["s", "d"], ["z"]),
    ]
    constants = {"w1": weights(4, 3, 3, 3), "w2": weights(8, 4, 1, 1), "w3": weights(5, 2)}
    constants |= parameters("a", bits=3.0) | parameters("b", bits=5.0) | parameters("d", bits=2.0)
    inputs = {"x": [1, 3, "H", "W"], "s": [1, 5]}
    source = load(model(nodes, constants, inputs=inputs, outputs=["y", "z"]))
    result, accumulated = cost(source), cost(source, counting=BitOperations.ACCUMULATION)
    assert result.dense.bit_operations is None
    assert accumulated.bit_operations_expression == ""
    assert accumulated.macs_expression == result.macs_expression
    SetInputShape({"x": (1, 3, *sizes), "s": (1, 5)})(source)
    counted = cost(source)
    assert counted.bit_operations_expression == ""
    names = dict(zip("HW", sizes, strict=True))
    assert value(result.bit_operations_expression, **names) == counted.dense.bit_operations
    assert len({f.activation.bits * f.weight.bits for f in counted.dense.formats}) == 3


@pytest.mark.parametrize("tokens", [1, 7, 128])
def test_attention_is_quadratic_in_its_tokens(tokens):
    nodes, constants = attention()
    source = load(model(nodes, constants, inputs={"x": [1, "T", 8]}, outputs=["y"]))
    expression = cost(source).macs_expression
    assert expression == "16*T**2 + 64*T"
    SetInputShape({"x": (1, tokens, 8)})(source)
    assert value(expression, T=tokens) == cost(source).dense.macs


def test_nothing_is_said_where_a_size_depends_on_the_data():
    nodes = [
        helper.make_node("NonZero", ["x"], ["places"]),
        helper.make_node("Cast", ["places"], ["p"], to=1),
        helper.make_node("MatMul", ["w", "p"], ["y"]),
    ]
    result = cost(model(nodes, {"w": weights(4, 2)}, inputs={"x": [3, "N"]}, outputs=["y"]))
    assert result.dense.macs is None
    assert result.macs_expression == ""


@pytest.mark.parametrize("outputs", [[], ["y"]])
def test_a_layer_that_is_broken_has_no_expression(outputs):
    left = helper.make_node("Flatten", ["x"], ["left"])
    broken = helper.make_node("Gemm", ["x", "w"], outputs, "gemm")
    proto = model([left, broken], {"w": np.ones((4, 2), np.float32)}, inputs={"x": ["N", 3, 4]}, outputs=["left"])
    assert any("gemm" in f.node for f in describe(proto).findings)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_an_image_of_free_size_that_is_enlarged(mode):
    """A Resize multiplies one tensor by numbers of its own: it has no second operand."""
    nodes = [quant("x", "q"), helper.make_node("Resize", ["q", "", "by"], ["y"], mode=mode)]
    constants = parameters("q") | {"by": np.array([1, 1, 2, 2], np.float32)}
    source = load(model(nodes, constants, inputs={"x": [1, 3, "H", "W"]}, outputs=["y"]))
    assert cost(source).dense.macs == (0 if mode == "nearest" else None)
    SetInputShape({"x": (1, 3, 4, 5)})(source)
    assert (cost(source).dense.macs > 0) == (mode != "nearest")
