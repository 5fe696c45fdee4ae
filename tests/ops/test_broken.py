"""Nodes without a meaning: found, covered so that all else can be read, and raised as errors."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from anybit.errors import InvalidModelError, Severity
from anybit.ops.broken import broken_calls, cover_broken, cover_broken_calls, findings_of_node, refuse_broken
from tests.models import DOMAIN, parameters, quant
from tests.models import model as model_of

_GOOD = [helper.make_node("Relu", ["x"], ["a"], name="relu"), quant("a", "y")]
_MISSING = helper.make_node("Add", ["x"], ["b"], name="add")  # an input is missing
_ODD = quant("x", "c", prefix="y", rounding_mode="BOGUS")  # a value that no rounding has
_UNKNOWN = helper.make_node("Quant", ["x", "y_scale", "y_zeropt", "y_bits"], ["d"], name="more", domain=DOMAIN, extra=1)


def _model(*nodes: onnx.NodeProto, functions=()) -> ir.Model:
    proto = model_of([*_GOOD, *nodes], parameters("y"), inputs={"x": [4]}, outputs=["y"], functions=functions)
    return ir.from_proto(proto)


def _function() -> onnx.FunctionProto:
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_function("own", "f", ["x"], ["b"], [_MISSING], opsets)


def _domains(model: ir.Model) -> dict[str, str]:
    return {str(node.name): node.domain for node in model.graph}


def test_calls_of_a_form_that_cannot_be_are_found():
    assert list(broken_calls(_model())) == []
    assert list(broken_calls(_model(_ODD, _UNKNOWN))) == [], "their form is right"
    found = list(broken_calls(_model(_MISSING)))
    assert [(node.name, f.severity) for node, f in found] == [("add", Severity.ERROR)]
    again = helper.make_node("Add", ["x"], ["e"], name="again")
    assert [node.name for node, _ in broken_calls(_model(_MISSING, again))] == ["add", "again"]
    assert [node.name for node, _ in broken_calls(_model(functions=[_function()]))] == ["add"]


@pytest.mark.parametrize("op_type", ["Concat", "Max", "Mean", "Min", "SequenceConstruct", "Sum"])
@pytest.mark.parametrize("inputs", [["x", "", "x"], ["", "x"], ["x", "x", ""]])
def test_none_of_a_variable_number_of_inputs_may_be_left_out(op_type: str, inputs: list[str]):
    """ONNX leaves out only inputs that are optional; ONNX Runtime ends the process at others."""
    attributes = {"axis": 0} if op_type == "Concat" else {}
    whole = helper.make_node(op_type, ["x", "x"], ["b"], name="whole", **attributes)
    gap = helper.make_node(op_type, inputs, ["d"], name="gap", **attributes)
    found = [(str(node.name), f.problem) for node, f in broken_calls(_model(whole, gap))]
    assert {name for name, _ in found} == {"gap"}
    assert all("is missing" in problem for _, problem in found)


@pytest.mark.parametrize("stated", [-1, 0, 1, 3, 1 << 30])
def test_a_split_has_as_many_outputs_as_it_states(stated: int):
    """ONNX Runtime ends the process where they are more, and the reference makes as many as are stated."""
    right = helper.make_node("Split", ["x"], ["b", "c"], name="right", num_outputs=2)
    wrong = helper.make_node("Split", ["x"], ["d", "e"], name="wrong", num_outputs=stated)
    found = [(str(node.name), f.expected) for node, f in broken_calls(_model(right, wrong))]
    assert found == [("wrong", f"num_outputs, {stated}")]


def test_the_condition_of_a_loop_may_be_left_out():
    def info(name: str, kind: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, [])

    nodes = [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Identity", ["s"], ["t"])]
    ins = [info("i", onnx.TensorProto.INT64), info("c", onnx.TensorProto.BOOL), info("s", onnx.TensorProto.FLOAT)]
    body = helper.make_graph(nodes, "b", ins, [info("d", onnx.TensorProto.BOOL), info("t", onnx.TensorProto.FLOAT)])
    loop = helper.make_node("Loop", ["count", "", "x"], ["b"], name="loop", body=body)
    assert list(broken_calls(_model(loop))) == []


def test_calls_of_a_broken_form_are_covered_in_functions_too():
    model = _model(_MISSING, _ODD, functions=[_function()])
    cover_broken_calls(model)
    assert _domains(model) == {"relu": "", "y_node": DOMAIN, "add": "broken", "c_node": DOMAIN}
    (function,) = model.functions.values()
    assert [node.domain for node in function] == ["broken"]
    assert model.opset_imports["broken"] == function.opset_imports["broken"] == 1
    assert list(broken_calls(model)) == []
    untouched = _model()
    cover_broken_calls(untouched)
    assert "broken" not in untouched.opset_imports


def test_all_nodes_without_a_meaning_are_covered():
    model = _model(_MISSING, _ODD, _UNKNOWN)
    cover_broken(model)
    assert _domains(model) == {"relu": "", "y_node": DOMAIN, "add": "broken", "c_node": "broken", "more": DOMAIN}
    assert model.opset_imports["broken"] == 1
    assert not model.graph.node("c_node").attributes
    refuse_broken(model)


def test_the_first_error_is_raised():
    refuse_broken(_model(_UNKNOWN))  # an attribute too many is a warning
    (warning,) = findings_of_node(_model(_UNKNOWN).graph.node("more"), {"": 21, DOMAIN: 1})
    assert warning.severity is Severity.WARNING
    with pytest.raises(InvalidModelError, match=r"(?s)'c_node'.*BOGUS"):
        refuse_broken(_model(_UNKNOWN, _ODD, _MISSING))
    with pytest.raises(InvalidModelError, match=r"(?s)'add'.*anybit check"):
        refuse_broken(_model(_MISSING, _ODD))
