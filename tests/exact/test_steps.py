"""Steps: the thresholds of a layer against every sum that it can meet, and the layer against every input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import anybit
from anybit.errors import Refusal
from anybit.exact.step_function import Proof, StepFunction
from anybit.exact.thresholds import steps_of
from tests.formats.integer.integer_models import Net, layer_of, mlps
from tests.strategies import examples, seeds


@given(mlps())
@examples(150)
def test_thresholds_give_the_level_of_every_sum(net: Net):
    layer = layer_of(net.proto())
    steps = steps_of(layer.function)
    sums = np.minimum(layer.lo + np.arange((layer.hi - layer.lo).max() + 1)[:, None], layer.hi)
    levels = layer.function(sums)
    if isinstance(steps, Refusal):
        rises, falls = ((sign * np.diff(levels, axis=0) >= 0).all(axis=0) for sign in (1, -1))
        assert not (rises | falls).all()
        return
    np.testing.assert_array_equal(steps.levels(sums), levels)


@given(mlps())
@examples(100)
def test_levels_are_those_of_the_model_for_every_input(net: Net):
    proto = net.proto()
    layer = layer_of(proto)
    (y,) = anybit.Session(proto, engine="reference").run(net.x).values()
    integers = np.rint(net.x.astype(np.float64) / layer.x.scale)
    sums = integers.reshape(-1, layer.weights.shape[0]) @ layer.weights
    real = (layer.function(sums) - layer.grid.zero_point) * layer.grid.scale
    np.testing.assert_allclose(real, y.reshape(real.shape), rtol=1e-6)
    assert (sums >= layer.lo).all()
    assert (sums <= layer.hi).all()


def _curve(kind, scale, shift, levels):
    """A function of integers, whole and rising: a line, two lines, a curve, or jumps over several levels."""

    def evaluate(sums):
        line = sums.astype(np.float32) * scale + shift
        if kind == "bent":
            line = np.where(line > 0, line, line * np.float32(0.125))
        if kind == "curved":
            line = levels / (1 + np.exp(-line * np.float32(4 / levels)))
        if kind == "jumping":
            line = np.floor(line / (levels / 3 + 1)) * levels
        return np.clip(np.rint(line), 0, levels)

    return evaluate


@given(seeds, st.sampled_from(["straight", "bent", "curved", "jumping"]), st.sampled_from([1, 3, 15, 17, 40, 255, 700]))
@examples(150)
def test_thresholds_of_lines_and_curves_give_the_level_of_every_sum(seed, kind, levels):
    rng = np.random.default_rng(seed)
    channels, width = int(rng.integers(1, 6)), float(rng.choice([1, 20, 300, 3000]))
    lo = -np.floor(rng.uniform(-0.2, 1, channels) * width)
    hi = lo + np.floor(rng.uniform(0, 1, channels) * width)
    sign = rng.choice([-1.0, 1.0], channels)
    scale = (rng.uniform(0.1, 3, channels) * levels / width).astype(np.float32)
    shift = rng.normal(0, levels / 2, channels).astype(np.float32)
    rising = _curve(kind, scale, shift, levels)
    function = StepFunction(
        lo=lo,
        hi=hi,
        channels=channels,
        evaluate=lambda sums: rising(sums * sign),
        direction=sign,
        proof=Proof.COMPOSITION,
    )
    every = function.every()
    np.testing.assert_array_equal(steps_of(function).levels(every), function(every))


@pytest.mark.parametrize(
    ("value", "problem"), [(2.5, "values that are no whole levels"), (np.nan, "sums for which it is no number")]
)
@pytest.mark.parametrize("levels", [5, 60])
def test_a_value_that_is_no_level_is_refused(levels, value, problem):
    function = StepFunction(
        lo=np.zeros(1),
        hi=np.full(1, 10.0 * levels),
        channels=1,
        evaluate=lambda sums: np.where(np.floor(sums / 10) == 2, value, np.floor(sums / 10)),
        direction=np.ones(1),
        proof=Proof.COMPOSITION,
    )
    found = steps_of(function)
    assert isinstance(found, Refusal)
    assert found.problem == problem
