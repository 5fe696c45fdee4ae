"""Selections of channels: what they become, and what stays."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import anybit
from tests.hardware.features import FEATURES
from tests.targets.hls4ml.nets import Net

NAMES = (
    *("Slice of channels", "Slice of one channel", "Split of channels", "Gather of channels"),
    *("Slice of vectors, odd scale, FLOOR", "Split of vectors", "Gather of vectors, twice the same"),
)


@pytest.mark.parametrize("name", NAMES)
def test_a_selection_of_channels_is_a_product_of_the_same_numbers(name: str):
    proto = FEATURES[name]()
    handover = anybit.prepare_hls4ml(proto)
    assert handover.ready
    assert not {n.op_type for n in handover.model.graph} & {"Slice", "Split", "Gather"}
    shape = [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(0).uniform(-3, 3, shape).astype(np.float32)
    (expected,) = anybit.run(proto, {"x": x}, engine="reference").values()
    (actual,) = anybit.run(handover.model, {"x": x}, engine="reference").values()
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("bits", [4, 24])
def test_rows_and_wide_numbers_are_left_and_refused(bits: int):
    net = Net(3, 6, 6).quant(bits=bits)
    axis = 2 if bits == 4 else 1
    net.op("Slice", *(net.const([n], np.int64) for n in (1, 2, axis)))
    handover = anybit.prepare_hls4ml(net.proto())
    assert "operator" in {f.rule for f in handover.findings}


def test_a_few_of_very_many_channels_take_no_square_matrix():
    net = Net(1 << 16).quant()
    net.op("Gather", net.const([3, 9], np.int64), axis=1)
    tracemalloc.start()
    anybit.prepare_hls4ml(net.proto())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 27
