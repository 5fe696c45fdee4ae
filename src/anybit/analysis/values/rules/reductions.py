"""Reductions along axes, CumSum, and the mean of several tensors."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np

from anybit.analysis.values.bounds.axes import (
    LARGEST_WORK,
    arrays_of,
    by_axis,
    data_by_axis,
    is_same_along,
    listed,
    normalised,
    told_apart,
)
from anybit.analysis.values.bounds.corners import widened
from anybit.analysis.values.bounds.sums import averaged, mean_grid, rounded, summed
from anybit.analysis.values.rules.arithmetic import absolute, sum_
from anybit.analysis.values.tensor_values import (
    Float64s,
    IntegerGrid,
    Shape,
    TensorValues,
    aligned,
    bounded,
    checked_grid,
    of_integers,
)
from anybit.analysis.values.transfer import NodeContext, NotFollowed, Rule, Rules

Reduction = Callable[[TensorValues, list[int], Shape, np.dtype[Any]], TensorValues]
"""From values by axis, the axes, the shape and the type to the reduced values, one entry left on each axis."""


def along_axes(reduction: Reduction) -> Rule:
    """The rule of a reduction: its axes are an attribute or an input, all of them where they are left out."""

    def rule(site: NodeContext) -> TensorValues:
        values, shape = data_by_axis(site)
        rank = len(shape)
        given = listed(site, "axes", 1)
        if given is not None and given.size:
            axes = sorted({normalised(int(a), rank) for a in given})
        else:
            axes = [] if site.attribute("noop_with_empty_axes", 0) else list(range(rank))
        result = reduction(values, axes, shape, site.dtype())
        if site.attribute("keepdims", 1):
            return result
        return by_axis(result, rank).moved(lambda array: array.squeeze(tuple(axes)))

    return rule


def largest(values: TensorValues, axes: list[int], shape: Shape, _: np.dtype[Any]) -> TensorValues:
    """[the largest lo, the largest hi]; on the grid where that is the same along the axes."""
    return _extreme(values, axes, shape, np.max)


def smallest(values: TensorValues, axes: list[int], shape: Shape, _: np.dtype[Any]) -> TensorValues:
    """[the smallest lo, the smallest hi]; on the grid where that is the same along the axes."""
    return _extreme(values, axes, shape, np.min)


def _extreme(values: TensorValues, axes: list[int], shape: Shape, choose: Any) -> TensorValues:
    if any(shape[a] == 0 for a in axes):
        raise NotFollowed("it reduces nothing")
    along = tuple(axes)
    lo, hi = (choose(b, axis=along, keepdims=True) for b in (values.lo, values.hi))
    grid = values.grid
    if grid is None or not is_same_along(grid, along):
        return TensorValues(lo, hi)
    low, high = (choose(b, axis=along, keepdims=True) for b in (grid.lo, grid.hi))
    return TensorValues(lo, hi, replace(grid, lo=low, hi=high))


def product(values: TensorValues, axes: list[int], shape: Shape, dtype: np.dtype[Any]) -> TensorValues:
    """The product of the bounds where nothing is negative, else of the magnitudes on either side of 0."""
    sizes = {a: told_apart(values, a) if told_apart(values, a) > 1 else shape[a] for a in axes}
    magnitude = by_axis(absolute(values), len(shape))
    least, most = _power(np.minimum(magnitude.lo, 1.0), sizes), _power(np.maximum(magnitude.hi, 1.0), sizes)
    positive = bool((values.lo >= 0).all())
    if None in sizes.values():
        return bounded(least if positive else -most, most)
    hi = _power(magnitude.hi, sizes)
    lo = _power(magnitude.lo, sizes) if positive else -hi
    if dtype.kind in "iu":
        return of_integers(bounded(lo, hi), dtype)
    count = math.prod(n for n in sizes.values() if n is not None)
    if count == 1:
        return replace(_alone(values, tuple(axes)), grid=None)
    # Partial products, in whatever order, lie between least and most: beyond the type they become 0 or infinite.
    info = np.finfo(dtype)
    unit = (float(info.eps) + 2.0**-50) * count
    factor = 1 / (1 - unit) if unit < 1 else np.inf
    with np.errstate(all="ignore"):
        hi = np.where(most * factor < float(info.max), hi * factor + float(info.smallest_subnormal), np.inf)
        lo = np.where(least / factor > 2 * float(info.tiny), lo / factor, 0.0)
    return bounded(lo if positive else -hi, hi)


def _power(bound: Float64s, sizes: dict[int, int | None]) -> Float64s:
    """The product along axes; along those of unknown size its limit for infinitely many elements."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        result = bound.prod(axis=tuple(a for a in sizes if bound.shape[a] > 1), keepdims=True)
        for axis, size in sizes.items():
            if bound.shape[axis] == 1:
                result = result ** (np.inf if size is None else float(size))
    return result


