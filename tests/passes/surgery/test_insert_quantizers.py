"""Quant nodes behind tensors that are named."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

import anybit
from anybit.errors import UsageError
from anybit.ops.quant import reference
from anybit.passes import InsertQuantizers, QuantizerSettings
from anybit.passes.catalog import parse_pass
from anybit.rounding import Rounding
from tests.models import model
from tests.passes.rewriting import applied, operators, placed


def _product(setting="plain"):
    nodes = [
        helper.make_node("Mul", ["x", "w"], ["h"], name="mul"),
        helper.make_node("Relu", ["h"], ["y"], name="relu"),
    ]
    return placed(setting, nodes, {"w": np.float32([0.4, -3, 9])}, inputs={"x": [2, 3]})


def test_each_reader_reads_the_quantiser():
    settings = QuantizerSettings(bits=3, scale=0.5, zero_point=1, rounding=Rounding.FLOOR)
    after = applied(_product(), InsertQuantizers({"w": settings, "h": QuantizerSettings(bits=4, scale=0.25)}))
    x = np.float32([[1, 2, 3], [-4, 5, 0.3]])
    weights = reference(np.float32([0.4, -3, 9]), np.float32(0.5), np.float32(1), np.float32(3), rounding_mode="FLOOR")
    hidden = reference(x * weights, np.float32(0.25), np.float32(0), np.float32(4))
    np.testing.assert_array_equal(anybit.run(after, {"x": x})["y"], np.maximum(hidden, 0))
    assert [f for f in anybit.check(after) if f.severity is anybit.Severity.ERROR] == []


def test_inputs_and_outputs_keep_their_places():
    step = parse_pass('insert-quantizers:tensors={"[xy]": {"bits": 2, "scale": 1, "signed": false, "narrow": true}}')
    after = applied(_product(), step, modified=True)
    assert operators(after) == ["Quant", "Mul", "Relu", "Quant"]
    assert [v.name for v in after.graph.outputs] == ["y"]
    assert after.graph[2].outputs[0] is after.graph.outputs[0]


@pytest.mark.parametrize(
    ("tensors", "match"),
    [
        ({"q": {"bits": 2, "scale": 1}}, "no such tensor"),
        ({"x": {"bits": 2, "scale": 0}}, "scale of a quantiser"),
        ({"x": {"bits": 0, "scale": 1}}, "bit"),
    ],
)
def test_what_cannot_be_quantised_is_refused(tensors, match):
    with pytest.raises(UsageError, match=match):
        applied(_product(), InsertQuantizers({k: QuantizerSettings(**v) for k, v in tensors.items()}))


def test_integers_are_refused():
    nodes = [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Reshape", ["x", "s"], ["y"])]
    with pytest.raises(UsageError, match=r"tensor 's'.*INT64"):
        applied(
            model(nodes, {}, inputs={"x": [2, 3]}, outputs=["y"]),
            InsertQuantizers({"s": QuantizerSettings(bits=2, scale=1)}),
        )
