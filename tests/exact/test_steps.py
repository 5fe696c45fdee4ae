"""Steps: the thresholds of a layer against every sum that it can meet, and the layer against every input."""

from __future__ import annotations

import numpy as np
from hypothesis import given

import anybit
from anybit.errors import Refusal
from anybit.exact.thresholds import steps_of
from tests.formats.integer.integer_models import Net, layer_of, mlps
from tests.strategies import examples


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