def _alone(values: TensorValues, axes: tuple[int, ...]) -> TensorValues:
    """The values of a tensor of one element along the axes."""
    return TensorValues(values.lo.min(axis=axes, keepdims=True), values.hi.max(axis=axes, keepdims=True))


def magnitudes(values: TensorValues, axes: list[int], shape: Shape, dtype: np.dtype[Any]) -> TensorValues:
    """The sum of |x|."""
    return summed(by_axis(absolute(values), len(shape)), axes, shape, dtype)


def squares(values: TensorValues, axes: list[int], shape: Shape, dtype: np.dtype[Any]) -> TensorValues:
    """The sum of x^2: on a grid of the squared scale."""
    magnitude = by_axis(absolute(values), len(shape))
    grid = magnitude.grid
    if grid is not None:
        grid = checked_grid(replace(grid, scale=grid.scale**2, lo=grid.lo**2, hi=grid.hi**2, datatype=None))
    with np.errstate(over="ignore"):
        result = summed(bounded(magnitude.lo**2, magnitude.hi**2, grid), axes, shape, dtype)
    if dtype.kind in "iu":
        return result
    terms = math.prod(max(told_apart(magnitude, a), shape[a] or 1) for a in axes)
    info = np.finfo(dtype)
    result = widened(result, 3, dtype)  # each square is rounded, too, and may vanish
    tiny = terms * float(info.smallest_subnormal)
    hi = np.where(result.hi > float(info.max), np.inf, result.hi + tiny)
    return bounded(np.maximum(result.lo - tiny, 0.0), hi, result.grid)


def euclidean(values: TensorValues, axes: list[int], shape: Shape, dtype: np.dtype[Any]) -> TensorValues:
    """The square root of the sum of squares."""
    _require_float(dtype)
    sums = squares(values, axes, shape, dtype)
    return widened(bounded(np.sqrt(sums.lo), np.sqrt(sums.hi)), 3, dtype)


def log_sum(values: TensorValues, axes: list[int], shape: Shape, dtype: np.dtype[Any]) -> TensorValues:
    """The logarithm of the sum."""
    _require_float(dtype)
    sums = summed(values, axes, shape, dtype)
    tiny = float(np.finfo(dtype).smallest_subnormal)
    lo, hi = (np.log(np.maximum(b, tiny)) for b in (sums.lo, sums.hi))
    lo = np.where(sums.lo < tiny, -np.inf, lo)
    return widened(bounded(lo, hi), 4, dtype)


def log_sum_exp(values: TensorValues, axes: list[int], shape: Shape, dtype: np.dtype[Any]) -> TensorValues:
    """The logarithm of the sum of exponentials, which may leave the type before the logarithm is taken."""
    _require_float(dtype)
    sizes = {a: told_apart(values, a) if told_apart(values, a) > 1 else shape[a] for a in axes}
    if 0 in sizes.values():
        raise NotFollowed("it reduces nothing")
    count = math.prod(n for n in sizes.values() if n is not None)
    exact = [_log_sum_exp(b, sizes) for b in (values.lo, values.hi)]
    info = np.finfo(dtype)
    factor = float(info.eps) * (count + 16)
    lo, hi = (b + sign * factor * (1 + np.abs(b)) for b, sign in zip(exact, (-1, 1), strict=True))
    hi = np.full_like(hi, np.inf) if None in sizes.values() else hi
    smallest_log, largest_log = math.log(float(info.tiny)) + 12, math.log(float(info.max))
    with np.errstate(invalid="ignore"):
        return bounded(np.where(lo > smallest_log, lo, -np.inf), np.where(hi < largest_log, hi, np.inf))


