"""SortCommutative: constants last, elements the same."""

from __future__ import annotations

import numpy as np
from onnx import helper

import anybit
from tests.models import model, samples


def test_constants_come_last():
    nodes = [
        helper.make_node("Mul", ["c", "x"], ["m"], "mul"),
        helper.make_node("Sub", ["c", "m"], ["s"], "sub"),
        helper.make_node("Max", ["s", "c"], ["h"], "max"),
        helper.make_node("Sum", ["c", "h", "x"], ["y"], "sum"),
    ]
    proto = model(nodes, {"c": np.float32([1.5, -2, 3])}, inputs={"x": [1, 3]}, outputs=["y"])
    applied = anybit.apply(proto, ["sort-commutative"])
    inputs = [[v.name for v in n.inputs] for n in applied.model.graph]
    assert inputs == [["x", "c"], ["c", "m"], ["s", "c"], ["c", "h", "x"]]
    x = samples(1, 3)
    np.testing.assert_array_equal(anybit.run(applied.model, x)["y"], anybit.run(proto, x)["y"])
    assert not anybit.apply(applied.model, ["sort-commutative"]).steps[0].modified
