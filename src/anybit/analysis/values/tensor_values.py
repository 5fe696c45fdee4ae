"""TensorValues: what a tensor can hold: real bounds, and the integer grid behind it where it has one.

All arrays are float64 and broadcast to their tensor: a bound has an axis of its own where the analysis tells its
channels (or elements) apart, and one entry where it does not. Integers are held in float64, exactly: grids whose
integers leave -2^53 .. 2^53 are not followed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from anybit.arrays import Array, as_float64
from anybit.number_formats import FixedFormat, FloatFormat, IntFormat, NumberFormat, ScaledIntFormat

Float64s = npt.NDArray[np.float64]
Shape = tuple[int | None, ...]
Move = Callable[[Array], Array]

LARGEST_INTEGER = float(1 << 53)

# Relative distance of scales that are the same but for float32 rounding.
_SAME = 2.0**-22

# A bound may vary along one axis of any length, or along several as long as it has no more elements than this.
_MAX_ELEMENTS = 4096

# ... and of a constant that is no longer read, than this.
_MAX_KEPT = 256


@dataclass(frozen=True)
class IntegerGrid:
    """value = scale * (integer - zero_point), lo <= integer <= hi; exact arithmetic on the integers is meant.

    Attributes:
        scale: Positive.
        zero_point: Any real number; behind a bias it is a fraction.
        lo: Smallest integer that the tensor is proven to hold.
        hi: Largest one.
        datatype: Format that a quantiser declares for the integers; None where arithmetic made them.
    """

    scale: Float64s
    zero_point: Float64s
    lo: Float64s
    hi: Float64s
    datatype: NumberFormat | None = None

    @property
    def integers(self) -> NumberFormat:
        """The declared format, else the smallest one that holds lo .. hi."""
        return self.smallest if self.datatype is None else self.datatype

    @property
    def multiplied(self) -> NumberFormat:
        """The format in which products take the integers: a format of reals, such as a minifloat, is none of them."""
        real = isinstance(self.datatype, FixedFormat | FloatFormat | ScaledIntFormat)
        return self.smallest if real else self.integers

    @property
    def smallest(self) -> IntFormat:
        """The smallest integer format that holds lo .. hi of every channel."""
        return smallest_format(int(self.lo.min(initial=0)), int(self.hi.max(initial=0)))

    @property
    def is_centred(self) -> bool:
        """Whether every zero point is an integer, so that integer - zero_point is one, too."""
        return bool((self.zero_point == np.floor(self.zero_point)).all())

    @property
    def ends(self) -> tuple[Float64s, Float64s]:
        """The smallest and the largest number of the grid."""
        return self.scale * (self.lo - self.zero_point), self.scale * (self.hi - self.zero_point)

    def centred(self) -> IntegerGrid | None:
        """The same values on a grid whose zero points are 0; None where a zero point is a fraction."""
        if not self.is_centred:
            return None
        if not self.zero_point.any():
            return self
        z = self.zero_point
        return checked_grid(replace(self, zero_point=np.zeros(()), lo=self.lo - z, hi=self.hi - z, datatype=None))

    def moved(self, move: Move) -> IntegerGrid:
        """The grid behind an operator that only moves elements, the same for each of its arrays."""
        return replace(
            self, scale=move(self.scale), zero_point=move(self.zero_point), lo=move(self.lo), hi=move(self.hi)
        )


@dataclass(frozen=True)
class TensorValues:
    """lo <= value <= hi for every element that is not NaN, in float arithmetic of any order of summation.

    Attributes:
        lo: Lower bound; -inf where none is known.
        hi: Upper bound; inf where none is known.
        grid: The integers behind the tensor; None where it is not a quantised quantity.
        constant: The tensor itself, where it depends on no input. Only held while the analysis runs.
    """

    lo: Float64s
    hi: Float64s
    grid: IntegerGrid | None = None
    constant: Array | None = None

    @property
    def is_bounded(self) -> bool:
        """Whether both bounds are finite everywhere."""
        return bool(np.isfinite(self.lo).all() and np.isfinite(self.hi).all())

    @property
    def is_point(self) -> bool:
        """Whether the tensor's value is known in every element."""
        return bool((self.lo == self.hi).all())

    def moved(self, move: Move) -> TensorValues:
        """The values behind an operator that only moves elements; `move` is applied to each array of bounds."""
        return TensorValues(move(self.lo), move(self.hi), None if self.grid is None else self.grid.moved(move))


def smallest_format(lo: int, hi: int) -> IntFormat:
    """The integer format of fewest bits that holds lo .. hi, unsigned where lo is not negative.

    Example:
        >>> str(smallest_format(-3, 4)), str(smallest_format(0, 16)), str(smallest_format(0, 0))
        ('INT4', 'UINT5', 'BINARY')
    """
    if lo >= 0:
        return IntFormat(max(hi.bit_length(), 1), signed=False)
    return IntFormat(1 + max((-lo - 1).bit_length(), hi.bit_length() if hi > 0 else 0), signed=True)


