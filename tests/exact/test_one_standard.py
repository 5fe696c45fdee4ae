"""One standard of proof: conversion to integers, thresholds and verification trust the same functions.

The first case of issue 16: Quant, MatMul, Sigmoid, Quant, whose sums are -31767 .. 31728, on three channels.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

import anybit
from anybit.analysis.values.interpreter import values_of
from anybit.exact import monotone
from anybit.exact.certificate import Verdict
from anybit.exact.integer_layers import find_layers
from anybit.exact.runs import deciding
from anybit.exact.step_function import Proof
from anybit.exact.thresholds import Steps, steps_of
from anybit.exact.value_numbering import Numbering
from anybit.formats.certify import certify
from anybit.formats.convert import to_hub, translate
from anybit.formats.thresholds.write import write_layers
from tests.models import model, parameters, quant

_WEIGHTS = np.float32([[127, 17, -105], [100, 44, -105], [72, 72, -105]]).T
_ENDS = (-31767, 31728)


def sigmoid_layer() -> onnx.ModelProto:
    """Quant, MatMul, Sigmoid, Quant."""
    nodes = [
        quant("x", "xq"),
        quant("w", "wq"),
        helper.make_node("MatMul", ["xq", "wq"], ["sums"], name="product"),
        helper.make_node("Sigmoid", ["sums"], ["s"], name="activation"),
        quant("s", "y", signed=0),
    ]
    known = {"w": _WEIGHTS * np.float32(2.0**-7)}
    known |= parameters("xq", scale=2.0**-5, bits=8.0) | parameters("wq", scale=2.0**-7, bits=8.0)
    known |= parameters("y", scale=1 / 255, bits=8.0)
    return model(nodes, known, inputs={"x": ["n", 3]}, outputs=["y"], opset=20)


@pytest.mark.parametrize("walked", [True, False])
def test_a_sigmoid_is_decided_alike_by_all_three(walked: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(monotone, "is_walked", lambda *_: walked)
    source = sigmoid_layer()
    hub, _ = to_hub(source)
    values = values_of(hub)
    (layer,), _ = find_layers(hub, values)
    assert set(zip(layer.lo, layer.hi, strict=True)) == {_ENDS}
    proof = Proof.COMPOSITION if walked else Proof.ENUMERATION

    steps = steps_of(layer.function)
    assert isinstance(steps, Steps)
    assert steps.proof is proof
    tried = deciding(layer.function)
    assert isinstance(tried, np.ndarray)
    assert (len(tried) == _ENDS[1] - _ENDS[0] + 1) != walked

    written, _ = to_hub(source)
    outcome, made = write_layers(written)
    assert not outcome.refusals
    assert made[-1].proof is proof

    numbering = Numbering(values, {}, {})
    function = numbering.of(hub.graph.outputs[0]).function
    assert function is not None
    assert function.steps.proof is (Proof.COMPOSITION if walked else Proof.NONE)
    assert function.runs is not None
    assert (function.runs.tried == function.steps.total) != walked

    result = translate(source, "integer-ops")
    assert not result.refusals
    assert certify(source, result.model).verdict is Verdict.EXACT_BY_ENUMERATION


def test_the_levels_are_those_of_every_sum():
    source = sigmoid_layer()
    hub, _ = to_hub(source)
    (layer,), _ = find_layers(hub, values_of(hub))
    steps = steps_of(layer.function)
    assert isinstance(steps, Steps)
    sums = np.arange(_ENDS[0], _ENDS[1] + 1.0)
    sigmoid = np.float32(1 / (1 + np.exp(-sums * 2.0**-12)))
    expected = np.rint((sigmoid / np.float32(1 / 255)).astype(np.float64))
    reached = steps.first[0] + np.searchsorted(steps.thresholds[0], sums, side="right")
    np.testing.assert_array_equal(reached, expected)
    np.testing.assert_array_equal(layer.function(sums[:, None])[:, 0], expected)


def test_a_library_function_of_real_numbers_stays_where_it_was_not_walked(monkeypatch: pytest.MonkeyPatch):
    nodes = [helper.make_node("Tanh", ["x"], ["t"], name="activation"), quant("t", "y")]
    source = model(nodes, parameters("y", scale=0.125), inputs={"x": ["n", 3]}, outputs=["y"], opset=20)
    rows = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    (expected,) = anybit.Session(source, engine="reference").run(rows).values()
    for walked in (True, False):
        monkeypatch.setattr(monotone, "is_walked", lambda *_, found=walked: found)
        result = translate(source, "finn")
        assert not result.refusals
        assert ("Tanh" in [n.op_type for n in result.model.graph]) != walked
        (y,) = anybit.Session(result.model, engine="reference").run(rows).values()
        np.testing.assert_array_equal(y, expected)
