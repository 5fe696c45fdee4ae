"""Clip, Where, TopK, Trilu, ScatterElements ...: outputs made of elements of the inputs; and their positions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from anybit.analysis.values.bounds.axes import anywhere, collapsed, data_by_axis, datatype_with, normalised
from anybit.analysis.values.bounds.corners import outward
from anybit.analysis.values.rules import casts, logic
from anybit.analysis.values.tensor_values import (
    Float64s,
    IntegerGrid,
    TensorValues,
    bounded,
    checked_grid,
    hull,
    integers,
    smallest_format,
)
from anybit.analysis.values.transfer import NodeContext, NotFollowed, Rules
from anybit.number_formats import IntFormat

_MOST_POSITIONS = float(1 << 63)


def clip(site: NodeContext) -> TensorValues:
    """min(max(x, min), max); on a grid where the limits are numbers of it, or never reached."""
    x, dtype = site.values(0), site.dtype()
    least, most = _limit(site, "min", 1), _limit(site, "max", 2)
    grid = x.grid
    lo, hi = x.lo, x.hi
    if least is not None:
        grid = _clipped(grid, least, np.maximum, dtype, reached=bool((least.hi > lo).any()))
        lo, hi = np.maximum(lo, least.lo), np.maximum(hi, least.hi)
    if most is not None:
        grid = _clipped(grid, most, np.minimum, dtype, reached=bool((most.lo < hi).any()))
        lo, hi = np.minimum(lo, most.lo), np.minimum(hi, most.hi)
    if grid is not None and least is not None and most is not None and dtype.kind in "iu":
        grid = _narrowed(grid, int(least.lo.min()), int(most.hi.max()))
    elif grid is not None and least is not None and most is not None:
        grid = _with_zero_point(grid, _integer_at(grid, least, dtype), _integer_at(grid, most, dtype))
    return bounded(lo, hi, grid)


def _narrowed(grid: IntegerGrid, least: int, most: int) -> IntegerGrid:
    """Stored integers behind a Clip: its limits declare their width (this is how QCDQ says less than 8 bits)."""
    datatype = smallest_format(least, most)
    return (
        grid if grid.datatype is not None and grid.datatype.bits <= datatype.bits else replace(grid, datatype=datatype)
    )


def _with_zero_point(grid: IntegerGrid, lo: Float64s | None, hi: Float64s | None) -> IntegerGrid:
    """The grid of a quantiser and the Clip that gives it bounds of no bit width: that of QuantizeLinear.

    -16 .. 239 need a signed quantiser of 9 bits before the Clip, and 8 bits with the zero point 16.
    """
    stated = grid.datatype
    if stated is None or lo is None or hi is None or not _all_equal(lo) or not _all_equal(hi):
        return grid
    least, most = int(lo.flat[0]), int(hi.flat[0])
    width = (most - least).bit_length()
    if least >= 0 or stated != smallest_format(least, most) or width >= stated.bits:
        return grid
    moved = replace(grid, zero_point=grid.zero_point - least, lo=grid.lo - least, hi=grid.hi - least)
    return replace(moved, datatype=IntFormat(width, signed=False))


def _all_equal(array: Float64s) -> bool:
    return array.size > 0 and bool((array == array.flat[0]).all())


def _limit(site: NodeContext, name: str, index: int) -> TensorValues | None:
    """A limit: an attribute before opset 11, then an input."""
    if site.opset >= 11:
        values = site.optional(index)
        return None if values is None else anywhere(values)
    given = site.attribute(name)
    if given is None:
        return None
    exact, dtype = np.asarray(float(given)), site.dtype()
    return bounded(outward(exact, dtype, up=False), outward(exact, dtype, up=True))


def _clipped(
    grid: IntegerGrid | None, limit: TensorValues, choose: Any, dtype: np.dtype[Any], *, reached: bool
) -> IntegerGrid | None:
    if grid is None or not reached:
        return grid
    integer = _integer_at(grid, limit, dtype)
    if integer is None:
        return None
    lo, hi = choose(grid.lo, integer), choose(grid.hi, integer)
    datatype = grid.datatype if (lo >= grid.lo).all() and (hi <= grid.hi).all() else datatype_with(grid, integer)
    return checked_grid(replace(grid, lo=lo, hi=hi, datatype=datatype))


def _integer_at(grid: IntegerGrid, number: TensorValues, dtype: np.dtype[Any]) -> Float64s | None:
    """The integers that stand for a known number, as exactly as its type can say."""
    if not number.is_point or not np.isfinite(number.lo).all():
        return None
    integer = np.rint(number.lo / grid.scale + grid.zero_point)
    exact = grid.scale * (integer - grid.zero_point)
    return integer if (exact.astype(dtype) == number.lo.astype(dtype)).all() else None


def where(site: NodeContext) -> TensorValues:
    """The hull of both choices; each element's own where the condition is known."""
    condition, x, y = site.constant(0), site.values(1), site.values(2)
    parts = _on_common_grid([x, y], site.dtype())
    values = hull(parts)
    if condition is None or not condition.size:
        return values
    if condition.all() or not condition.any():
        return _alone(parts[0] if condition.all() else parts[1])
    lo, hi = np.where(condition, x.lo, y.lo), np.where(condition, x.hi, y.hi)
    return TensorValues(lo, hi, values.grid)


