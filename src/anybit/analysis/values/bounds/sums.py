"""Sums and means along axes: bounds that hold for float sums of any order, and the integers behind them.

A sum of n floats, rounded n - 1 times, is the exact sum of terms that are each off by a factor of 1 + g, where
|g| <= n*u / (1 - n*u) for the unit roundoff u. So its lower bound is the sum of lo - g*|lo|, and likewise above.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from anybit.analysis.values.bounds.axes import is_same_along, told_apart
from anybit.analysis.values.tensor_values import (
    Float64s,
    IntegerGrid,
    Shape,
    TensorValues,
    bounded,
    checked_grid,
    fits,
    integers,
    of_integers,
    unbounded,
)

UNKNOWN_TERMS = 1 << 16
"""Roundings that a mean over axes of unknown size is taken to suffer; engines add up long axes in blocks."""


def summed(values: TensorValues, axes: Collection[int], shape: Shape, dtype: np.dtype[Any]) -> TensorValues:
    """The sum along some axes, one entry left on each; a bound that is not told apart counts for all n elements.

    Args:
        values: Aligned to `shape`.
        axes: Axes of the tensor, not negative.
        shape: Of the tensor. Along an axis of unknown size only a sum of zeros is bounded.
        dtype: In which the sum is formed.
    """
    sizes = _sizes(values, axes, shape)
    lo, hi = total(values.lo, sizes), total(values.hi, sizes)
    grid = None if values.grid is None else _total_grid(values.grid, sizes)
    count = _product(sizes)
    if count is None:  # of any number of elements, or of none
        return bounded(np.minimum(lo, 0.0), np.maximum(hi, 0.0))
    if dtype.kind in "iu":
        return of_integers(bounded(lo, hi, grid), dtype)
    magnitudes = [total(np.abs(b), sizes) for b in (values.lo, values.hi)]
    return replace(rounded(bounded(lo, hi), magnitudes, _peaks(values, sizes), count - 1, dtype), grid=grid)


def averaged(values: TensorValues, axes: Collection[int], shape: Shape, dtype: np.dtype[Any]) -> TensorValues:
    """The mean along some axes, one entry left on each; see `summed`.

    An axis of unknown size is taken to have one element or more.
    """
    sizes = _sizes(values, axes, shape)
    along = tuple(sizes)
    lo, hi = (b.mean(axis=along, keepdims=True) for b in (values.lo, values.hi))
    count = _product(sizes)
    if dtype.kind in "iu":
        total_wraps = not fits(summed(replace(values, grid=None), axes, shape, dtype), dtype)
        return unbounded() if total_wraps else integers(np.floor(lo), np.ceil(hi))
    magnitudes = [np.abs(b).mean(axis=along, keepdims=True) for b in (values.lo, values.hi)]
    grid = None if values.grid is None or not count else mean_grid(_total_grid(values.grid, sizes), count)
    roundings = 0 if count == 1 else (UNKNOWN_TERMS if count is None else count) + 2
    known = {a: UNKNOWN_TERMS if n is None else n for a, n in sizes.items()}
    return replace(rounded(bounded(lo, hi), magnitudes, _peaks(values, known), roundings, dtype), grid=grid)


def mean_grid(grid: IntegerGrid | None, count: int) -> IntegerGrid | None:
    """The grid of a mean, from that of the sum of so many elements."""
    return None if grid is None else replace(grid, scale=grid.scale / count)


def rounded(
    values: TensorValues,
    magnitudes: Sequence[Float64s],
    peaks: Sequence[Float64s],
    roundings: int,
    dtype: np.dtype[Any],
) -> TensorValues:
    """Bounds that also hold float sums or means.

    Args:
        values: Exact bounds.
        magnitudes: Sums (or means) of the magnitudes of the lower bounds and of the upper ones.
        peaks: Largest magnitude of a negative and of a positive partial sum: beyond the type, it overflows.
        roundings: One after the other, at most.
        dtype: Float type of the sum.
    """
    info = np.finfo(dtype)
    unit = (float(info.eps) / 2 + 2.0**-52) * roundings  # our own sums are rounded, too
    factor = unit / (1 - unit) if unit < 1 else np.inf
    tiny = 2 * float(info.smallest_subnormal) if roundings else 0.0
    below, above = (np.where(m > 0, _times(m, factor) + tiny, 0.0) for m in magnitudes)
    largest = float(info.max) / (1 + factor)
    down, up = (p > largest if roundings else np.zeros((), bool) for p in peaks)
    with np.errstate(invalid="ignore"):
        return bounded(np.where(down, -np.inf, values.lo - below), np.where(up, np.inf, values.hi + above))


def total(bound: Float64s, sizes: Mapping[int, int | None]) -> Float64s:
    """The sum of a bound along axes of these sizes. Those of unknown size may have any number of elements."""
    result = bound.sum(axis=tuple(a for a in sizes if bound.shape[a] > 1), keepdims=True)
    for axis, size in sizes.items():
        if bound.shape[axis] == 1:
            result = _times(result, np.inf if size is None else float(size))
    return result


def _times(bound: Float64s, factor: float) -> Float64s:
    """bound * factor, 0 where one of them is 0."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where((bound == 0) | (factor == 0), 0.0, bound * factor)


def _sizes(values: TensorValues, axes: Collection[int], shape: Shape) -> dict[int, int | None]:
    """Sizes by axis; an axis of several entries has as many elements."""
    return {a: told_apart(values, a) if told_apart(values, a) > 1 else shape[a] for a in axes}


def _product(sizes: Mapping[int, int | None]) -> int | None:
    known = [n for n in sizes.values() if n is not None]
    return math.prod(known) if len(known) == len(sizes) else None


def _peaks(values: TensorValues, sizes: Mapping[int, int | None]) -> list[Float64s]:
    return [total(np.maximum(b, 0.0), sizes) for b in (-values.lo, values.hi)]


def _total_grid(grid: IntegerGrid, sizes: Mapping[int, int | None]) -> IntegerGrid | None:
    if not is_same_along(grid, sizes) or None in sizes.values():
        return None
    grid = grid.centred() or grid
    return checked_grid(
        replace(
            grid,
            zero_point=total(_aligned_to(grid.zero_point, grid.scale), sizes),
            lo=total(grid.lo, sizes),
            hi=total(grid.hi, sizes),
            datatype=None,
        )
    )


def _aligned_to(array: Float64s, other: Float64s) -> Float64s:
    """A zero point of no axes, as `centred` makes it, with as many as the scale."""
    return array.reshape((1,) * other.ndim) if not array.ndim else array
