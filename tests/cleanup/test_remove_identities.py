"""Exact identities go; what cannot go stays as it was, operands included. More of them in test_clean.py."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from anybit import Session, load
from anybit.cleanup.remove_identities import RemoveIdentities
from tests.models import model


@pytest.mark.parametrize(("op_type", "number"), [("Add", 0), ("Mul", 1)])
def test_a_neutral_first_operand_between_input_and_output_stays_in_its_place(op_type, number):
    nodes = [helper.make_node(op_type, ["k", "x"], ["y"])]
    loaded = load(model(nodes, {"k": np.float32(number)}, inputs={"x": [2]}, outputs=["y"]))
    assert not RemoveIdentities()(loaded).modified
    assert [v.name for v in loaded.graph[0].inputs] == ["k", "x"]


@pytest.mark.parametrize(("op_type", "number"), [("Add", 0), ("Mul", 1)])
def test_a_neutral_first_operand_goes(op_type, number):
    nodes = [helper.make_node(op_type, ["k", "x"], ["a"]), helper.make_node("Neg", ["a"], ["y"])]
    loaded = load(model(nodes, {"k": np.float32(number)}, inputs={"x": [2]}, outputs=["y"]))
    assert RemoveIdentities()(loaded).modified
    assert [n.op_type for n in loaded.graph] == ["Neg"]
    assert [v.name for v in loaded.graph[0].inputs] == ["x"]


@pytest.mark.parametrize(("opset", "left"), [(10, ["Clip", "Neg"]), (11, ["Neg"])])
def test_a_clip_without_bounds_changes_infinity_before_opset_11(opset, left):
    nodes = [helper.make_node("Clip", ["x"], ["c"]), helper.make_node("Neg", ["c"], ["y"])]
    proto = model(nodes, {}, inputs={"x": [2]}, outputs=["y"], opset=opset)
    loaded = load(proto)
    RemoveIdentities()(loaded)
    assert [n.op_type for n in loaded.graph] == left
    x = np.array([np.inf, 1], np.float32)
    before, after = (Session(m, engine="reference").run(x)["y"] for m in (proto, loaded))
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    ("op_type", "number", "told", "goes"),
    [
        ("Add", 0.0, True, False),
        ("Add", 0.0, False, True),
        ("Add", -0.0, True, True),
        ("Sub", 0.0, True, True),
        ("Sub", -0.0, True, False),
        ("Sub", -0.0, False, True),
        ("Mul", 1.0, True, True),
        ("Div", 1.0, True, True),
        ("Pow", 1.0, True, True),
    ],
)
def test_an_added_zero_stays_where_its_sign_is_told(op_type, number, told, goes):
    nodes = [
        helper.make_node(op_type, ["x", "k"], ["a"]),
        helper.make_node("Neg", ["a"], ["n"]),
        helper.make_node("Reciprocal" if told else "Exp", ["n"], ["y"]),
    ]
    proto = model(nodes, {"k": np.float32([number])}, inputs={"x": [3]}, outputs=["y"])
    loaded = load(proto)
    assert RemoveIdentities()(loaded).modified is goes
    x = np.float32([0.0, -0.0, 2.0])
    for engine in ("reference", "onnxruntime"):
        before, after = (Session(m, engine=engine).run(x)["y"] for m in (proto, loaded))
        np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(before, Session(proto, engine="reference").run(x)["y"])