def _log_sum_exp(bound: Float64s, sizes: dict[int, int | None]) -> Float64s:
    result = np.logaddexp.reduce(bound, axis=tuple(sizes), keepdims=True) if sizes else bound
    return result + sum(math.log(n) for a, n in sizes.items() if bound.shape[a] == 1 and n is not None)


def _require_float(dtype: np.dtype[Any]) -> None:
    if dtype.kind != "f":
        raise NotFollowed("roots and logarithms of integers")


def cumsum(site: NodeContext) -> TensorValues:
    """Y[i] = X[0] + ... + X[i]; without X[i] if `exclusive`, from the end if `reverse`."""
    values, shape = data_by_axis(site)
    axis = normalised(int(site.required_constant(1).reshape(())), len(shape))
    exclusive, backwards = bool(site.attribute("exclusive", 0)), bool(site.attribute("reverse", 0))
    size = told_apart(values, axis) if told_apart(values, axis) > 1 else shape[axis]
    others = max(a.size // a.shape[axis] for a in arrays_of(values))
    dtype = site.dtype()
    if size is None or size * others > LARGEST_WORK:
        return _any_number(values, exclusive=exclusive)

    def running(array: Float64s) -> Float64s:
        along = np.broadcast_to(array, (*array.shape[:axis], size, *array.shape[axis + 1 :]))
        along = np.flip(along, axis) if backwards else along
        sums = along.cumsum(axis)
        if exclusive:
            sums = np.concatenate([np.zeros_like(sums.take([0], axis)), sums.take(range(size - 1), axis)], axis)
        return np.flip(sums, axis) if backwards else sums

    grid = None if values.grid is None else _running_grid(values.grid, axis, len(shape), running)
    exact = bounded(running(values.lo), running(values.hi), grid)
    if dtype.kind in "iu":
        return of_integers(exact, dtype)
    sizes = [running(np.abs(b)) for b in (values.lo, values.hi)]
    peaks = [running(np.maximum(b, 0.0)) for b in (-values.lo, values.hi)]
    return replace(rounded(exact, sizes, peaks, size - 1, dtype), grid=exact.grid)


def _any_number(values: TensorValues, *, exclusive: bool) -> TensorValues:
    """Sums of any number of elements, or none if `exclusive`."""
    lo, hi = np.where(values.lo < 0, -np.inf, values.lo), np.where(values.hi > 0, np.inf, values.hi)
    return bounded(np.minimum(lo, 0.0), np.maximum(hi, 0.0)) if exclusive else bounded(lo, hi)


def _running_grid(
    grid: IntegerGrid, axis: int, rank: int, running: Callable[[Float64s], Float64s]
) -> IntegerGrid | None:
    if not is_same_along(grid, [axis]):
        return None
    grid = grid.centred() or grid
    zero_point = running(aligned(grid.zero_point, rank))
    return checked_grid(replace(grid, zero_point=zero_point, lo=running(grid.lo), hi=running(grid.hi), datatype=None))


def mean(site: NodeContext) -> TensorValues:
    """The mean of all inputs, element by element."""
    parts = [site.values(i) for i in range(len(site.inputs))]
    count, dtype = len(parts), site.dtype()

    def add(bounds: list[Float64s]) -> Float64s:
        return reduce(np.add, bounds)

    lo, hi = add([p.lo for p in parts]) / count, add([p.hi for p in parts]) / count
    sizes = [add([np.abs(b) for b in bounds]) / count for bounds in ([p.lo for p in parts], [p.hi for p in parts])]
    peaks = [add([np.maximum(b, 0.0) for b in bounds]) for bounds in ([-p.lo for p in parts], [p.hi for p in parts])]
    roundings = 0 if count == 1 else count + 2
    return replace(rounded(bounded(lo, hi), sizes, peaks, roundings, dtype), grid=mean_grid(sum_(site).grid, count))


RULES: Rules = {
    "CumSum": cumsum,
    "Mean": mean,
    "ReduceL1": along_axes(magnitudes),
    "ReduceL2": along_axes(euclidean),
    "ReduceLogSum": along_axes(log_sum),
    "ReduceLogSumExp": along_axes(log_sum_exp),
    "ReduceMax": along_axes(largest),
    "ReduceMean": along_axes(averaged),
    "ReduceMin": along_axes(smallest),
    "ReduceProd": along_axes(product),
    "ReduceSum": along_axes(summed),
    "ReduceSumSquare": along_axes(squares),
}
