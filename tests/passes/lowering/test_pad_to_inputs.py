"""PadToInputs: old Pads in new models get inputs."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from anybit import load, repairs
from anybit.passes.lowering.pad_to_inputs import PadToInputs
from anybit.runtime.session import Session
from tests.models import model
from tests.passes.surgery.surgery import node, text, valid, value

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def _pad(*, opset=13, dtype=TensorProto.FLOAT, **attributes):
    nodes = [node("Pad", ["x"], ["p"], name="pad", pads=[0, 1, 0, 2], **attributes), node("Neg", ["p"], ["y"])]
    proto = model(nodes, {}, inputs={"x": [2, 3]}, outputs=["y"], opset=opset, input_type=dtype)
    proto.graph.output[0].type.tensor_type.elem_type = dtype
    return proto


def test_before_and_after():
    read = ir.from_proto(_pad(value=2.0, mode="constant"))
    assert PadToInputs()(read).modified
    assert text(read) == ["p = Pad(x, p_pads, p_value)", "y = Neg(p)"]
    assert list(read.graph.node(0).attributes) == ["mode"]
    assert not PadToInputs()(read).modified
    valid(read)


@pytest.mark.parametrize("engine", ["reference", "onnxruntime"])
@pytest.mark.parametrize("attributes", [{}, {"value": 0.1}, {"mode": "edge"}, {"mode": "reflect"}])
def test_the_meaning_is_that_of_the_old_form(attributes, engine):
    read = ir.from_proto(_pad(**attributes))
    PadToInputs()(read)
    old = _pad(opset=10, **attributes)
    np.testing.assert_array_equal(
        Session(read, engine=engine).run(X)["y"], Session(old, engine="onnxruntime").run(X)["y"]
    )


@pytest.mark.parametrize(("dtype", "numpy"), [(TensorProto.DOUBLE, np.float64), (TensorProto.FLOAT16, np.float16)])
def test_the_value_has_the_type_of_the_input(dtype, numpy):
    read = ir.from_proto(_pad(dtype=dtype, value=0.5))
    PadToInputs()(read)
    (y,) = Session(read, engine="reference").run(X.astype(numpy)).values()
    assert y.dtype == numpy
    assert y[0, 0] == -0.5


@pytest.mark.parametrize("engine", ["reference", "onnxruntime"])
@pytest.mark.parametrize("attributes", [{}, {"value": 0.1}, {"mode": "edge"}])
def test_load_repairs_them(attributes, engine):
    read = load(_pad(**attributes))
    assert [r.rule for r in repairs(read)] == ["pad-attributes"]
    old = _pad(opset=10, **attributes)
    np.testing.assert_array_equal(
        Session(read, engine=engine).run(X)["y"], Session(old, engine="onnxruntime").run(X)["y"]
    )


def test_before_opset_11_there_is_no_other_form():
    read = ir.from_proto(_pad(opset=10))
    result = PadToInputs()(read)
    assert not result.modified
    (finding,) = result.notes
    assert (finding.node, finding.hint) == ("Pad 'pad'", "convert the opset")
    assert read.graph.node(0).attributes["pads"].as_ints() == (0, 1, 0, 2)


def test_a_value_that_the_type_cannot_hold():
    read = ir.from_proto(_pad(dtype=TensorProto.INT32, value=0.5))
    result = PadToInputs()(read)
    assert text(read)[0] == "p = Pad(x)"
    assert "0.5 in INT32" in str(result.notes[0])


def test_amounts_that_are_given_twice():
    proto = _pad()
    proto.graph.node[0].input.append("amounts")
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(4, np.int64), "amounts"))
    read = ir.from_proto(proto)
    result = PadToInputs()(read)
    assert text(read)[0] == "p = Pad(x, amounts)"
    assert [n.node for n in result.notes] == ["Pad 'pad'"]


def test_in_a_branch_and_in_a_function():
    inner = [node("Pad", ["x"], ["t"], name="inside", pads=[0, 1, 0, 1])]
    then = helper.make_graph(inner, "then", [], [value("t")])
    other = helper.make_graph([node("Identity", ["x"], ["e"])], "else", [], [value("e")])
    function = helper.make_function(
        "my", "F", ["a"], ["b"], [node("Pad", ["a"], ["b"], name="f", pads=[0, 0])], [helper.make_opsetid("", 13)]
    )
    nodes = [node("If", ["c"], ["y"], then_branch=then, else_branch=other)]
    imports = {"": 13, "my": 1}
    proto = model(
        nodes, {"c": np.array(True)}, inputs={"x": [2, 3]}, outputs=["y"], imports=imports, functions=[function]
    )
    read = ir.from_proto(proto)
    result = PadToInputs()(read)
    (graph, *_) = [g for g in read.graph.subgraphs() if g.name == "then"]
    assert text(graph) == ["t = Pad(x, t_pads)"]
    np.testing.assert_array_equal(Session(read, engine="reference").run(X)["y"], np.pad(X, [(0, 0), (1, 1)]))
    assert [n.node for n in result.notes] == ["Pad 'f'"]