def checked_grid(grid: IntegerGrid) -> IntegerGrid | None:
    """The grid, None where its integers are too large to be exact or its scale is no positive finite number."""
    legal = (
        np.isfinite(grid.scale).all()
        and (grid.scale > 0).all()
        and np.isfinite(grid.zero_point).all()
        and (np.abs(grid.lo) <= LARGEST_INTEGER).all()
        and (np.abs(grid.hi) <= LARGEST_INTEGER).all()
    )
    return grid if legal else None


def bounded(lo: npt.ArrayLike, hi: npt.ArrayLike, grid: IntegerGrid | None = None) -> TensorValues:
    """Values between lo and hi; a NaN bound is no bound."""
    low, high = np.asarray(lo, np.float64), np.asarray(hi, np.float64)
    return TensorValues(
        np.where(np.isnan(low), -np.inf, low),
        np.where(np.isnan(high), np.inf, high),
        None if grid is None else checked_grid(grid),
    )


def on_grid(grid: IntegerGrid | None, *, like: TensorValues) -> TensorValues:
    """The real bounds of `like`, and a grid: neither narrows the other.

    The real bounds also hold the rounding errors of float arithmetic, which those of the grid do not.
    """
    return replace(like, grid=None if grid is None else checked_grid(grid))


def unbounded() -> TensorValues:
    """Nothing is known."""
    return TensorValues(np.asarray(-np.inf), np.asarray(np.inf))


def of_dtype(dtype: np.dtype[Any] | None) -> TensorValues:
    """All that the element type can hold: an integer type bounds its values, a float type does not."""
    if dtype is None or dtype.kind not in "iub":
        return unbounded()
    if dtype.kind == "b":
        return bounded(0.0, 1.0)
    info = np.iinfo(dtype)
    return integers(float(info.min), float(info.max))


def fits(values: TensorValues, dtype: np.dtype[Any]) -> bool:
    """Whether an element type holds the bounds, and all numbers of the grid; float types hold any, if rounded."""
    if dtype.kind not in "iu":
        return True
    widest = of_dtype(dtype)
    ends = [(values.lo, values.hi)]
    if values.grid is not None:
        ends.append(values.grid.ends)
    return all(bool((lo >= widest.lo).all() and (hi <= widest.hi).all()) for lo, hi in ends)


def of_integers(values: TensorValues, dtype: np.dtype[Any]) -> TensorValues:
    """What arithmetic made of bounds of integers: the next number outward where float64 does not hold each integer.

    Else a sum of 2^63 would not be told from 2^63 - 1, which int64 holds.
    """
    if dtype.kind not in "iu" or dtype.itemsize < 8:
        return values
    ends = ((values.lo, -np.inf), (values.hi, np.inf))
    lo, hi = (np.where(np.abs(b) > LARGEST_INTEGER, np.nextafter(b, side), b) for b, side in ends)
    return replace(values, lo=lo, hi=hi)


def wrapped(values: TensorValues, dtype: np.dtype[Any]) -> TensorValues:
    """The results of exact arithmetic as an element type holds them: integers that leave it can become any others."""
    return values if fits(values, dtype) else of_dtype(dtype)


def integers(lo: npt.ArrayLike, hi: npt.ArrayLike, datatype: NumberFormat | None = None) -> TensorValues:
    """Integers lo .. hi that stand for themselves."""
    low, high = np.asarray(lo, np.float64), np.asarray(hi, np.float64)
    return bounded(low, high, IntegerGrid(np.ones(()), np.zeros(()), low, high, datatype))


def of_constant(array: Array) -> TensorValues:
    """A tensor whose value is known; its bounds are itself where it is small, else those of its channels."""
    if array.dtype.kind not in "iubf" and array.dtype.kind != "V":
        return replace(unbounded(), constant=array)
    if not array.size:
        return TensorValues(np.zeros(()), np.zeros(()), None, array)
    if array.size <= _MAX_ELEMENTS or array.size == max(array.shape, default=1):
        low = high = as_float64(array)
    else:
        low, high = (np.asarray(f(array), np.float64) for f in (np.min, np.max))
    values = bounded(low, high)
    if array.dtype.kind in "iu":
        grid = checked_grid(IntegerGrid(np.ones(()), np.zeros(()), values.lo, values.hi))
        values = replace(values, grid=grid)
    return replace(values, constant=array)


def limited(values: TensorValues, shape: Shape | None) -> TensorValues:
    """The values, their bounds broadcast to `shape` and are short: see `TensorValues`.

    An array that would tell too many elements apart keeps the axis of channels: the second of three or more, else
    the last.
    """
    rank = None if shape is None else len(shape)
    return _limited_to(values, rank, _MAX_ELEMENTS)


def summarised(values: TensorValues, shape: Shape | None) -> TensorValues:
    """The values of a constant that no rule reads any more: without the constant, and by channel only."""
    known = replace(values, constant=None)
    return _limited_to(known, None if shape is None else len(shape), _MAX_KEPT)


