"""Resize, Upsample, GridSample, RoiAlign and MaxRoiPool: pixels weighed or selected; channels stay apart."""

from __future__ import annotations

import math

import numpy as np

from anybit.analysis.values.bounds.axes import collapsed, data_by_axis, joined, normalised
from anybit.analysis.values.bounds.corners import widened
from anybit.analysis.values.tensor_values import Shape, TensorValues, bounded
from anybit.analysis.values.transfer import NodeContext, NotFollowed, Rules

_LINEAR = ("linear", "bilinear")
_CUBIC_COEFFICIENTS = (-0.75, -0.5)  # for these the weights of a pixel on the grid are exactly 0, 1, 0, 0


def resize(site: NodeContext) -> TensorValues:
    """Nearest: only moves. Linear: weights are positive and add up to 1. Cubic: some weights are negative."""
    values, shape = data_by_axis(site)
    axes = _resized_axes(site, shape)
    mode = site.attribute("mode", "nearest")
    values = collapsed(values, axes)
    if site.attribute("coordinate_transformation_mode") == "tf_crop_and_resize":
        values = joined(values, float(np.float32(site.attribute("extrapolation_value", 0.0))))
    if mode == "nearest":
        return values
    if mode == "cubic":
        return _cubic(site, values, len(axes))
    if mode not in _LINEAR:
        raise NotFollowed(f"mode {mode}")
    return _weighted(site, values, _taps(site, shape, axes))


def _resized_axes(site: NodeContext, shape: Shape) -> list[int]:
    """Axes along which elements may mix; the others are copied as they are."""
    everything = list(range(len(shape)))
    mode = site.attribute("coordinate_transformation_mode", "half_pixel")
    if mode in ("tf_crop_and_resize", "tf_half_pixel_for_nn"):
        return everything
    named = site.attribute("axes")
    axes = everything if named is None else [normalised(a, len(shape)) for a in named]
    scales = site.attribute("scales")
    index = 1 if site.node.op_type == "Upsample" or site.opset < 11 else 2  # roi comes first from then
    if scales is None and site.optional(index) is not None:
        scales = site.constant(index)
        if scales is None:
            return axes
    if scales is not None and len(scales) == len(axes):
        return [a for a, scale in zip(axes, scales, strict=True) if scale != 1]
    if site.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
        return axes
    after = site.output_shapes[0] or (None,) * len(shape)
    return [a for a in axes if shape[a] is None or shape[a] != after[a]]


def _taps(site: NodeContext, shape: Shape, axes: list[int]) -> int:
    """Elements that one linear sum adds up at most."""
    if not site.attribute("antialias", 0):
        return 2 ** len(axes)
    sizes = [shape[a] for a in axes]
    if None in sizes:
        raise NotFollowed("antialias over axes of unknown size")
    return math.prod(n + 2 for n in sizes if n is not None)


def _weighted(site: NodeContext, values: TensorValues, taps: int) -> TensorValues:
    """A mean of so many elements, with weights that are rounded, too; integers may end up beside it."""
    dtype = site.dtype()
    if dtype.kind in "iu":
        return bounded(values.lo - 1, values.hi + 1)
    wide = widened(bounded(values.lo, values.hi), 8 * taps + 16, dtype)
    # A mean of numbers of one sign keeps the sign.
    return bounded(np.where(values.lo == 0, 0.0, wide.lo), np.where(values.hi == 0, 0.0, wide.hi))


def _cubic(site: NodeContext, values: TensorValues, axes: int) -> TensorValues:
    """Along each axis, the weights below 0 add up to a / 4 at least, for the coefficient a."""
    a = site.attribute("cubic_coeff_a", -0.75)
    if a not in _CUBIC_COEFFICIENTS or site.attribute("exclude_outside", 0) or site.attribute("antialias", 0):
        raise NotFollowed("cubic weights that are normalised, or of another coefficient")
    dtype = site.dtype()
    if dtype.kind != "f":
        raise NotFollowed("cubic interpolation of integers")
    lo, hi, below = values.lo, values.hi, -a / 4
    for _ in range(axes):
        lo, hi = lo + below * (lo - hi), hi + below * (hi - lo)
    precision = max(float(np.finfo(t).eps) for t in (dtype, np.float32))  # the weights are float32 whatever X is
    largest = np.maximum(np.abs(lo), np.abs(hi))
    margin = 64 * 4**axes * (precision * largest + float(np.finfo(dtype).smallest_subnormal))
    return bounded(lo - margin, hi + margin)


def grid_sample(site: NodeContext) -> TensorValues:
    """Pixels, means of neighbouring pixels, and 0 beside the input if it is padded with zeros."""
    values, shape = data_by_axis(site)
    values = collapsed(values, range(2, len(shape)))
    if site.attribute("padding_mode", "zeros") == "zeros":
        values = joined(values, 0.0)
    mode = site.attribute("mode", "linear")
    if mode == "nearest":
        return values
    if mode not in _LINEAR:
        raise NotFollowed(f"mode {mode}")
    return _weighted(site, values, 2 ** (len(shape) - 2))


def roi_align(site: NodeContext) -> TensorValues:
    """Means or maxima of weighted pixels, 0 beside the input."""
    values, _ = data_by_axis(site)
    values = joined(collapsed(values, [0, 2, 3]), 0.0)
    ratio = site.attribute("sampling_ratio", 0)
    if site.attribute("mode", "avg") == "avg" and not ratio:
        raise NotFollowed("a mean of an unknown number of samples")
    return _weighted(site, values, 4 * max(ratio, 1) ** 2)


def max_roi_pool(site: NodeContext) -> TensorValues:
    """The largest pixel of each part of a region, 0 where it is empty."""
    values, shape = data_by_axis(site)
    return joined(collapsed(values, [0, *range(2, len(shape))]), 0.0)


RULES: Rules = {
    "GridSample": grid_sample,
    "MaxRoiPool": max_roi_pool,
    "Resize": resize,
    "RoiAlign": roi_align,
    "Upsample": resize,
}
