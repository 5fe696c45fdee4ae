"""Loop, Scan and If: how often their bodies count."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from anybit.analysis.cost.cost import cost
from anybit.errors import InvalidModelError, Severity
from tests.models import model

W = np.full((3, 3), 0.1, np.float32)  # 9 multiply-accumulates a row


def info(name: str, kind: int = TensorProto.FLOAT, shape: tuple[int, ...] = (1, 3)):
    return helper.make_tensor_value_info(name, kind, shape)


def body(*, ends: str = "cond_in"):
    """x @ w; the loop goes on if `ends` says so. Of h_in, inference tells no shape."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h_out"]), helper.make_node("Identity", [ends], ["cond_out"])]
    if ends == "decided":
        nodes[1:1] = [
            helper.make_node("ReduceMax", ["h_out"], ["top"], keepdims=0),
            helper.make_node("Less", ["top", "limit"], ["decided"]),
        ]
    inputs = [info("i", TensorProto.INT64, ()), info("cond_in", TensorProto.BOOL, ()), info("h_in")]
    return helper.make_graph(nodes, "body", inputs, [info("cond_out", TensorProto.BOOL, ()), info("h_out")])


def looped(trips: str, condition: str = "", **options):
    node = helper.make_node("Loop", [trips, condition, "x"], ["y"], body=body(**options), name="loop")
    constants = {"five": np.int64(5), "zero": np.int64(0), "yes": np.bool_(True), "no": np.bool_(False)}
    constants |= {"w": W, "limit": np.float32(10)}
    source = model([node], constants, inputs={"x": [1, 3]}, outputs=["y"])
    source.graph.input.append(helper.make_tensor_value_info("n", TensorProto.INT64, (1,)))
    source.graph.input.append(helper.make_tensor_value_info("flag", TensorProto.BOOL, (1,)))
    return cost(source)


@pytest.mark.parametrize(
    ("trips", "condition", "macs"), [("five", "", 45), ("five", "yes", 45), ("zero", "", 0), ("five", "no", 0)]
)
def test_the_body_of_a_loop_counts_once_a_trip(trips, condition, macs):
    result = looped(trips, condition)
    assert (result.dense.macs, result.sparse.macs) == (macs, macs)
    assert result.dense.weight_bits == 9 * 32  # stored once
    assert not result.findings


@pytest.mark.parametrize(
    ("trips", "condition", "ends", "text"),
    [
        ("n", "", "cond_in", "not constant"),
        ("five", "flag", "cond_in", "starts"),
        ("five", "yes", "decided", "decides"),
    ],
)
def test_an_unknown_number_of_trips_is_never_one(trips, condition, ends, text):
    result = looped(trips, condition, ends=ends)
    assert (result.dense.macs, result.dense.bit_operations) == (None, None)
    assert result.dense.weight_bits == 9 * 32
    (finding,) = result.findings
    assert finding.severity is Severity.ERROR
    assert finding.node == "Loop 'loop'"
    assert text in finding.problem


def test_a_loop_without_end_is_refused():
    with pytest.raises(InvalidModelError, match="the loop has no end"):
        looped("", "yes", ends="cond_in")


def test_the_body_of_a_scan_counts_once_an_element():
    nodes = [helper.make_node("MatMul", ["h_in", "w"], ["h_out"]), helper.make_node("Max", ["h_out", "e"], ["o"])]
    inner = helper.make_graph(nodes, "body", [info("h_in"), info("e")], [info("h_out"), info("o")])
    nodes = [
        helper.make_node("ReduceSum", ["x", "axis"], ["h"], keepdims=0),
        helper.make_node("Scan", ["h", "x"], ["last", "y"], body=inner, num_scan_inputs=1, scan_input_axes=[1]),
    ]
    source = model(nodes, {"w": W, "axis": np.int64([1])}, inputs={"x": [1, 7, 3]}, outputs=["y"])
    result = cost(source)
    assert result.dense.macs == 7 * 9
    assert ("Max", 7 * 3) in {(o.operator, o.elements) for o in result.others}


def branch(name: str, products: int):
    """Products one after the other, with a weight of its own."""
    nodes = [
        helper.make_node("MatMul", [f"{name}{i}" if i else "x", f"{name}_w"], [f"{name}{i + 1}"])
        for i in range(products)
    ]
    weights = [numpy_helper.from_array(W, f"{name}_w")]
    return helper.make_graph(nodes, name, [], [info(f"{name}{products}")], weights)


@pytest.mark.parametrize(("yes", "no"), [(1, 3), (3, 1)])
def test_the_dearer_branch_counts(yes, no):
    node = helper.make_node("If", ["flag"], ["y"], then_branch=branch("then", yes), else_branch=branch("else", no))
    source = model([node], {}, inputs={"x": [1, 3]}, outputs=["y"])
    source.graph.input.append(helper.make_tensor_value_info("flag", TensorProto.BOOL, (1,)))
    result = cost(source)
    assert result.dense.macs == 27
    assert result.dense.weight_bits == 2 * 9 * 32  # both branches are in memory
    (finding,) = result.findings
    assert finding.severity is Severity.WARNING
    assert ("then_branch" if yes > no else "else_branch") in finding.problem


def test_a_known_condition_takes_its_branch():
    node = helper.make_node("If", ["flag"], ["y"], then_branch=branch("then", 1), else_branch=branch("else", 3))
    result = cost(model([node], {"flag": np.bool_(True)}, inputs={"x": [1, 3]}, outputs=["y"]))
    assert result.dense.macs == 9
    assert result.dense.weight_bits == 9 * 32
    assert not result.findings


def test_loops_in_loops_multiply():
    inner = helper.make_node("Loop", ["two", "", "h_in"], ["h_out"], body=body_of_inner())
    outer = helper.make_graph(
        [inner, helper.make_node("Identity", ["cond_in"], ["cond_out"])],
        "outer",
        [info("i", TensorProto.INT64, ()), info("cond_in", TensorProto.BOOL, ()), info("h_in")],
        [info("cond_out", TensorProto.BOOL, ()), info("h_out")],
    )
    node = helper.make_node("Loop", ["five", "", "x"], ["y"], body=outer)
    constants = {"five": np.int64(5), "two": np.int64(2), "w": W}
    assert cost(model([node], constants, inputs={"x": [1, 3]}, outputs=["y"])).dense.macs == 2 * 5 * 9


def body_of_inner():
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["g_out"]),
        helper.make_node("Identity", ["going_in"], ["going_out"]),
    ]
    inputs = [info("j", TensorProto.INT64, ()), info("going_in", TensorProto.BOOL, ()), info("g_in")]
    return helper.make_graph(nodes, "inner", inputs, [info("going_out", TensorProto.BOOL, ()), info("g_out")])
