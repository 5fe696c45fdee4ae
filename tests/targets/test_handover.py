"""Handover: a prepared model that departs from its source is not ready."""

from __future__ import annotations

import pytest
from onnx import helper

import anybit
from anybit import compare, load
from anybit.results import Handover
from anybit.targets.handover import departures
from tests.models import mlp, model, parameters, quant


def test_a_departure_is_an_error_that_names_the_output():
    source, other = load(mlp()), load(mlp())
    assert departures(compare(source, other)) == ()
    (relu,) = (n for n in other.graph if n.op_type == "Relu")
    relu.op_type = "Neg"
    comparison = compare(source, other)
    (finding,) = departures(comparison)
    assert (finding.rule, finding.node) == ("comparison", "output 'y'")
    assert not Handover(other, (), (finding,), comparison).ready


@pytest.mark.parametrize(
    "prepare", [anybit.prepare_c, anybit.prepare_da4ml, anybit.prepare_finn, anybit.prepare_hls4ml]
)
def test_a_model_without_outputs_is_no_tool_s(prepare):
    nodes = [quant("x", "q"), helper.make_node("Relu", ["q"], ["y"])]
    made = prepare(model(nodes, parameters("q"), inputs={"x": [1, 2]}, outputs=[]))
    assert not made.ready
    assert made.findings
