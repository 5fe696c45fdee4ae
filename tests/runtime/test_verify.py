"""verify: the counter-example shows the difference."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import anybit
from anybit.errors import UsageError
from anybit.exact.certificate import Verdict
from anybit.io.load import load
from anybit.runtime.counter_example import _feeds
from anybit.runtime.verify import verify
from tests.exact.test_equivalence import CHANGES, changed
from tests.formats.integer.integer_models import Net, mlps
from tests.models import mlp, model, parameters, quant


def test_the_counter_example_shows_the_difference():
    other = changed(mlp(), "w", CHANGES["negated"])
    certificate = verify(mlp(), other, samples=4)
    found = certificate.counter_example
    assert certificate.verdict is Verdict.DIFFERENT
    assert found is not None
    results = [anybit.Session(m, engine="reference").run(dict(found.inputs))["y"] for m in (mlp(), other)]
    np.testing.assert_array_equal(results[0], found.a)
    np.testing.assert_array_equal(results[1], found.b)
    assert np.abs(results[0] - results[1]).max() == found.largest > 0
    assert found.inputs["x"].shape == (1, 6)


@settings(max_examples=25)
@given(mlps(), st.sampled_from(["negated", "one weight", "swapped"]))
def test_agrees_with_brute_force(net: Net, kind: str):
    proto = net.proto()
    name = next(i.name for i in proto.graph.initializer if i.name.startswith("w") and "_" not in i.name)
    other = changed(proto, name, CHANGES[kind])
    results = [anybit.Session(m, engine="reference").run(net.x)["y"] for m in (proto, other)]
    verdict = verify(proto, other, samples=2).verdict
    if np.array_equal(*results):
        assert verdict is not Verdict.DIFFERENT
    else:
        assert verdict is Verdict.DIFFERENT


def test_equal_models_are_not_run(monkeypatch):
    monkeypatch.setattr("anybit.runtime.verify.find_counter_example", None)
    assert verify(mlp(), mlp()).verdict is Verdict.EXACT_BY_CONSTRUCTION


def test_models_of_other_inputs_are_undecided():
    other = onnx.ModelProto()
    other.CopyFrom(mlp())
    extra = other.graph.input.add()
    extra.CopyFrom(other.graph.input[0])
    extra.name = "z"
    assert verify(mlp(), other).verdict is Verdict.UNDECIDED


@pytest.mark.parametrize("options", [{"samples": 0}, {"seed": -1}])
def test_misuse(options):
    with pytest.raises(UsageError):
        verify(mlp(), mlp(), **options)


def test_ties_of_the_first_quantiser_are_tried():
    """The modes part at ties alone, and at no level."""
    proto = mlp_of_one(rounding_mode="HALF_UP")
    other = mlp_of_one(rounding_mode="ROUND")
    feeds = next(_feeds(load(proto), 1, 0, None))["x"]
    assert {-4.25, -4.0, 0.0, 0.25, 3.5, 3.75, 4.0} <= set(feeds.ravel().tolist())
    assert anybit.verify(proto, other, samples=1).verdict is Verdict.DIFFERENT


def mlp_of_one(**attributes):
    return model([quant("x", "y", **attributes)], parameters("y"), inputs={"x": [1, 1]}, outputs=["y"])