def _alone(values: TensorValues) -> TensorValues:
    return TensorValues(values.lo, values.hi, values.grid)


def _on_common_grid(parts: list[TensorValues], dtype: np.dtype[Any]) -> list[TensorValues]:
    """The parts; a known number without a grid gets that of the others, if it is one of its numbers."""
    grid = next((p.grid for p in parts if p.grid is not None), None)
    return [p if p.grid is not None or grid is None else replace(p, grid=_at(grid, p, dtype)) for p in parts]


def _at(grid: IntegerGrid, number: TensorValues, dtype: np.dtype[Any]) -> IntegerGrid | None:
    integer = _integer_at(grid, number, dtype)
    return None if integer is None else replace(grid, lo=integer, hi=integer, datatype=datatype_with(grid, integer))


def top_k(site: NodeContext) -> list[TensorValues]:
    """Values of the axis, in another order; and their positions."""
    values, shape = data_by_axis(site)
    axis = normalised(int(site.attribute("axis", -1)), len(shape))
    return [collapsed(values, (axis,)), _positions(shape[axis])][: len(site.node.outputs)]


def arg_extreme(site: NodeContext) -> TensorValues:
    """0 .. size - 1 of the axis."""
    shape = site.shape(0)
    return _positions(shape[normalised(int(site.attribute("axis", 0)), len(shape))])


def non_zero(site: NodeContext) -> TensorValues:
    """Row i: 0 .. size - 1 of axis i."""
    sizes = [_MOST_POSITIONS if d is None else max(d, 1) for d in site.shape(0)]
    last = np.asarray(sizes, np.float64).reshape(-1, 1) - 1
    return integers(np.zeros(()), last if sizes else np.zeros(()))


def _positions(size: int | None) -> TensorValues:
    return integers(0.0, _MOST_POSITIONS if size is None else max(size - 1.0, 0.0))


def one_hot(site: NodeContext) -> TensorValues:
    """One of two values."""
    pair = site.constant(2)
    if pair is not None and pair.dtype.kind in "iuf" and (pair == np.floor(pair)).all():
        return integers(float(pair.min()), float(pair.max()))
    return anywhere(site.values(2))


def trilu(site: NodeContext) -> TensorValues:
    """The input, or 0."""
    return hull(_on_common_grid([_alone(site.values(0)), bounded(0.0, 0.0)], site.dtype()))


def hardmax(_: NodeContext) -> TensorValues:
    """0 or 1."""
    return integers(0.0, 1.0)


def compress(site: NodeContext) -> TensorValues:
    """Some of the slices along an axis, or some of the elements."""
    axis = site.attribute("axis")
    if axis is None:
        return anywhere(site.values(0))
    values, shape = data_by_axis(site)
    return collapsed(values, (normalised(int(axis), len(shape)),))


def scatter(site: NodeContext) -> TensorValues:
    """The data, or an update anywhere in it."""
    if site.attribute("reduction", "none") != "none":
        raise NotFollowed("the updates are reduced")
    return hull(_on_common_grid([_alone(site.values(0)), anywhere(site.values(2))], site.dtype()))


RULES: Rules = {
    **casts.RULES,
    **logic.RULES,
    "ArgMax": arg_extreme,
    "ArgMin": arg_extreme,
    "Clip": clip,
    "Compress": compress,
    "Hardmax": hardmax,
    "NonZero": non_zero,
    "OneHot": one_hot,
    "Scatter": scatter,
    "ScatterElements": scatter,
    "ScatterND": scatter,
    "TopK": top_k,
    "Trilu": trilu,
    "Where": where,
}
