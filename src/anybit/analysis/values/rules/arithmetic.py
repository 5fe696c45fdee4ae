"""Add, Sub, Mul, Div, Neg, Abs, Sum, Min, Max: arithmetic on reals, and on integer grids where it stays on one."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np

from anybit.analysis.values.bounds.corners import of_corners, outward
from anybit.analysis.values.tensor_values import (
    Float64s,
    IntegerGrid,
    TensorValues,
    bounded,
    checked_grid,
    common_grid,
    hull,
    of_integers,
    on_grid,
)
from anybit.analysis.values.transfer import NodeContext, NotFollowed, Rules
from anybit.arrays import Array


def add(site: NodeContext) -> TensorValues:
    """[a.lo + b.lo, a.hi + b.hi]; on a grid if both are on a common one, or one of them is known."""
    return plus(site.values(0), site.values(1), site.dtype())


def sub(site: NodeContext) -> TensorValues:
    """[a.lo - b.hi, a.hi - b.lo]; the difference of a tensor and itself is 0."""
    a, b = site.values(0), site.values(1)
    if _same(site):
        return _point(0.0)
    values = of_corners(np.subtract, (a, b), site.dtype())
    return on_grid(_sum(a, _negated(b)), like=values)


def mul(site: NodeContext) -> TensorValues:
    """The hull of the products of the bounds; a tensor times itself is a square."""
    a, b = site.values(0), site.values(1)
    if _same(site):
        magnitude = absolute(a)
        return (
            of_corners(_product, (magnitude, magnitude), site.dtype())
            if a.grid is None
            else on_grid(_product_grid(magnitude, magnitude), like=of_corners(np.square, (magnitude,), site.dtype()))
        )
    values = of_corners(_product, (a, b), site.dtype())
    grid = _scaled(a, b) or _scaled(b, a) or _product_grid(a, b)
    return on_grid(grid, like=values)


def div(site: NodeContext) -> TensorValues:
    """The hull of the quotients of the bounds; unbounded where the divisor can be 0."""
    a, b = site.values(0), site.values(1)
    dtype = site.dtype()
    spans_zero = (b.lo <= 0) & (b.hi >= 0)
    if dtype.kind in "iu":
        if spans_zero.any():
            raise NotFollowed("the divisor can be 0")
        return of_corners(lambda x, y: np.trunc(_quotient(x, y)), (a, b), dtype)
    if _same(site) and not spans_zero.any():
        return _point(1.0)
    quotients = of_corners(_quotient, (a, b), dtype)
    values = bounded(np.where(spans_zero, -np.inf, quotients.lo), np.where(spans_zero, np.inf, quotients.hi))
    if not b.is_point or spans_zero.any():
        return values
    return on_grid(times(a.grid, 1 / b.lo), like=values)


def neg(site: NodeContext) -> TensorValues:
    """[-hi, -lo]."""
    return of_integers(_negated(site.values(0)), site.dtype())


def abs_(site: NodeContext) -> TensorValues:
    """[0 or the smaller magnitude, the larger one]."""
    return of_integers(absolute(site.values(0)), site.dtype())


def sum_(site: NodeContext) -> TensorValues:
    """The sum of all inputs, with the rounding errors of any order."""
    parts, dtype = _all_inputs(site), site.dtype()
    if len(parts) <= 2 or dtype.kind != "f":
        return reduce(lambda a, b: plus(a, b, dtype), parts)
    total = reduce(lambda a, b: plus(a, b, np.dtype(np.float64)), parts)
    magnitude = reduce(np.add, (np.maximum(np.abs(p.lo), np.abs(p.hi)) for p in parts))
    error = magnitude * (float(np.finfo(dtype).eps) / 2 * (len(parts) + 1))
    values = bounded(outward(total.lo - error, dtype, up=False), outward(total.hi + error, dtype, up=True))
    return on_grid(total.grid, like=values)


def minimum(site: NodeContext) -> TensorValues:
    """[min of lo, min of hi], on a grid where all inputs are on a common one."""
    return _extreme(_all_inputs(site), np.minimum)


def maximum(site: NodeContext) -> TensorValues:
    """[max of lo, max of hi], on a grid where all inputs are on a common one."""
    return _extreme(_all_inputs(site), np.maximum)


def plus(a: TensorValues, b: TensorValues, dtype: np.dtype[Any]) -> TensorValues:
    """a + b."""
    return on_grid(_sum(a, b), like=of_corners(np.add, (a, b), dtype))


def scaled(values: TensorValues, factor: float, dtype: np.dtype[Any]) -> TensorValues:
    """values * factor."""
    if factor == 1:
        return values
    number = bounded(factor, factor)
    return on_grid(_scaled(values, number), like=of_corners(_product, (values, number), dtype))


def absolute(values: TensorValues) -> TensorValues:
    """Magnitudes; a grid stays one if 0 is on it."""
    lo, hi = _magnitudes(values.lo, values.hi)
    grid = None if values.grid is None else values.grid.centred()
    if grid is not None:
        low, high = _magnitudes(grid.lo, grid.hi)
        grid = replace(grid, lo=low, hi=high)
    return bounded(lo, hi, grid)


def _magnitudes(lo: Float64s, hi: Float64s) -> tuple[Float64s, Float64s]:
    return np.maximum(0.0, np.maximum(lo, -hi)), np.maximum(-lo, hi)


def _all_inputs(site: NodeContext) -> list[TensorValues]:
    return [site.values(i) for i in range(len(site.inputs))]


def _same(site: NodeContext) -> bool:
    return site.node.inputs[0] is site.node.inputs[1]


def _point(number: float) -> TensorValues:
    return bounded(number, number)


def _extreme(parts: list[TensorValues], choose: Any) -> TensorValues:
    lo, hi = reduce(choose, (p.lo for p in parts)), reduce(choose, (p.hi for p in parts))
    joined = hull(parts).grid
    grids = None if joined is None else common_grid([p.grid for p in parts])
    if joined is None or grids is None:
        return bounded(lo, hi)
    low, high = reduce(choose, (g.lo for g in grids)), reduce(choose, (g.hi for g in grids))
    return bounded(lo, hi, replace(joined, lo=low, hi=high))


def _product(a: Array, b: Array) -> Array:
    """a * b; 0 * inf is 0, for an infinite bound stands for arbitrarily large finite numbers."""
    with np.errstate(all="ignore"):
        return np.where((a == 0) | (b == 0), np.zeros((), np.result_type(a, b)), a * b)


def _quotient(a: Array, b: Array) -> Array:
    with np.errstate(all="ignore"):
        return np.divide(a, b)


def _negated(values: TensorValues) -> TensorValues:
    grid = values.grid
    if grid is not None:
        grid = replace(grid, zero_point=0 - grid.zero_point, lo=0 - grid.hi, hi=0 - grid.lo, datatype=None)
    return TensorValues(-values.hi, -values.lo, grid)


def _sum(a: TensorValues, b: TensorValues) -> IntegerGrid | None:
    """The grid of a + b: integers add where scales agree, and a known offset moves the zero point."""
    if a.grid is not None and b.grid is not None:
        grids = common_scale(a.grid, b.grid)
        if grids is not None:
            first, second = grids
            return IntegerGrid(
                first.scale, first.zero_point + second.zero_point, first.lo + second.lo, first.hi + second.hi
            )
    return offset(a, b) or offset(b, a)


def common_scale(a: IntegerGrid, b: IntegerGrid) -> tuple[IntegerGrid, IntegerGrid] | None:
    """Both grids on the finer scale, of which the other's must be a whole multiple; zero points may differ."""
    base_a, base_b = (replace(g, zero_point=np.zeros(()), datatype=None) for g in (a, b))
    grids = common_grid([base_a, base_b])
    if grids is None:
        return None
    first, second = grids
    scale = first.scale
    return (
        replace(first, zero_point=a.zero_point * (a.scale / scale)),
        replace(second, scale=scale, zero_point=b.zero_point * (b.scale / scale)),
    )


