"""Quantised operators: exact both ways or refused."""

from __future__ import annotations

from hypothesis import given

from anybit.formats import quantized_ops
from anybit.formats.convert import convert
from tests.formats.integer_models import Net, assert_same_results, convnets, mlps
from tests.formats.linear_models import loaded, operators
from tests.strategies import examples

_INTEGER = {"QLinearConv", "QLinearMatMul"}


def _check(net: Net) -> tuple[list[str], list[str]]:
    hub = net.proto()
    target = loaded(hub)
    outcome = quantized_ops.write(target)
    assert_same_results(hub, target, net.x)
    back = convert(target, "qonnx")
    assert not _INTEGER & set(operators(back.model)), back.refusals
    assert_same_results(hub, back.model, net.x)
    return operators(target), [r.problem for r in outcome.refusals]


@given(mlps())
@examples(300)
def test_matrix_products_are_exact_or_refused(net: Net):
    after, problems = _check(net)
    assert _INTEGER & set(after) or problems


@given(convnets())
@examples(200)
def test_convolutions_are_exact_or_refused(net: Net):
    after, problems = _check(net)
    assert _INTEGER & set(after) or problems
