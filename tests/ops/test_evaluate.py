"""evaluate_node and known_value: what is computed, what is not, and what is not tried."""

from __future__ import annotations

from itertools import count
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from anybit.budget import limits
from anybit.ops.evaluate import compiled, evaluate_node, known_value
from anybit.ops.operator import DOMAIN
from anybit.ops.sizes import ELEMENT_BYTES

_OPSETS = {"": 21, DOMAIN: 1}
_NUMBERS = count()
_X = np.float32([0.3, -1.2, 9.0])


def _value(name: str = "x") -> ir.Value:
    return ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT))


def _constant(array: Any) -> ir.Value:
    return _node("Constant", value=ir.tensor(np.asarray(array))).outputs[0]


def _node(op_type: str, *inputs: ir.Value | None, domain: str = "", outputs: int = 1, **attributes: Any) -> ir.Node:
    made = [ir.Value(name=f"v{next(_NUMBERS)}") for _ in range(outputs)]
    return ir.node(op_type, inputs, attributes, domain=domain, outputs=made)


def test_standard_nodes_and_ours_are_computed():
    (y,) = evaluate_node(_node("Neg", _value()), [_X], _OPSETS) or ()
    np.testing.assert_array_equal(y, -_X)
    call = _node("BipolarQuant", _value(), _value("s"), domain=DOMAIN)
    (y,) = evaluate_node(call, [_X, np.float32(0.5)], _OPSETS) or ()
    np.testing.assert_array_equal(y, [0.5, -0.5, 0.5])
    parts = evaluate_node(_node("Split", _value(), outputs=3, num_outputs=3), [_X], _OPSETS)
    assert [p.tolist() for p in parts or ()] == [[v] for v in _X.tolist()]


def test_the_version_of_an_operator_is_that_of_the_model():
    call = _node("Trunc", *(_value(n) for n in "xszio"), domain=DOMAIN)
    numbers = [np.float32([12.0]), *(np.float32(v) for v in (1, 0, 4, 2))]
    (y,) = evaluate_node(call, numbers, _OPSETS) or ()  # of version 2, Trunc has other inputs
    assert y.tolist() == [3.0]
    (y,) = evaluate_node(call, numbers, {"": 21}) or ()
    assert y.tolist() == [3.0]


@pytest.mark.parametrize(
    "node",
    [
        _node("RandomNormalLike", _value()),
        _node("Unheard", _value()),
        _node("Unheard", _value(), domain=DOMAIN),
        _node("Relu", _value(), domain="elsewhere"),
        _node("If", _value(), then_branch=ir.Graph([], [], nodes=[]), else_branch=ir.Graph([], [], nodes=[])),
        ir.Node("", "LeakyRelu", [_value()], [ir.RefAttr("alpha", "a", ir.AttributeType.FLOAT)]),
    ],
    ids=lambda n: f"{n.domain}.{n.op_type}",
)
def test_what_has_no_one_value_is_not_computed(node: ir.Node):
    assert compiled(node, _OPSETS) is None
    assert evaluate_node(node, [_X], _OPSETS) is None


def test_ours_need_every_input():
    kernel = compiled(_node("BipolarQuant", _value(), None, domain=DOMAIN), _OPSETS)
    assert kernel is not None
    with pytest.raises(ValueError, match="left out"):
        kernel([_X, None])


def test_a_result_that_is_no_tensor_is_none():
    assert evaluate_node(_node("SequenceConstruct", _value()), [_X], _OPSETS) is None


def test_what_is_too_large_is_not_computed():
    node = _node("Neg", _value())
    assert evaluate_node(node, [_X], _OPSETS, most=3) is not None
    assert evaluate_node(node, [_X], _OPSETS, most=2) is None
    with limits(memory=3 * ELEMENT_BYTES):
        assert evaluate_node(node, [_X], _OPSETS) is not None
    with limits(memory=3 * ELEMENT_BYTES - 1):
        assert evaluate_node(node, [_X], _OPSETS) is None


def test_a_constant_is_known_and_an_input_is_not():
    assert known_value(None, _OPSETS) is None
    assert known_value(_value(), _OPSETS) is None
    np.testing.assert_array_equal(known_value(_constant(_X), _OPSETS), _X)


def test_what_a_few_nodes_make_of_constants_is_known():
    split = _node("Split", _constant(_X), None, num_outputs=3, outputs=3)
    total = _node("Add", _node("Neg", split.outputs[1]).outputs[0], split.outputs[2])
    twice = _node("Mul", total.outputs[0], total.outputs[0])
    np.testing.assert_array_equal(known_value(twice.outputs[0], _OPSETS), (_X[2:] - _X[1:2]) ** 2)
    np.testing.assert_array_equal(known_value(split.outputs[1], _OPSETS), _X[1:2])


def test_what_depends_on_an_input_is_not_known():
    assert known_value(_node("Add", _constant(_X), _value()).outputs[0], _OPSETS) is None
    random = _node("RandomNormalLike", _constant(_X))
    assert known_value(_node("Neg", random.outputs[0]).outputs[0], _OPSETS) is None


def test_what_contradicts_itself_is_not_known():
    wrong = _node("Reshape", _constant(_X), _constant(np.int64([2, 2])))
    assert known_value(_node("Neg", wrong.outputs[0]).outputs[0], _OPSETS) is None


@pytest.mark.parametrize(("length", "known"), [(64, True), (65, False)])
def test_a_long_way_is_not_gone(length: int, known: bool):
    value = _constant(_X)
    for _ in range(length):
        value = _node("Neg", value).outputs[0]
    found = known_value(value, _OPSETS)
    assert (found is not None) == known
    if found is not None:
        np.testing.assert_array_equal(found, _X)