def offset(a: TensorValues, b: TensorValues) -> IntegerGrid | None:
    """The grid of a + b, b known: scale*(q - (zero_point - b/scale))."""
    if a.grid is None or not b.is_point:
        return None
    if not b.lo.any():
        return a.grid
    return replace(a.grid, zero_point=a.grid.zero_point - b.lo / a.grid.scale, datatype=None)


def _scaled(a: TensorValues, b: TensorValues) -> IntegerGrid | None:
    """The grid of a * b, b known."""
    return times(a.grid, b.lo) if b.is_point else None


def times(grid: IntegerGrid | None, factor: Float64s) -> IntegerGrid | None:
    """The grid times a known factor; a negative one mirrors the integers, 0 leaves the integer 0 alone."""
    if grid is None:
        return None
    down, zero = factor < 0, factor == 0
    scale = np.where(zero, 1.0, grid.scale * np.abs(factor))
    flip = np.where(zero, 0.0, np.where(down, -1.0, 1.0))
    lo, hi = np.where(down, grid.hi, grid.lo) * flip, np.where(down, grid.lo, grid.hi) * flip
    datatype = grid.datatype if (factor > 0).all() else None
    return checked_grid(IntegerGrid(scale, grid.zero_point * flip, lo, hi, datatype))


def _product_grid(a: TensorValues, b: TensorValues) -> IntegerGrid | None:
    """The grid of the product of two quantised tensors: the product of their integers less zero points."""
    first = None if a.grid is None else a.grid.centred()
    second = None if b.grid is None else b.grid.centred()
    if first is None or second is None:
        return None
    corners = [x * y for x in (first.lo, first.hi) for y in (second.lo, second.hi)]
    lo, hi = reduce(np.minimum, corners), reduce(np.maximum, corners)
    return IntegerGrid(first.scale * second.scale, np.zeros(()), lo, hi)


RULES: Rules = {
    "Abs": abs_,
    "Add": add,
    "Div": div,
    "Max": maximum,
    "Min": minimum,
    "Mul": mul,
    "Neg": neg,
    "Sub": sub,
    "Sum": sum_,
}
