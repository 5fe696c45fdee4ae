"""What nothing depends on goes, captures of subgraphs and all."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx import TensorProto, helper

from anybit import load
from anybit.cleanup.remove_unused import RemoveUnused
from tests.models import model


def _branch(name: str):
    nodes = [helper.make_node("Add", ["kept", "inner_w"], ["unread"]), helper.make_node("Abs", ["kept"], [name])]
    weights = [helper.make_tensor("inner_w", TensorProto.FLOAT, [1], [1.0])]
    return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(name, 1, None)], weights)


def _with_if(outputs):
    nodes = [
        helper.make_node("Neg", ["x"], ["kept"]),
        helper.make_node("If", ["c"], ["chosen"], then_branch=_branch("a"), else_branch=_branch("b")),
        helper.make_node("Abs", ["x"], ["y"]),
    ]
    return load(model(nodes, {"c": np.bool_(1), "w": np.ones(3, np.float32)}, inputs={"x": [3]}, outputs=outputs))


def test_a_dead_if_takes_along_what_only_it_captured():
    loaded = _with_if(["y"])
    assert RemoveUnused()(loaded).modified
    assert [n.op_type for n in loaded.graph] == ["Abs"]
    assert not loaded.graph.initializers


def test_a_living_if_keeps_its_captures_and_loses_its_dead_nodes():
    loaded = _with_if(["y", "chosen"])
    RemoveUnused()(loaded)
    assert [n.op_type for n in loaded.graph] == ["Neg", "If", "Abs"]
    assert set(loaded.graph.initializers) == {"c"}
    for graph in loaded.graph.subgraphs():
        assert [n.op_type for n in graph] == ["Abs"]
        assert not graph.initializers


def test_functions_that_nothing_calls_go():
    function = helper.make_function(
        "local", "F", ["a"], ["b"], [helper.make_node("Abs", ["a"], ["b"])], [helper.make_opsetid("", 21)]
    )
    proto = model(
        [helper.make_node("Abs", ["x"], ["y"])], {}, inputs={"x": [3]}, outputs=["y"], functions=[function],
        imports={"": 21, "local": 1},
    )  # fmt: skip
    loaded = load(proto)
    assert RemoveUnused()(loaded).modified
    assert not loaded.functions
    assert not RemoveUnused()(loaded).modified


def test_what_a_dead_if_captured_goes_although_a_dead_node_read_the_if():
    proto = _with_if(["y"])
    chosen = next(o for n in proto.graph for o in n.outputs if o.name == "chosen")
    proto.graph.append(ir.node("Exp", [chosen]))
    assert RemoveUnused()(proto).modified
    assert [n.op_type for n in proto.graph] == ["Abs"]
    assert not proto.graph.initializers
    assert not RemoveUnused()(proto).modified


def test_dead_nodes_inside_a_branch_go_with_what_they_alone_captured():
    inner = helper.make_node("If", ["c"], ["dead"], then_branch=_branch("p"), else_branch=_branch("q"))
    then = helper.make_graph(
        [inner, helper.make_node("Neg", ["x"], ["a"])], "then", [], [helper.make_tensor_value_info("a", 1, None)]
    )
    other = helper.make_graph(
        [helper.make_node("Abs", ["x"], ["b"])], "else", [], [helper.make_tensor_value_info("b", 1, None)]
    )
    nodes = [
        helper.make_node("Neg", ["x"], ["kept"]),
        helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other),
    ]
    loaded = load(model(nodes, {"c": np.bool_(1)}, inputs={"x": [3]}, outputs=["y"]))
    assert RemoveUnused()(loaded).modified
    assert sorted(n.op_type for n in loaded.graph.all_nodes()) == ["Abs", "If", "Neg"]
    assert not RemoveUnused()(loaded).modified


def test_dead_nodes_go_in_any_order():
    nodes = [
        helper.make_node("Abs", ["a"], ["b"]),
        helper.make_node("Neg", ["x"], ["a"]),
        helper.make_node("Abs", ["x"], ["y"]),
    ]
    loaded = load(model(nodes, {}, inputs={"x": [3]}, outputs=["y"]))
    assert RemoveUnused()(loaded).modified
    assert [o.name for n in loaded.graph for o in n.outputs] == ["y"]


def test_a_constant_that_only_an_annotation_names_stays():
    nodes = [helper.make_node("Relu", ["x"], ["h"]), helper.make_node("Neg", ["h"], ["y"])]
    proto = model(nodes, {"h_scale": np.float32(0.5), "w": np.float32(1)}, inputs={"x": [3]}, outputs=["y"])
    entry = proto.graph.quantization_annotation.add(tensor_name="h")
    entry.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="h_scale")
    loaded = load(proto)
    assert RemoveUnused()(loaded).modified
    assert list(loaded.graph.initializers) == ["h_scale"]
    assert not RemoveUnused()(loaded).modified
