"""Resize and Upsample of any rank and version: one axis after the other, in float64.

Output position p of an axis sees the input at x(p), given by `coordinate_transformation_mode`; its value is the sum of
the inputs i around it, weighted by kernel(i - x(p)), or the input nearest to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from anybit.arrays import Array
from anybit.ops.standard.kernel import Kernel, Spec, as_integers, given

_RADIUS = {"linear": 1, "cubic": 2}


@dataclass(frozen=True)
class _Axis:
    """One axis: its length before and after, and the scale, which need not be their quotient."""

    length: int
    resized: int
    scale: float
    roi: tuple[float, float]


def make_resize(spec: Spec) -> Kernel:
    """Resize from version 11 on."""
    names = spec.attributes
    mode = str(names.get("mode", "nearest"))
    transform = str(names.get("coordinate_transformation_mode", "half_pixel"))
    rounding = _NEAREST[str(names.get("nearest_mode", "round_prefer_floor"))]

    def run(inputs: Sequence[Any]) -> tuple[Array, ...]:
        y = x = inputs[0]
        outside = np.zeros((1,) * x.ndim, np.bool_)
        for axis, at in _axes(spec, inputs, transform).items():
            if at.scale == 1 and transform != "tf_crop_and_resize":
                continue
            # Which input is nearest depends on the type of the coordinates: float32, as that of the scales.
            place = _positions(at, transform, np.float32 if mode == "nearest" else np.float64)
            if transform == "tf_crop_and_resize":
                outside = outside | _along(axis, x.ndim, (place < 0) | (place > at.length - 1))
            y = _take_nearest(y, axis, place, rounding) if mode == "nearest" else _mix(y, axis, place, at.scale, spec)
        if outside.any():
            y = np.where(outside, spec.number("extrapolation_value", 0.0), y)
        return (_typed(y, x.dtype),)

    return run


def make_upsample(spec: Spec) -> Kernel:
    """Upsample, and Resize of version 10: p / scale, rounded down, or up where an axis gets smaller."""
    nearest = spec.attributes.get("mode", "nearest") == "nearest"

    def run(inputs: Sequence[Any]) -> tuple[Array, ...]:
        y = x = inputs[0]
        fixed = spec.attributes.get("scales")  # before version 9
        for axis, at in enumerate(_scaled(x.shape, inputs[1] if fixed is None else fixed)):
            if at.scale == 1:
                continue
            place = _positions(at, "asymmetric", np.float32 if nearest else np.float64)
            rounding = np.ceil if at.scale < 1 else np.floor
            y = _take_nearest(y, axis, place, rounding) if nearest else _mix(y, axis, place, at.scale, spec)
        return (_typed(y, x.dtype),)

    return run


def _typed(y: Array, dtype: np.dtype[Any]) -> Array:
    """Integers are cut off, as in ONNX Runtime, but not one that rounding has put just below itself."""
    if y.dtype == dtype:
        return y
    return (np.round(y, 9) if dtype.kind in "iu" else y).astype(dtype)


def _scaled(lengths: Any, scales: Any) -> list[_Axis]:
    """Axes of floor(length * scale) elements, the product being one of float32."""
    factors = np.asarray(scales, np.float32)
    sizes = np.floor(np.asarray(lengths, np.float32) * factors)
    return [_Axis(int(n), int(m), float(s), (0.0, 1.0)) for n, m, s in zip(lengths, sizes, factors, strict=True)]


def _axes(spec: Spec, inputs: Sequence[Any], transform: str) -> dict[int, _Axis]:
    """What happens to each axis that is spoken of.

    Raises:
        ValueError: Neither scales nor sizes are given, or not one for each axis.
    """
    x, scales, sizes = inputs[0], given(inputs, 2), given(inputs, 3)
    chosen = [a % x.ndim for a in spec.attributes.get("axes") or range(x.ndim)]
    lengths = [x.shape[a] for a in chosen]
    roi = given(inputs, 1)
    cropped = transform == "tf_crop_and_resize" and roi is not None and roi.size
    regions = np.asarray(roi, np.float64).reshape(2, -1).T if cropped else np.array([[0.0, 1.0]] * len(chosen))
    spans = np.array(lengths) * (regions[:, 1] - regions[:, 0])
    if scales is not None and scales.size:
        found = _scaled(spans, scales) if cropped else _scaled(lengths, scales)
    elif sizes is not None and sizes.size:
        found = _sized(spans, as_integers(sizes), str(spec.attributes.get("keep_aspect_ratio_policy", "stretch")))
    else:
        raise ValueError("neither scales nor sizes are given")
    return {
        a: _Axis(n, at.resized, at.scale, (begin, end))
        for a, n, at, (begin, end) in zip(chosen, lengths, found, regions.tolist(), strict=True)
    }


def _sized(lengths: Array, sizes: list[int], policy: str) -> list[_Axis]:
    scales = np.array(sizes) / np.where(lengths == 0, 1, lengths)
    if policy != "stretch":
        scale = float(scales.min() if policy == "not_larger" else scales.max())
        sizes = [int(np.floor(n * scale + 0.5)) for n in lengths]
        scales = np.full(len(sizes), scale)
    return [_Axis(int(n), m, float(s), (0.0, 1.0)) for n, m, s in zip(lengths, sizes, scales, strict=True)]


def _positions(at: _Axis, transform: str, dtype: type[np.floating[Any]]) -> Array:
    """x(p) for every output position p.

    Raises:
        ValueError: There is no such transformation.
    """
    p, scale, length, resized = np.arange(at.resized, dtype=dtype), dtype(at.scale), at.length, at.resized
    half = (p + dtype(0.5)) / scale - dtype(0.5)
    match transform:
        case "half_pixel":
            return half
        case "pytorch_half_pixel":
            return half if resized > 1 else np.zeros_like(p)
        case "asymmetric":
            return p / scale
        case "align_corners":
            return p * dtype(length - 1) / dtype(resized - 1) if resized > 1 else np.zeros_like(p)
        case "half_pixel_symmetric":
            return dtype(length / 2 * (1 - resized / (at.scale * length))) + half
        case "tf_crop_and_resize":
            begin, end = at.roi
            if resized == 1:
                return np.full_like(p, (begin + end) / 2 * (length - 1))
            return dtype(begin * (length - 1)) + p * dtype((end - begin) * (length - 1)) / dtype(resized - 1)
        case _:
            raise ValueError(f"there is no coordinate transformation {transform!r}")


_NEAREST: dict[str, Callable[[Array], Array]] = {
    "round_prefer_floor": lambda x: np.ceil(x - x.dtype.type(0.5)),
    "round_prefer_ceil": lambda x: np.floor(x + x.dtype.type(0.5)),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _take_nearest(x: Array, axis: int, place: Array, rounding: Callable[[Array], Array]) -> Array:
    return x.take(np.clip(rounding(place), 0, x.shape[axis] - 1).astype(np.int64), axis)


def _mix(x: Array, axis: int, place: Array, scale: float, spec: Spec) -> Array:
    """The weighted sums along one axis; inputs beyond the ends are those at the ends."""
    mode, alone = str(spec.attributes["mode"]), bool(spec.integer("exclude_outside", 0))
    stretch = min(scale, 1.0) if spec.integer("antialias", 0) else 1.0
    radius, length = _RADIUS[mode], x.shape[axis]
    first = np.floor(place - radius / stretch) + 1
    taps = first[:, None] + np.arange(int(np.ceil(2 * radius / stretch)) + 1)
    weights = interpolation_weight(mode, (taps - place[:, None]) * stretch, spec.number("cubic_coeff_a", -0.75))
    if alone:
        weights = np.where((taps >= 0) & (taps < length), weights, 0)
    if alone or stretch < 1:
        weights = weights / weights.sum(axis=1, keepdims=True)
    indices = np.clip(taps, 0, length - 1).astype(np.int64)
    y = np.zeros((*x.shape[:axis], len(place), *x.shape[axis + 1 :]))
    for k in range(taps.shape[1]):
        y += x.take(indices[:, k], axis) * _along(axis, x.ndim, weights[:, k])
    return y


def interpolation_weight(mode: str, distance: Array, a: float = -0.75) -> Array:
    """The kernel at a distance: a triangle, or Keys' cubic function with coefficient `a`."""
    d = np.abs(distance)
    if mode == "linear":
        return np.maximum(1 - d, 0)
    near, far = ((a + 2) * d - (a + 3)) * d * d + 1, (((d - 5) * d + 8) * d - 4) * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


def _along(axis: int, rank: int, values: Array) -> Array:
    return values.reshape([-1 if k == axis else 1 for k in range(rank)])
