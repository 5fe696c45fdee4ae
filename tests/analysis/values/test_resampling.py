"""Resampling: no run leaves the bounds of its channel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from anybit.analysis.values.interpreter import analyse
from tests.analysis.values.soundness import bounds_of, check_sound
from tests.analysis.values.sources import bounded_model, grid_model
from tests.strategies import Array

ENGINES = ("reference", "onnxruntime")
RANGES = {"x": (-100.0, 100.0)}
LO = np.asarray([-3, 1, 0], np.float32).reshape(1, 3, 1, 1)
HI = np.asarray([-1, 2, 5], np.float32).reshape(1, 3, 1, 1)
NONE = np.zeros(0, np.float32)
SCALES = np.asarray([1, 1, 1.5, 2], np.float32)


def resize(opset: int, **attributes: Any) -> tuple[Any, dict[str, Array]]:
    if opset < 11:
        return helper.make_node("Resize", ["t", "s"], ["y"], **attributes), {"s": SCALES}
    return helper.make_node("Resize", ["t", "", "s"], ["y"], **attributes), {"s": SCALES}


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("opset", [10, 13, 19])
def test_resize_stays_within_each_channel(mode: str, opset: int):
    node, constants = resize(opset, mode=mode)
    proto = bounded_model([node], LO, HI, ["N", 3, 4, 5], constants=constants, opset=opset)
    engines = ("onnxruntime",) if opset < 11 else ENGINES
    values = check_sound(proto, RANGES, count=5, engines=engines)
    assert not values.unfollowed
    np.testing.assert_allclose(bounds_of(values, "y").lo, LO, rtol=1e-5)
    np.testing.assert_allclose(bounds_of(values, "y").hi, HI, rtol=1e-5)
    scale = np.asarray([0.5, 0.25, 1]).reshape(1, 3, 1, 1)
    proto = grid_model([node], scale, ["N", 3, 4, 5], constants=constants, opset=opset)
    grid = bounds_of(check_sound(proto, count=4, engines=engines), "y").grid
    assert (grid is not None) == (mode == "nearest")
    if grid is not None:
        np.testing.assert_array_equal(grid.scale, scale)


@pytest.mark.parametrize("dtype", [np.int32, np.uint8])
def test_means_of_integers_are_off_by_one_at_most(dtype: type):
    """Weights are rounded, and so are the results: a mean of equal numbers may be the one below."""
    node, constants = resize(19, mode="linear")
    lo, hi = np.int64([100, 1, 40]).reshape(1, 3, 1, 1), np.int64([120, 2, 90]).reshape(1, 3, 1, 1)
    proto = bounded_model([node], lo, hi, [2, 3, 4, 5], constants=constants, opset=19, dtype=dtype)
    y = bounds_of(check_sound(proto, {"x": (0, 200)}, count=6, engines=ENGINES), "y")
    np.testing.assert_array_equal(y.lo, lo - 1)
    np.testing.assert_array_equal(y.hi, hi + 1)


def test_resize_to_sizes():
    node = helper.make_node("Resize", ["t", "", "", "s"], ["y"], mode="linear")
    constants = {"s": np.asarray([2, 3, 7, 2], np.int64)}
    values = check_sound(bounded_model([node], LO, HI, [2, 3, 4, 5], constants=constants), RANGES, engines=ENGINES)
    np.testing.assert_allclose(bounds_of(values, "y").lo, LO, rtol=1e-5)


def test_linear_resize_with_antialias():
    node = helper.make_node("Resize", ["t", "", "s"], ["y"], mode="linear", antialias=1)
    constants = {"s": np.asarray([1, 1, 0.5, 0.4], np.float32)}
    values = check_sound(bounded_model([node], LO, HI, [2, 3, 8, 10], constants=constants), RANGES, engines=ENGINES)
    np.testing.assert_allclose(bounds_of(values, "y").hi, HI, rtol=1e-3)


@pytest.mark.parametrize("a", [-0.75, -0.5])
def test_cubic_resize_overshoots_by_the_negative_weights(a: float):
    node, constants = resize(13, mode="cubic", cubic_coeff_a=a)
    values = check_sound(
        bounded_model([node], LO, HI, [1, 3, 4, 5], constants=constants, opset=13), RANGES, count=12, engines=ENGINES
    )
    y = bounds_of(values, "y")
    assert not values.unfollowed
    assert (y.lo < LO).all()
    assert (y.hi > HI).all()
    assert ((y.hi - y.lo) <= (1 - a / 2) ** 2 * (HI - LO) * 1.001).all()


def test_crop_joins_the_extrapolation_value():
    node = helper.make_node(
        "Resize", ["t", "r", "s"], ["y"], mode="linear", coordinate_transformation_mode="tf_crop_and_resize",
        extrapolation_value=9.5,
    )  # fmt: skip
    constants = {"r": np.asarray([0, 0, -0.5, 0, 1, 1, 1.5, 1], np.float32), "s": SCALES}
    values = check_sound(bounded_model([node], LO, HI, [1, 3, 4, 5], constants=constants), RANGES, engines=ENGINES)
    assert bounds_of(values, "y").hi.max() >= 9.5


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_upsample(mode: str):
    node = helper.make_node("Upsample", ["t", "s"], ["y"], mode=mode)
    constants = {"s": np.asarray([1, 1, 2, 2], np.float32)}
    proto = bounded_model([node], LO, HI, ["N", 3, 4, 5], constants=constants, opset=9)
    values = check_sound(proto, RANGES, count=5, engines=("onnxruntime",))
    assert not values.unfollowed
    np.testing.assert_allclose(bounds_of(values, "y").lo, LO, rtol=1e-5)


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_grid_sample(mode: str, padding: str):
    node = helper.make_node("GridSample", ["t", "g"], ["y"], mode=mode, padding_mode=padding)
    proto = bounded_model([node], LO, HI, [2, 3, 4, 5], free={"g": [2, 3, 3, 2]}, opset=20)
    values = check_sound(proto, {**RANGES, "g": (-1.6, 1.6)}, count=6, engines=ENGINES)
    assert bool(values.unfollowed) == (mode == "cubic")
    if mode != "cubic":
        wanted = np.minimum(LO, 0) if padding == "zeros" else LO
        np.testing.assert_allclose(bounds_of(values, "y").lo, wanted, rtol=1e-5)


@pytest.mark.parametrize("mode", ["avg", "max"])
def test_roi_align(mode: str):
    node = helper.make_node("RoiAlign", ["t", "r", "b"], ["y"], mode=mode, sampling_ratio=2, output_height=2)
    constants = {"r": np.asarray([[0, 0, 3, 3], [1, -2, 9, 4]], np.float32), "b": np.asarray([0, 1], np.int64)}
    values = check_sound(bounded_model([node], LO, HI, [2, 3, 4, 5], constants=constants), RANGES, engines=ENGINES)
    np.testing.assert_allclose(bounds_of(values, "y").hi, np.maximum(HI, 0), rtol=1e-4)


@pytest.mark.parametrize(("mode", "ratio", "followed"), [("avg", 0, False), ("avg", 1, True), ("max", 0, True)])
def test_a_mean_of_an_unknown_number_of_samples_is_not_followed(mode: str, ratio: int, followed: bool):
    node = helper.make_node("RoiAlign", ["t", "r", "b"], ["y"], mode=mode, sampling_ratio=ratio)
    constants = {"r": np.zeros((1, 4), np.float32), "b": np.asarray([0], np.int64)}
    proto = bounded_model([node], LO, HI, [2, 3, 4, 5], constants=constants)
    assert bool(analyse(proto, input_ranges=RANGES).unfollowed) != followed


@pytest.mark.parametrize(
    "attributes", [{"cubic_coeff_a": -0.6}, {"exclude_outside": 1}, {"antialias": 1}, {"mode": "unheard"}]
)
def test_weights_that_are_not_known_are_not_followed(attributes: dict[str, Any]):
    node, constants = resize(19, **{"mode": "cubic"} | attributes)
    proto = bounded_model([node], LO, HI, [1, 3, 4, 5], constants=constants, opset=19)
    assert analyse(proto, input_ranges=RANGES).unfollowed


@pytest.mark.parametrize(
    ("scales", "attributes", "apart"),
    [
        ([1, 1, 1.5, 2], {}, True),
        ([1, 2, 1, 2], {}, False),
        ([2, 2], {"axes": [2, -1]}, True),
        ([2, 2], {"axes": [1, 2]}, False),
        ([1, 1, 2, 2], {"coordinate_transformation_mode": "tf_half_pixel_for_nn"}, False),
    ],
)
def test_channels_stay_apart_unless_they_are_resized(scales: list[float], attributes: dict[str, Any], apart: bool):
    node = helper.make_node("Resize", ["t", "", "s"], ["y"], mode="nearest", **attributes)
    constants = {"s": np.asarray(scales, np.float32)}
    proto = bounded_model([node], LO, HI, [1, 3, 4, 5], constants=constants, opset=18)
    y = bounds_of(analyse(proto, input_ranges=RANGES), "y")
    np.testing.assert_array_equal(y.lo.ravel(), LO.ravel() if apart else [-3])
    np.testing.assert_array_equal(y.hi.ravel(), HI.ravel() if apart else [5])


@pytest.mark.parametrize(
    ("sizes", "attributes", "apart"),
    [
        ([1, 3, 7, 9], {}, True),
        ([1, 6, 7, 9], {}, False),
        ([7, 9], {"axes": [2, 3]}, True),
        ([6, 9], {"axes": [1, 3]}, False),
        ([1, 3, 7, 9], {"keep_aspect_ratio_policy": "not_smaller"}, False),
        (None, {}, False),
        (None, {"axes": [2, 3]}, True),
    ],
)
def test_channels_stay_apart_where_their_axis_keeps_its_size(sizes, attributes: dict[str, Any], apart: bool):
    """Sizes that are computed may be any."""
    node = helper.make_node("Resize", ["t", "", "", "s"], ["y"], mode="nearest", **attributes)
    count = len(attributes.get("axes", [0] * 4))
    known = {"free": {"s": [count]}} if sizes is None else {"constants": {"s": np.asarray(sizes, np.int64)}}
    proto = bounded_model([node], LO, HI, [1, 3, 4, 5], opset=18, **known)
    if sizes is None:
        next(i for i in proto.graph.input if i.name == "s").type.tensor_type.elem_type = TensorProto.INT64
    y = bounds_of(analyse(proto, input_ranges=RANGES), "y")
    np.testing.assert_array_equal(y.lo.ravel(), LO.ravel() if apart else [-3])
    np.testing.assert_array_equal(y.hi.ravel(), HI.ravel() if apart else [5])


@pytest.mark.parametrize("axes", [[2, 3], [1, 2]])
def test_channels_stay_apart_where_scales_that_are_computed_name_other_axes(axes: list[int]):
    node = helper.make_node("Resize", ["t", "", "s"], ["y"], mode="nearest", axes=axes)
    proto = bounded_model([node], LO, HI, [1, 3, 4, 5], opset=18, free={"s": [2]})
    y = bounds_of(analyse(proto, input_ranges=RANGES), "y")
    np.testing.assert_array_equal(y.hi.ravel(), [5] if 1 in axes else HI.ravel())


def test_means_of_numbers_of_one_sign_keep_it():
    node, constants = resize(19, mode="linear")
    lo, hi = np.float32([-4, 0, -1]).reshape(1, 3, 1, 1), np.float32([0, 3, 1]).reshape(1, 3, 1, 1)
    y = bounds_of(check_sound(bounded_model([node], lo, hi, [1, 3, 4, 5], constants=constants), RANGES), "y")
    assert (y.hi[0, 0], y.lo[0, 1]) == (0, 0)
    assert (y.lo[0, 0] < -4, y.hi[0, 1] > 3, y.lo[0, 2] < -1, y.hi[0, 2] > 1) == (True,) * 4


def test_max_roi_pool():
    node = helper.make_node("MaxRoiPool", ["t", "r"], ["y"], pooled_shape=[2, 2])
    constants = {"r": np.asarray([[0, 0, 0, 3, 3], [1, 1, 1, 2, 4]], np.float32)}
    proto = bounded_model([node], LO, HI, [2, 3, 4, 5], constants=constants)
    values = check_sound(proto, RANGES, engines=("onnxruntime",))
    np.testing.assert_array_equal(bounds_of(values, "y").lo, np.minimum(LO, 0))