def _limited_to(values: TensorValues, rank: int | None, most: int) -> TensorValues:
    grid = values.grid
    if grid is not None:
        lo, hi = _limited(grid.lo, rank, np.min, most), _limited(grid.hi, rank, np.max, most)
        scale, zero_point = _uniform(grid.scale, rank), _uniform(grid.zero_point, rank)
        grid = None if scale is None or zero_point is None else IntegerGrid(scale, zero_point, lo, hi, grid.datatype)
    lo, hi = _limited(values.lo, rank, np.min, most), _limited(values.hi, rank, np.max, most)
    return TensorValues(lo, hi, grid, values.constant)


def _limited(bound: Float64s, rank: int | None, choose: Callable[..., Any], most: int) -> Float64s:
    bound = compressed(bound)
    if bound.size == 1:
        return bound.reshape(())
    if rank is None or bound.ndim > rank or not bound.size:
        return np.asarray(choose(bound, initial=np.inf if choose is np.min else -np.inf))
    if bound.size <= most or bound.size == max(bound.shape):
        return bound
    kept = channel_axis(rank) - (rank - bound.ndim)
    axes = tuple(a for a in range(bound.ndim) if a != kept)
    return np.asarray(choose(bound, axis=axes, keepdims=True), np.float64)


def _uniform(parameter: Float64s, rank: int | None) -> Float64s | None:
    """A scale or zero point, if it is short enough to be kept: it cannot be summarised."""
    parameter = compressed(parameter)
    if parameter.size == 1:
        return parameter.reshape(())
    short = parameter.size <= _MAX_ELEMENTS or parameter.size == max(parameter.shape)
    return parameter if rank is not None and parameter.ndim <= rank and short else None


def compressed(array: Float64s) -> Float64s:
    """The array with one entry along each axis on which all entries are equal."""
    if array.size == 1:
        return array
    for axis in range(array.ndim):
        if array.shape[axis] > 1:
            first = array.take([0], axis)
            if (array == first).all():
                array = first
    return array


def channel_axis(rank: int) -> int:
    """The axis of channels of a tensor of this rank: 1 of three or more axes, else the last."""
    return 1 if rank >= 3 else max(rank - 1, 0)


def aligned(array: Array, rank: int) -> Array:
    """The array with leading axes of one entry, so that it has an axis for each one of its tensor."""
    return array.reshape((1,) * (rank - array.ndim) + array.shape)


def hull(parts: Sequence[TensorValues]) -> TensorValues:
    """Everything that one of the parts can hold; on a grid where all parts are on a common one."""
    lo, hi = parts[0].lo, parts[0].hi
    for part in parts[1:]:
        lo, hi = np.minimum(lo, part.lo), np.maximum(hi, part.hi)
    grids = common_grid([p.grid for p in parts])
    if grids is None:
        return TensorValues(lo, hi)
    low, high = grids[0].lo, grids[0].hi
    for grid in grids[1:]:
        low, high = np.minimum(low, grid.lo), np.maximum(high, grid.hi)
    datatypes = {g.datatype for g in grids}
    datatype = datatypes.pop() if len(datatypes) == 1 else None
    return TensorValues(lo, hi, replace(grids[0], lo=low, hi=high, datatype=datatype))


def common_grid(grids: Sequence[IntegerGrid | None]) -> list[IntegerGrid] | None:
    """The same grids with one scale and one zero point for all; None where there is no such pair.

    Scales must be whole multiples of the smallest one, as far as float32 tells: the scale of a bias is the float32
    product of two others. Zero points must then differ by integers.
    """
    known = [g for g in grids if g is not None]
    if len(known) < len(grids) or not known:
        return None
    try:
        scale = known[0].scale
        for grid in known[1:]:
            scale = np.minimum(scale, grid.scale)
        refined = [_refined(g, scale) for g in known]
        result = [shifted for g in refined if g is not None and (shifted := _shifted(g, refined[0])) is not None]
    except ValueError:  # they do not broadcast to each other
        return None
    return result if len(result) == len(known) else None


def _refined(grid: IntegerGrid, scale: Float64s) -> IntegerGrid | None:
    """The grid on a finer scale, of which its own is a whole multiple."""
    quotient = grid.scale / scale
    ratio = np.rint(quotient)
    if (np.abs(quotient - ratio) > quotient * _SAME).any():
        return None
    if (ratio == 1).all():
        return replace(grid, scale=scale)
    z = grid.zero_point
    # scale*r*(q - z) = scale*((r*(q - floor(z))) - r*(z - floor(z))): integers stay integers
    whole = np.floor(z)
    finer = IntegerGrid(scale, ratio * (z - whole), ratio * (grid.lo - whole), ratio * (grid.hi - whole))
    return checked_grid(finer)


def _shifted(grid: IntegerGrid, first: IntegerGrid | None) -> IntegerGrid | None:
    """The grid with the zero point of `first`, from which its own differs by an integer."""
    if first is None:
        return None
    shift = first.zero_point - grid.zero_point
    if not shift.any():
        return grid
    if (shift != np.floor(shift)).any():
        return None
    return checked_grid(
        replace(grid, zero_point=first.zero_point, lo=grid.lo + shift, hi=grid.hi + shift, datatype=None)
    )
