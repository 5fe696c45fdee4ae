"""contract: what the sum of products of two tensors can hold, as reals and as integers, and its accumulator.

Conv, MatMul and their kin differ in how their operands' axes are laid out, and in nothing else: see `Contraction`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from anybit.analysis.values.accumulator import Accumulator, Bound, Interval, interval
from anybit.analysis.values.bounds.corners import outward
from anybit.analysis.values.bounds.sums_of_products import Factor, Sums, rows_of, sums_of_products
from anybit.analysis.values.bounds.windows import Masks
from anybit.analysis.values.tensor_values import (
    LARGEST_INTEGER,
    Float64s,
    IntegerGrid,
    TensorValues,
    aligned,
    bounded,
    checked_grid,
    of_integers,
    smallest_format,
)
from anybit.arrays import Array, as_float64, is_power_of_two, lowest_bit
from anybit.number_formats import NumberFormat

Choose = Callable[..., Any]
Lay = Callable[[Array, Choose], Array]

_WIDEST_DYADIC = 16  # bits of the integers that constants without a quantiser are taken to stand for
_LARGEST_WEIGHT = float(1 << 24)  # float32 holds the integers of weights
_OFF_GRID = 1e-3  # part of a step by which float rounding may have moved a weight
_SLACK = 4  # roundings of a product and its operands, beside those of the sum


@dataclass(frozen=True)
class Operand:
    """One operand of a contraction.

    Attributes:
        values: What it can hold.
        rank: Number of its axes.
        lay: Its axes as (outputs, channels, taps ...), an axis of one entry standing for all. Given an array that
            has every axis of the tensor, of its size or of one entry, and np.min or np.max to sum up axes with.
    """

    values: TensorValues
    rank: int
    lay: Lay


@dataclass(frozen=True, kw_only=True)
class Contraction:
    """y[m] = sum over c and taps of first[m, c, taps] * second[m, c, taps].

    Attributes:
        op_type: Operator, for the record.
        first: The operand that comes first in the node.
        second: The other.
        shape: Sizes (outputs, channels, taps ...).
        windows: For each axis of taps, the sets that are summed together; empty where all taps always are.
        unlay: A vector by output as an array that broadcasts to the node's output.
        dtype: Element type of the node's output.
    """

    op_type: str
    first: Operand
    second: Operand
    shape: tuple[int, ...]
    unlay: Callable[[Float64s], Float64s]
    dtype: np.dtype[Any]
    windows: Sequence[Masks] = ()

    @property
    def terms(self) -> tuple[int, int]:
        """Smallest and largest number of products in one sum."""
        counts = [m.sum(axis=1) for m in self.windows] or [np.asarray([n]) for n in self.shape[2:]]
        least, most = ((int(np.prod([f(c, initial=i) for c in counts]))) for f, i in ((np.min, 1 << 31), (np.max, 0)))
        return least * self.shape[1], most * self.shape[1]


@dataclass(frozen=True)
class _Integers:
    """The integers of an operand, zero point taken off: value = scale * integer.

    Attributes:
        scale: By output, (outputs or 1, 1, ...).
        proven: The integers that it can hold.
        declared: Those that its number format has.
        format: That format.
        drift: How far float arithmetic took its elements off the grid, relative to their magnitude.
    """

    scale: Float64s
    proven: Factor
    declared: Factor
    format: NumberFormat
    drift: float = 0.0


def contract(contraction: Contraction) -> tuple[TensorValues, Accumulator | None]:
    """Bounds of the contraction, on its grid where both operands are quantised, and how it adds up integers."""
    first, second = _integers(contraction.first), _integers(contraction.second)
    accumulated = None if first is None or second is None else _accumulated(contraction, first, second)
    if accumulated is None:
        return _real_of_reals(contraction), None
    reals, accumulator = accumulated
    grid = IntegerGrid(accumulator.scale, np.zeros(()), accumulator.lo, accumulator.hi)
    return TensorValues(reals.lo, reals.hi, checked_grid(grid)), accumulator


def _accumulated(
    contraction: Contraction, first: _Integers, second: _Integers
) -> tuple[TensorValues, Accumulator] | None:
    proven = _sums(contraction, first.proven, second.proven)
    declared = proven
    if first.declared is not first.proven or second.declared is not second.proven:
        declared = _sums(contraction, first.declared, second.declared)
    if max(declared.partial_hi.max(initial=0), -declared.partial_lo.min(initial=0)) > LARGEST_INTEGER:
        return None
    scale = np.broadcast_to((first.scale * second.scale).reshape(-1), proven.lo.shape)
    accumulator = Accumulator(
        contraction.op_type,
        contraction.terms[1],
        (first.format, second.format),
        {
            Bound.DATA_TYPE: _by_format(contraction, first, second),
            Bound.WEIGHTS: interval(declared),
            Bound.VALUES: interval(proven),
        },
        contraction.unlay(scale),
        contraction.unlay(proven.lo),
        contraction.unlay(proven.hi),
    )
    dtype, drift = contraction.dtype, max(first.drift, second.drift)
    if dtype.kind == "f" and drift > np.finfo(dtype).eps:  # more than `_SLACK` has room for
        return _real_of_reals(contraction), accumulator
    exact = not drift and _is_exact((first.scale, second.scale), proven, dtype)
    return _real(contraction, proven, scale, exact=exact), accumulator


def _sums(contraction: Contraction, first: Factor, second: Factor) -> Sums:
    return sums_of_products(first, second, contraction.shape, contraction.windows)


def _real(contraction: Contraction, bounds: Sums, scale: Float64s, *, exact: bool) -> TensorValues:
    """Bounds of the float results: those of the exact sums, and the rounding errors of a sum in any order.

    A product that is subnormal is rounded to a whole number of the smallest steps, and may vanish.
    """
    lo, hi = bounds.lo * scale, bounds.hi * scale
    dtype = contraction.dtype
    if dtype.kind == "f" and not exact:
        info, terms = np.finfo(dtype), contraction.terms[1]
        with np.errstate(invalid="ignore", over="ignore"):
            unit = float(info.eps) / 2 * (terms + _SLACK)
            vanishing = np.where(bounds.magnitude > 0, terms * float(info.smallest_subnormal), 0.0)
            error = bounds.magnitude * scale * unit + vanishing
            lo, hi = lo - error, hi + error
            down, up = bounds.partial_lo * scale - error, bounds.partial_hi * scale + error
        lo = np.where(down < float(info.min), -np.inf, lo)  # what has overflown stays infinite
        hi = np.where(up > float(info.max), np.inf, hi)
        lo, hi = outward(lo, dtype, up=False), outward(hi, dtype, up=True)
    values = bounded(contraction.unlay(np.asarray(lo, np.float64)), contraction.unlay(np.asarray(hi, np.float64)))
    return of_integers(values, dtype)


def _real_of_reals(contraction: Contraction) -> TensorValues:
    bounds = _sums(contraction, _reals(contraction.first), _reals(contraction.second))
    return _real(contraction, bounds, np.ones(()), exact=False)


def _is_exact(scales: Sequence[Float64s], bounds: Sums, dtype: np.dtype[Any]) -> bool:
    """Whether the type holds every partial sum exactly, so that no order of summation rounds."""
    if dtype.kind != "f":
        return True
    info, largest = np.finfo(dtype), float(bounds.magnitude.max(initial=0))
    powers = all(is_power_of_two(scale).all() for scale in scales)
    smallest, step = (float(np.prod([f(scale) for scale in scales])) for f in (np.min, np.max))
    return (
        powers
        and largest <= 2.0 ** (info.nmant + 1)
        and smallest >= float(info.smallest_subnormal)
        and largest * step <= float(info.max)
    )


def _by_format(contraction: Contraction, first: _Integers, second: _Integers) -> Interval:
    """What the two formats and the number of products alone allow."""
    corners = [
        a * b for a, b in product(_extent(first.declared, first.format), _extent(second.declared, second.format))
    ]
    lo, hi = min(corners), max(corners)
    least, most = contraction.terms
    return Interval(
        lo * (most if lo < 0 else least), hi * (most if hi > 0 else least), min(lo, 0) * most, max(hi, 0) * most
    )


def _extent(declared: Factor, format_: NumberFormat) -> tuple[int, int]:
    if declared.is_known:  # weights count by their format, not by what they are
        return int(format_.min), int(format_.max)
    return int(np.min(declared.lo, initial=0)), int(np.max(declared.hi, initial=0))


def _reals(operand: Operand) -> Factor:
    values = operand.values
    if values.constant is not None and values.constant.dtype.kind in "iuf":
        known = operand.lay(values.constant, np.min)
        return Factor(known, known)
    return Factor(_laid(operand, values.lo, np.min), _laid(operand, values.hi, np.max))


def _laid(operand: Operand, array: Float64s, choose: Choose) -> Array:
    return operand.lay(aligned(array, operand.rank), choose)


def _integers(operand: Operand) -> _Integers | None:
    grid = operand.values.grid
    constant = operand.values.constant
    if grid is None:
        return None if constant is None else _dyadic(operand, constant)
    if not grid.is_centred:
        return None
    zero_point = grid.zero_point
    scale = _laid(operand, grid.scale, np.min)
    if not np.array_equal(scale, _laid(operand, grid.scale, np.max)):
        return None  # it differs along an axis that the operand's layout does not tell apart
    common = scale.min(axis=tuple(range(1, scale.ndim)), keepdims=True)
    ratio = scale / common
    if (ratio != np.floor(ratio)).any():
        return None  # the products of one sum have no common scale
    if constant is not None:
        return _known(operand, constant, common, grid.multiplied, zero_point)
    lo, hi = (_laid(operand, grid.lo - zero_point, np.min), _laid(operand, grid.hi - zero_point, np.max))
    proven = Factor(lo * ratio, hi * ratio)
    return _Integers(
        common, proven, _declared(operand, grid, ratio, proven), grid.multiplied, _drift(operand.values, grid)
    )


def _drift(values: TensorValues, grid: IntegerGrid) -> float:
    """How far the real bounds lie outside those of the integers; a sum is monotone, so that its ends are enough."""
    lo, hi = (grid.scale * (end - grid.zero_point) for end in (grid.lo, grid.hi))
    outside = np.maximum(np.maximum(lo - values.lo, values.hi - hi), 0.0)
    return _relative(outside, np.broadcast_to(np.maximum(np.abs(lo), np.abs(hi)), outside.shape))


def _relative(error: Float64s, magnitude: Float64s) -> float:
    """The largest ratio, 0 / 0 being 0."""
    there = error > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.max(error[there] / magnitude[there], initial=0.0))


def _declared(operand: Operand, grid: IntegerGrid, ratio: Float64s, proven: Factor) -> Factor:
    lo = _laid(operand, np.minimum(float(grid.multiplied.min), grid.lo) - grid.zero_point, np.min) * ratio
    hi = _laid(operand, np.maximum(float(grid.multiplied.max), grid.hi) - grid.zero_point, np.max) * ratio
    same = np.array_equal(np.broadcast_to(lo, proven.lo.shape), proven.lo) and np.array_equal(
        np.broadcast_to(hi, proven.hi.shape), proven.hi
    )
    return proven if same else Factor(lo, hi)


def _known(
    operand: Operand, constant: Array, scale: Float64s, format_: NumberFormat, zero_point: Float64s
) -> _Integers | None:
    """Weights: the integers that the constant is made of, block by block: there may be many."""
    laid = operand.lay(constant, np.min)
    integers = np.empty(laid.shape, np.float32)
    drift = lo = hi = 0.0
    for rows in rows_of(laid.shape):
        quotients = laid[rows] / (scale if scale.shape[0] == 1 else scale[rows])
        block = np.rint(quotients)
        lo, hi = min(lo, float(block.min(initial=0))), max(hi, float(block.max(initial=0)))
        error = np.abs(quotients - block)
        if max(-lo, hi) > _LARGEST_WEIGHT or error.max(initial=0) > max(_OFF_GRID, _OFF_GRID**2 * max(-lo, hi)):
            return None  # the constant is not on the grid that is said to be its own
        drift = max(drift, _relative(error, np.abs(block)))
        integers[rows] = block
    if zero_point.any() or lo < format_.min or hi > format_.max:
        format_ = smallest_format(int(lo), int(hi))  # less a zero point, or on a common scale, they need another one
    factor = Factor(integers, integers)
    return _Integers(scale, factor, factor, format_, drift)


def _dyadic(operand: Operand, constant: Array) -> _Integers | None:
    """Constants that no quantiser made, if they are small integers times a power of two: exact fixed point."""
    if constant.dtype.kind != "f" or not np.isfinite(constant).all():
        return None
    known = operand.lay(constant, np.min)
    step, largest = np.inf, 0.0
    for rows in rows_of(known.shape):  # there may be many, and the first ones mostly tell that they are none
        block = as_float64(known[rows])
        step, largest = min(step, lowest_bit(block).min(initial=np.inf)), max(largest, np.abs(block).max(initial=0.0))
        if largest > 0 and np.frexp(largest)[1] - np.frexp(step)[1] + 1 >= _WIDEST_DYADIC:
            return None
    if largest == 0:
        factor = Factor(known, known)
        return _Integers(np.ones((1,) * known.ndim), factor, factor, smallest_format(0, 0))
    lowest = int(np.frexp(step)[1]) - 1
    integers = np.ldexp(known.astype(np.float64), -lowest).astype(np.float32)
    factor = Factor(integers, integers)
    scale = np.full((1,) * known.ndim, 2.0**lowest)
    return _Integers(scale, factor, factor, smallest_format(int(integers.min()), int(integers.max())))
