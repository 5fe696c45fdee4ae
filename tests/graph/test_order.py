"""Nodes in any order are taken by every function; a cycle is named."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

import anybit
from anybit.cleanup.convert_opset import ConvertOpset
from anybit.errors import InvalidModelError
from tests.models import model, parameters, quant, samples

X = samples(1, 3)


def _plain():
    """y = Quant(Quant(x) @ Quant(w)), its nodes from the last to the first."""
    nodes = [
        quant("h", "y"),
        helper.make_node("MatMul", ["xq", "wq"], ["h"], name="mm"),
        quant("w", "wq"),
        quant("x", "xq"),
    ]
    values = {"w": np.eye(3, dtype=np.float32)} | parameters("y") | parameters("wq", scale=0.25) | parameters("xq")
    return model(nodes, values, inputs={"x": [1, 3]}, outputs=["y"])


def _subgraph():
    """A branch that is unsorted itself, and reads what the outer graph makes behind the If."""
    late = [helper.make_node("Relu", ["u"], ["t"]), helper.make_node("Neg", ["late"], ["u"])]
    branches = [
        helper.make_graph(nodes, "b", [], [helper.make_tensor_value_info(out, 1, None)])
        for nodes, out in ((late, "t"), ([helper.make_node("Neg", ["x"], ["e"])], "e"))
    ]
    nodes = [
        helper.make_node("If", ["c"], ["y"], then_branch=branches[0], else_branch=branches[1]),
        helper.make_node("Sin", ["x"], ["late"]),
    ]
    return model(nodes, {"c": np.bool_(1)}, inputs={"x": [1, 3]}, outputs=["y"])


def _function():
    nodes = [helper.make_node("Neg", ["t"], ["b"]), helper.make_node("Abs", ["a"], ["t"])]
    function = helper.make_function("local", "F", ["a"], ["b"], nodes, [helper.make_opsetid("", 21)])
    calls = [helper.make_node("Exp", ["f"], ["y"]), helper.make_node("F", ["x"], ["f"], domain="local")]
    imports = {"": 21, "local": 1}
    return model(calls, {}, inputs={"x": [1, 3]}, outputs=["y"], functions=[function], imports=imports)


UNSORTED = {
    "graph": (_plain, lambda x: np.clip(np.rint(np.clip(np.rint(x / 0.5), -8, 7)), -8, 7) * 0.5),
    "subgraph": (_subgraph, lambda x: np.maximum(-np.sin(x), 0)),
    "function": (_function, lambda x: np.exp(-np.abs(x))),
}


@pytest.mark.parametrize("kind", UNSORTED)
def test_nodes_in_any_order_mean_the_same_everywhere(kind):
    make, formula = UNSORTED[kind]
    proto = make()
    source = ir.from_proto(proto)
    order = [n.op_type for n in source.graph.all_nodes()]
    made = (
        proto,
        source,
        anybit.load(proto),
        anybit.clean(source),
        anybit.convert(proto, "qcdq").model,
        anybit.apply(proto, [ConvertOpset(19)]).model,
        anybit.surgery.extract_submodel(ir.from_proto(make()), inputs=["x"], outputs=["y"]),
        anybit.prepare_finn(proto).model,
        anybit.prepare_hls4ml(proto).model,
    )
    for one in made:
        (y,) = anybit.run(one, X, engine="reference").values()
        np.testing.assert_allclose(y, formula(X), rtol=1e-6)
    proven = anybit.results.Verdict.UNDECIDED if kind == "subgraph" else anybit.results.Verdict.EXACT_BY_CONSTRUCTION
    assert anybit.verify(source, proto).verdict is proven
    assert all(d.unequal == 0 for d in anybit.compare(source, proto, {"x": X}).outputs)
    for call in (anybit.analyse, anybit.types, anybit.ranges, anybit.cost, anybit.info, anybit.capabilities):
        call(source)
    assert [n.op_type for n in source.graph.all_nodes()] == order


@pytest.mark.parametrize("kind", UNSORTED)
def test_the_order_is_a_repair_and_a_finding_about_the_source(kind):
    proto = UNSORTED[kind][0]()
    for source in (proto, ir.from_proto(proto)):
        findings = [f for f in anybit.check(source) if f.rule == "order"]
        (repair,) = [r for r in anybit.repairs(anybit.load(source)) if r.rule == "order"]
        assert repair.count == len(findings) > 0
        assert not [f for f in anybit.check(anybit.load(source)) if f.rule == "order"]


def test_a_reader_before_its_maker_is_named():
    (finding,) = [f for f in anybit.check(_function()) if f.rule == "order" and "Neg" in f.node]
    assert (finding.problem, finding.severity) == ("input 't' is made later", anybit.errors.Severity.WARNING)


def _cycle_of_branch():
    nodes = [helper.make_node("Add", ["x", "q"], ["t"], name="A"), helper.make_node("Neg", ["t"], ["q"], name="B")]
    branch = helper.make_graph(nodes, "b", [], [helper.make_tensor_value_info("t", 1, None)])
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    return model([node], {"c": np.bool_(1)}, inputs={"x": [1, 3]}, outputs=["y"])


def _cycle_of_function():
    nodes = [helper.make_node("Add", ["a", "k"], ["b"], name="A"), helper.make_node("Neg", ["b"], ["k"], name="B")]
    function = helper.make_function("local", "F", ["a"], ["b"], nodes, [helper.make_opsetid("", 21)])
    call = helper.make_node("F", ["x"], ["y"], domain="local")
    imports = {"": 21, "local": 1}
    return model([call], {}, inputs={"x": [1, 3]}, outputs=["y"], functions=[function], imports=imports)


def _cycle_of_graph():
    nodes = [
        helper.make_node("Abs", ["x"], ["before"], name="before"),
        helper.make_node("Add", ["before", "b"], ["a"], name="A"),
        helper.make_node("Relu", ["a"], ["b"], name="B"),
        helper.make_node("Neg", ["b"], ["y"], name="behind"),
    ]
    return model(nodes, {}, inputs={"x": [1, 3]}, outputs=["y"])


@pytest.mark.parametrize("make", [_cycle_of_graph, _cycle_of_branch, _cycle_of_function])
def test_a_cycle_names_its_nodes(make):
    (finding,) = [f for f in anybit.check(make()) if f.rule == "cycle"]
    assert finding.got.count("'A'") + finding.got.count("'B'") == 3
    assert "before" not in finding.got
    assert "behind" not in finding.got
    for call in (anybit.clean, anybit.run, anybit.analyse, lambda m, *_: anybit.convert(m, "qcdq")):
        with pytest.raises(InvalidModelError, match=r"'[AB]': the graph has a cycle: got .*'[AB]' -> .*'[AB]'"):
            call(make(), *([X] if call is anybit.run else []))


def test_a_body_that_a_function_gets_from_its_caller_does_not_hinder_sorting():
    """onnx-ir walks through graph attributes, and takes a reference to one for a graph."""
    branch = helper.make_graph(
        [helper.make_node("Neg", ["b"], ["r"])], "branch", [], [helper.make_tensor_value_info("r", 1, [2])]
    )
    node = helper.make_node("If", ["c"], ["y"], name="if", then_branch=branch)
    node.attribute.append(
        onnx.AttributeProto(name="else_branch", ref_attr_name="other", type=onnx.AttributeProto.GRAPH)
    )
    nodes = [node, helper.make_node("Abs", ["a"], ["b"])]
    function = helper.make_function("own", "F", ["c", "a"], ["y"], nodes, [helper.make_opsetid("", 21)], ["other"])
    other = helper.make_graph(
        [helper.make_node("Exp", ["x"], ["e"])], "other", [], [helper.make_tensor_value_info("e", 1, [2])]
    )
    call = helper.make_node("F", ["c", "x"], ["z"], domain="own", other=other)
    proto = model(
        [call],
        {"c": np.asarray(True)},
        inputs={"x": [2]},
        outputs=["z"],
        functions=[function],
        imports={"": 21, "own": 1},
    )
    loaded = anybit.load(proto)
    (sorted_function,) = loaded.functions.values()
    assert [n.op_type for n in sorted_function] == ["Abs", "If"]
    assert list(sorted_function[1].attributes) == ["then_branch", "else_branch"]
    assert sorted_function[1].attributes["else_branch"].ref_attr_name == "other"
