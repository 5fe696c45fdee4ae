"""Operators with channels last: sound, and as narrow as the same model with its channels first."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from anybit import load
from anybit.analysis.values.interpreter import analyse
from anybit.ops.channels_last.layout import DOMAIN, to_last
from anybit.passes.layout.to_channels_last import ToChannelsLast
from tests.analysis.values.soundness import bounds_of, check_sound
from tests.models import DOMAIN as HUB
from tests.models import model, parameters, quant
from tests.passes.layout.layouts import layout_graphs
from tests.strategies import examples

RANGES = {"x": (-4.0, 4.0)}


@given(layout_graphs())
@examples(40)
def test_random_graphs(case):
    after = load(case[0])
    ToChannelsLast()(after)
    check_sound(after, RANGES, count=4)


@pytest.mark.parametrize("group", [1, 2, 4])
@given(st.integers(0, 99))
@examples(10)
def test_bounds_grids_and_accumulators_are_those_of_the_standard(group, seed):
    rng = np.random.default_rng(seed)
    w = rng.integers(-3, 4, (4, 4 // group, 3, 2)).astype(np.float32)
    scale = 2.0 ** rng.integers(-2, 2, (4, 1, 1, 1)).astype(np.float32)
    values = {"w": w, "b": rng.integers(-9, 9, 4).astype(np.float32)} | parameters("wq", scale=scale)
    values |= parameters("xq", scale=2.0 ** rng.integers(0, 2, (1, 4, 1, 1)).astype(np.float32))
    nodes = [quant("x", "xq"), quant("w", "wq")]
    nodes += [helper.make_node("Conv", ["xq", "wq", "b"], ["c"], name="conv", pads=[1, 0, 1, 1], group=group)]
    nodes += [helper.make_node("MaxPool", ["c"], ["m"], name="max", kernel_shape=[2, 2])]
    nodes += [helper.make_node("AveragePool", ["m"], ["y"], name="mean", kernel_shape=[2, 1])]
    first = load(model(nodes, values, inputs={"x": [1, 4, 5, 6]}, outputs=["y"]))
    last = first.clone()
    ToChannelsLast()(last)
    a, b = (analyse(m, input_ranges=RANGES) for m in (first, last))
    for name in ("c", "m"):
        x, y = bounds_of(a, name), bounds_of(b, name)
        order = to_last(4)
        for bound in ("lo", "hi"):
            expected = np.broadcast_to(getattr(x, bound), (1, 4, 1, 1)).transpose(order)
            np.testing.assert_array_equal(np.broadcast_to(getattr(y, bound), (1, 1, 1, 4)), expected)
        assert (x.grid is None) == (y.grid is None)
    pairs = list(zip(a.accumulators.values(), b.accumulators.values(), strict=True))
    assert pairs
    for x, y in pairs:
        assert x.intervals == y.intervals
        assert (x.terms, x.operands) == (y.terms, y.operands)
        for field in ("scale", "lo", "hi"):
            assert np.broadcast_to(getattr(y, field), (1, 3, 4, 4)).shape == (1, 3, 4, 4)
            np.testing.assert_array_equal(getattr(x, field).ravel(), getattr(y, field).ravel())


def test_names_of_other_domains_are_not_mistaken():
    conv = helper.make_node("Conv", ["x"], ["y"], name="n", domain="my.ops")
    proto = model([conv], {}, inputs={"x": [1, 2]}, outputs=["y"], imports={"": 21, HUB: 1, DOMAIN: 13, "my.ops": 1})
    assert not bounds_of(analyse(proto, input_ranges=RANGES), "y").is_bounded
