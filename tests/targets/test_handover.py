"""Handover: a prepared model that departs from its source is not ready."""

from __future__ import annotations

from anybit import compare, load
from anybit.results import Handover
from anybit.targets.handover import departures
from tests.models import mlp


def test_a_departure_is_an_error_that_names_the_output():
    model, other = load(mlp()), load(mlp())
    assert departures(compare(model, other)) == ()
    (relu,) = (n for n in other.graph if n.op_type == "Relu")
    relu.op_type = "Neg"
    comparison = compare(model, other)
    (finding,) = departures(comparison)
    assert (finding.rule, finding.node) == ("comparison", "output 'y'")
    assert not Handover(other, (), (finding,), comparison).ready
