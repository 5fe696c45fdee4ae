"""flattened: broken graphs are named, functions are gone, nodes are in order; every analysis begins with it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

import anybit
from anybit.cleanup.flatten import flattened
from anybit.errors import InvalidModelError
from tests.models import mlp, model, samples

RELU = helper.make_node("Relu", ["nowhere"], ["y"], name="r")
CYCLE = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])]
BROKEN = {"comes from nowhere": ([RELU], "y"), "cycle": (CYCLE, "b")}


@pytest.mark.parametrize("call", [anybit.analyse, anybit.ranges, anybit.types, anybit.cost, anybit.stats])
@pytest.mark.parametrize("problem", BROKEN)
def test_broken_graphs_are_refused_by_name(call, problem):
    nodes, output = BROKEN[problem]
    with pytest.raises(InvalidModelError, match=problem):
        call(model(nodes, {}, inputs={"x": [1, 3]}, outputs=[output]))


@pytest.mark.parametrize("problem", BROKEN)
def test_a_broken_graph_is_not_converted(problem):
    nodes, output = BROKEN[problem]
    with pytest.raises(InvalidModelError, match=problem):
        anybit.convert(model(nodes, {}, inputs={"x": [1, 3]}, outputs=[output]), "qcdq")


def test_a_broken_graph_that_cannot_be_copied_has_one_message():
    broken = ir.from_proto(model([RELU], {}, inputs={"x": [1, 3]}, outputs=["y"]))
    with pytest.raises(InvalidModelError, match="comes from nowhere"):
        anybit.load(broken)


def test_functions_are_inlined_and_nodes_sorted():
    call = helper.make_node("Double", ["x"], ["a"], domain="mine")
    nodes = [helper.make_node("Relu", ["a"], ["y"]), call]
    body = [helper.make_node("Add", ["u", "u"], ["v"])]
    function = helper.make_function("mine", "Double", ["u"], ["v"], body, [helper.make_opsetid("", 21)])
    proto = model(nodes, {}, inputs={"x": [1, 3]}, outputs=["y"], imports={"": 21, "mine": 1}, functions=[function])
    flat = flattened(proto)
    assert [n.op_type for n in flat.graph] == ["Add", "Relu"]
    assert not flat.functions
    x = samples(1, 3)
    np.testing.assert_array_equal(anybit.run(flat, x)["y"], np.maximum(2 * x, 0))


def test_the_source_stays_as_it_is():
    source = anybit.load(mlp())
    before = [n.op_type for n in source.graph]
    assert isinstance(flattened(source), ir.Model)
    assert [n.op_type for n in source.graph] == before
