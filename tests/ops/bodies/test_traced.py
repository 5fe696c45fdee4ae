"""Bodies are traced once, when they are needed, with the bodies that they call."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

from anybit.ops.bodies.rounding import check_rounding
from anybit.ops.bodies.traced import DOMAIN, Body, traced_when_needed
from anybit.ops.operator import Call
from tests.ops.running import OPSETS
from tests.strategies import MODES

_traced: list[str] = []


@traced_when_needed()
def doubled(script, op):
    """2 * x"""
    _traced.append("doubled")

    @script
    def doubled(x):
        return op.Add(x, x)

    return doubled


@traced_when_needed(doubled)
def quadrupled(script, op, doubled):
    """4 * x"""
    _traced.append("quadrupled")

    @script
    def quadrupled(x):
        return doubled(doubled(x))

    return quadrupled


def test_a_body_is_traced_once_with_what_it_calls():
    assert isinstance(quadrupled, Body)
    assert quadrupled.__doc__ == "4 * x"
    protos = [quadrupled.to_function_proto(), doubled.to_function_proto(), quadrupled.to_function_proto()]
    assert _traced == ["doubled", "quadrupled"]
    assert quadrupled.function_ir.doc_string == "4 * x"
    assert [p.name for p in protos] == ["quadrupled", "doubled", "quadrupled"]
    assert {p.domain for p in protos} == {DOMAIN}
    assert {(o.domain, o.version) for p in protos for o in p.opset_import} == {("", 21), (DOMAIN, 1)}
    node = helper.make_node("quadrupled", ["x"], ["y"], domain=DOMAIN)
    values = [helper.make_tensor_value_info(n, 1, [2]) for n in "xy"]
    graph = helper.make_graph([node], "g", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=OPSETS, functions=protos[1:])
    (y,) = ReferenceEvaluator(model).run(None, {"x": np.float32([1, -2])})
    assert y.tolist() == [4, -8]


@pytest.mark.parametrize("mode", [*MODES, "BOGUS", ""])
def test_a_mode_is_one_of_those_of_rounding(mode: str):
    found = list(check_rounding(Call(node="n", attributes={"rounding_mode": mode}, constants={}, shapes={})))
    assert [(f.rule, f.problem) for f in found] == ([] if mode in MODES else [("rounding-mode", "rounding_mode")])
    assert all("ROUND" in f.expected for f in found)
