"""Pooling: no run leaves the bounds of its channel, and the integers behind a mean are those of its sum."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from tests.analysis.values.soundness import bounds_of, check_sound
from tests.analysis.values.sources import bounded_model, grid_model
from tests.models import model

ENGINES = ("reference", "onnxruntime")
RANGES = {"x": (-100.0, 100.0)}
LO = np.asarray([-3, 1, 0], np.float32).reshape(1, 3, 1, 1)
HI = np.asarray([-1, 2, 5], np.float32).reshape(1, 3, 1, 1)
WINDOWS: list[dict[str, Any]] = [
    {"kernel_shape": [2, 2]},
    {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
    {"kernel_shape": [2, 2], "auto_pad": "SAME_UPPER"},
]


@pytest.mark.parametrize("window", WINDOWS)
def test_max_pool_moves(window: dict[str, Any]):
    node = helper.make_node("MaxPool", ["t"], ["y"], **window)
    proto = bounded_model([node], LO, HI, ["N", 3, 5, 6], opset=13)
    y = bounds_of(check_sound(proto, RANGES, count=5, engines=ENGINES), "y")
    np.testing.assert_array_equal(y.lo, LO)
    np.testing.assert_array_equal(y.hi, HI)
    scale = np.asarray([0.5, 0.25, 1]).reshape(1, 3, 1, 1)
    grid = bounds_of(
        check_sound(grid_model([node], scale, ["N", 3, 5, 6], opset=13), count=5, engines=ENGINES), "y"
    ).grid
    assert grid is not None
    assert str(grid.datatype) == "INT4"
    np.testing.assert_array_equal(grid.scale, scale)


def test_window_beside_the_input():
    """Dilated taps at -1 and 2 of an input of one pixel."""
    node = helper.make_node("MaxPool", ["t"], ["y"], kernel_shape=[2], dilations=[3], pads=[1, 2])
    proto = bounded_model([node], [[[1.0]]], [[[2.0]]], [1, 1, 1], opset=13)
    y = bounds_of(check_sound(proto, RANGES, count=4), "y")
    assert (float(y.lo), float(y.hi)) == (-np.inf, 2.0)


def test_positions_of_max_pool():
    node = helper.make_node("MaxPool", ["t"], ["y", "i"], kernel_shape=[2, 2])
    proto = bounded_model([node], LO, HI, [2, 3, 4, 4], outputs=["y", "i"], opset=13)
    i = bounds_of(check_sound(proto, RANGES, count=5, engines=("onnxruntime",)), "i")
    assert (float(i.lo), float(i.hi)) == (0, 95)


@pytest.mark.parametrize("included", [0, 1])
@pytest.mark.parametrize("window", WINDOWS)
def test_average_pool(window: dict[str, Any], included: int):
    node = helper.make_node("AveragePool", ["t"], ["y"], count_include_pad=included, **window)
    y = bounds_of(check_sound(bounded_model([node], LO, HI, ["N", 3, 5, 6]), RANGES, count=5, engines=ENGINES), "y")
    is_padded = bool(included) and window != WINDOWS[0]
    np.testing.assert_allclose(y.lo, np.minimum(LO, 0) if is_padded else LO, rtol=1e-5)
    np.testing.assert_allclose(y.hi, np.maximum(HI, 0) if is_padded else HI, rtol=1e-5)
    proto = grid_model([node], 0.5, ["N", 3, 5, 6], offset=0.5)
    grid = bounds_of(check_sound(proto, count=5, engines=ENGINES), "y").grid
    even = window == WINDOWS[0] or (bool(included) and window != WINDOWS[2])
    assert (grid is not None) == even
    if grid is not None:
        taps = int(np.prod(window["kernel_shape"]))
        assert (float(grid.scale), float(grid.lo), float(grid.hi)) == (0.5 / taps, -7 * taps, 8 * taps)


@pytest.mark.parametrize("op_type", ["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"])
@pytest.mark.parametrize("size", [[4, 6], ["H", "W"]])
def test_global_pools(op_type: str, size: list[int | str]):
    node = helper.make_node(op_type, ["t"], ["y"])
    engines = ("onnxruntime",) if op_type == "GlobalLpPool" else ENGINES
    values = check_sound(bounded_model([node], LO, HI, ["N", 3, *size]), RANGES, count=5, engines=engines)
    y = bounds_of(values, "y")
    assert not values.unfollowed
    if op_type != "GlobalLpPool":
        np.testing.assert_allclose(y.lo, LO, rtol=0.01)
        np.testing.assert_allclose(y.hi, HI, rtol=0.01)
    elif size == [4, 6]:
        np.testing.assert_allclose(y.hi.ravel(), np.sqrt(24) * np.asarray([3, 2, 5]), rtol=1e-4)
        np.testing.assert_allclose(y.lo.ravel(), np.sqrt(24) * np.asarray([1, 1, 0]), rtol=1e-4)


def test_integers_behind_the_global_mean():
    node = helper.make_node("GlobalAveragePool", ["t"], ["y"])
    proto = grid_model([node], np.asarray([0.5, 0.25]).reshape(1, 2, 1, 1), ["N", 2, 3, 2])
    grid = bounds_of(check_sound(proto, count=6, engines=ENGINES), "y").grid
    assert grid is not None
    np.testing.assert_allclose(grid.scale.ravel(), [0.5 / 6, 0.25 / 6])
    assert (float(grid.lo), float(grid.hi)) == (-48, 42)


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize("window", WINDOWS[:2])
def test_lp_pool(window: dict[str, Any], p: int):
    node = helper.make_node("LpPool", ["t"], ["y"], p=p, **window)
    proto = bounded_model([node], LO, HI, ["N", 3, 5, 6], opset=13)
    values = check_sound(proto, RANGES, count=5, engines=("onnxruntime",))
    assert not values.unfollowed
    taps = float(np.prod(window["kernel_shape"]))
    np.testing.assert_allclose(bounds_of(values, "y").hi.ravel(), taps ** (1 / p) * np.asarray([3, 2, 5]), rtol=1e-4)


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize("magnitude", [3e-23, 2e-15, 1e-44])
def test_powers_that_vanish_may_be_rounded_up(p: int, magnitude: float):
    """(3e-23)^2 is 0.64 of the smallest float: its root may be 3.7e-23."""
    node = helper.make_node("LpPool", ["x"], ["y"], p=p, kernel_shape=[2])
    proto = model([node], {}, inputs={"x": [1, 1, 6]}, outputs=["y"])
    values = check_sound(proto, {"x": (-magnitude, magnitude)}, count=12, engines=("onnxruntime",))
    assert not values.unfollowed
    assert bounds_of(values, "y").hi > magnitude


def test_means_of_the_largest_floats():
    nodes = [
        helper.make_node("AveragePool", ["t"], ["y"], kernel_shape=[3]),
        helper.make_node("GlobalAveragePool", ["t"], ["z"]),
    ]
    proto = bounded_model(nodes, -3e38, 3e38, [1, 2, 4], outputs=["y", "z"])
    with np.errstate(all="ignore"):
        check_sound(proto, {"x": (-3.2e38, 3.2e38)}, count=6, engines=ENGINES)
