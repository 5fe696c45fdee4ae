"""Which nodes share a box: what only works on a layer's result, and what computes its constants."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from onnx import TensorProto, helper

import anybit
from anybit.reporting.blocks import partition
from tests.counting import calls
from tests.models import model, parameters, quant

WEIGHT = np.ones((4, 4), np.float32)


def boxes(proto, products=("MatMul",)):
    values = anybit.analyse(proto)
    found = partition(values.model, {n for n in values.model.graph if n.op_type in products})
    return [[n.name or n.outputs[0].name for n in box] for box in found.boxes], found


def node(op_type, inputs, output, **attributes):
    return helper.make_node(op_type, inputs, [output], name=output, **attributes)


def test_a_layer_takes_its_weights_and_what_works_on_its_result():
    proto = model(
        [
            quant("w", "wq"),
            node("Transpose", ["wq"], "wt", perm=[1, 0]),
            node("MatMul", ["x", "wt"], "m"),
            node("Relu", ["m"], "r"),
            quant("r", "y", signed=0),
        ],
        {"w": WEIGHT} | parameters("wq") | parameters("y"),
        inputs={"x": [1, 4]},
        outputs=["y"],
    )
    drawn, found = boxes(proto)
    assert drawn == [["m", "r", "y_node"]]
    assert len(found.box_of) == 5


def test_a_result_that_is_read_twice_ends_a_box():
    proto = model(
        [
            node("MatMul", ["x", "w"], "m"),
            node("Relu", ["m"], "r"),
            node("Sigmoid", ["m"], "s"),
            node("Add", ["r", "s"], "y"),
        ],
        {"w": WEIGHT},
        inputs={"x": [1, 4]},
        outputs=["y"],
    )
    assert boxes(proto)[0] == [["m"], ["r"], ["s"], ["y"]]


def test_an_output_in_the_middle_ends_a_box():
    proto = model(
        [node("MatMul", ["x", "w"], "m"), node("Relu", ["m"], "y")],
        {"w": WEIGHT},
        inputs={"x": [1, 4]},
        outputs=["m", "y"],
    )
    assert boxes(proto)[0] == [["m"], ["y"]]


def test_a_result_that_a_subgraph_captures_ends_a_box():
    def branch(op_type, name):
        return helper.make_graph(
            [helper.make_node(op_type, ["m"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
        )

    proto = model(
        [
            node("MatMul", ["x", "w"], "m"),
            node("Relu", ["m"], "r"),
            helper.make_node("If", ["c"], ["i"], then_branch=branch("Abs", "t"), else_branch=branch("Neg", "e")),
            node("Add", ["r", "i"], "y"),
        ],
        {"w": WEIGHT, "c": np.array(True)},
        inputs={"x": [1, 4]},
        outputs=["y"],
    )
    drawn, found = boxes(proto)
    assert drawn == [["m"], ["r"], ["i"], ["y"]]
    captured = next(n for n in found.box_of if n.op_type == "If")
    assert [v.name for v in found.moving(captured)] == ["m"]


def test_one_quantised_weight_of_two_layers_goes_into_the_first():
    proto = model(
        [quant("w", "wq"), node("MatMul", ["x", "wq"], "a"), node("MatMul", ["a", "wq"], "y")],
        {"w": WEIGHT} | parameters("wq"),
        inputs={"x": [1, 4]},
        outputs=["y"],
    )
    drawn, found = boxes(proto)
    assert drawn == [["a"], ["y"]]
    assert found.box_of[next(n for n in found.box_of if n.op_type == "Quant")] == 0


def test_long_chains_are_cut_into_boxes_that_can_be_read():
    names = ["x", *(f"r{i}" for i in range(20))]
    proto = model(
        [node("Relu", [a], b) for a, b in pairwise(names)],
        {},
        inputs={"x": [1, 4]},
        outputs=[names[-1]],
    )
    assert [len(b) for b in boxes(proto)[0]] == [8, 8, 4]


def test_cost_is_linear_in_the_readers_of_one_tensor():
    def cost(readers):
        nodes = [node("Abs", ["x"], "a"), *(node("Relu", ["a"], f"r{i}") for i in range(readers))]
        proto = model(nodes, {}, inputs={"x": [1, 4]}, outputs=[f"r{i}" for i in range(readers)])
        values = anybit.analyse(proto)
        return calls(lambda: partition(values.model, set()))

    assert cost(4000) < 12 * cost(400)
