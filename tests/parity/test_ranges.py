"""Proven bounds are those of the package's range analysis, by channel too, and stuck channels are the same."""

from __future__ import annotations

import pytest

pytest.importorskip("qonnx", reason="the qonnx package is not installed: make test-qonnx")

import numpy as np
import onnx
from onnx import helper
from qonnx.util.range_analysis import range_analysis

import anybit
from tests.models import model
from tests.parity.bridge import wrapped


def network() -> onnx.ModelProto:
    """x -> Conv -> Mul -> Relu -> y; some channels are always 0."""
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.integers(-3, 4, (3, 2, 1, 1)).astype(np.float32),
        "b": np.float32([1, -9, -64]),
        "m": np.float32([0.5, 2, 1]).reshape(1, 3, 1, 1),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"], "conv", kernel_shape=[1, 1]),
        helper.make_node("Add", ["h", "bias"], ["s"], "add"),
        helper.make_node("Mul", ["s", "m"], ["t"], "mul"),
        helper.make_node("Relu", ["t"], ["y"], "relu"),
    ]
    bias = {"bias": constants.pop("b").reshape(1, 3, 1, 1)}
    return model(nodes, constants | bias, inputs={"x": [1, 2, 4, 4]}, outputs=["y"])


RANGES = {
    "all": (np.float32(-1), np.float32(2)),
    "by channel": (np.float32([-1, 0]).reshape(1, 2, 1, 1), np.float32([2, 0.5]).reshape(1, 2, 1, 1)),
}


@pytest.mark.filterwarnings("ignore:Skipping")
@pytest.mark.parametrize("given", RANGES)
def test_bounds_and_stuck_channels(given):
    low, high = RANGES[given]
    by_channel = (low.ravel(), high.ravel()) if low.ndim else (float(low), float(high))
    theirs = range_analysis(wrapped(network()), irange=by_channel, report_mode="range")
    ours = {t.name: t for t in anybit.ranges(network(), input_ranges={"x": (low, high)}).tensors}
    stuck = range_analysis(wrapped(network()), irange=by_channel, report_mode="stuck_channel")
    for name in ("h", "s", "t", "y"):
        first, last = (np.asarray(b, np.float64).ravel() for b in theirs[name])
        made = ours[name].channels
        assert made is not None
        for bound, expected in ((made.lo, first), (made.hi, last)):  # ours have room for the rounding of float32 sums
            np.testing.assert_allclose(np.broadcast_to(bound, 3), expected, atol=1e-5, err_msg=name)
        assert ours[name].stuck_channels == len(stuck.get(name, ())), name
    assert len(stuck["y"]) >= 1
