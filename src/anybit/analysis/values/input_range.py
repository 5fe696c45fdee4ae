"""InputRange: the smallest and the largest value that a caller feeds to an input, for all of it or by channel."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from textwrap import shorten
from typing import Any, NoReturn, cast

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.analysis.values.bounds.corners import outward
from anybit.analysis.values.stated_formats import of_annotation
from anybit.analysis.values.tensor_values import Float64s, Shape, TensorValues, bounded, integers, of_dtype
from anybit.errors import UsageError
from anybit.graph.annotations import annotated_number_format
from anybit.graph.walk import shape_of

_UNORDERED = frozenset((ir.DataType.STRING, ir.DataType.COMPLEX64, ir.DataType.COMPLEX128))
_SHOWN = 100  # characters of bounds in a message

Bound = float | Sequence[float] | npt.NDArray[Any]
"""A number; one for each entry of an axis; or an array with as many axes as the input, which broadcasts to it."""


@dataclass(frozen=True)
class InputRange:
    """low <= value <= high for every element of an input.

    Attributes:
        low: Smallest value: a number for all elements, or a list with one for each entry of `axis`. An array with as
            many axes as the input, each of its length or of length 1, bounds it element by element, whatever `axis`.
        high: Largest value, likewise.
        axis: Axis that a list runs along: that of channels, unless stated; a negative one counts from the last.

    Example:
        >>> bounds = InputRange([0, 0, -1], 1)                                           # by channel, (N, C, ...)
        >>> bounds = InputRange([0, 0, -1], [1, 2, 1], axis=-1)                          # (N, ..., C)
    """

    low: Bound
    high: Bound
    axis: int = 1


InputRanges = Mapping[str, InputRange | tuple[Bound, Bound]]
"""By input name; a pair (low, high) means `InputRange` (low, high)."""


def of_inputs(inputs: Sequence[ir.Value], ranges: InputRanges | None) -> list[TensorValues]:
    """What each input can hold: what its number format and element type allow, within its range where there is one.

    Raises:
        UsageError: A range is empty, does not fit its input, or names no input.
    """
    if ranges is not None and not isinstance(ranges, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError("input ranges", got=type(ranges).__name__, expected="a mapping from the names of inputs")
    given = dict(ranges or {})
    found = [_of_input(value, given.pop(str(value.name), None)) for value in inputs]
    if given:
        known = ", ".join(str(v.name) for v in inputs)
        raise UsageError("range of an unknown input", got=", ".join(map(str, given)), expected=known)
    return found


def _of_input(value: ir.Value, limits: InputRange | tuple[Bound, Bound] | None) -> TensorValues:
    dtype = None if value.dtype is None or value.dtype == ir.DataType.STRING else value.dtype.numpy()
    declared = of_annotation(value)
    widest = of_dtype(dtype) if declared is None else declared
    if limits is None:
        return widest
    if value.dtype in _UNORDERED:
        raise UsageError("range of an input", node=f"input '{value.name}'", got=value.dtype, expected="real numbers")
    reader = _RangeReader(f"input '{value.name}'", shape_of(value))
    lo, hi = reader.read(limits)
    within = _within(widest, dtype, lo, hi)
    if within is None:
        raise UsageError(
            "range of an input without a number that the input can hold",
            node=reader.where,
            got=_shown(limits),
            expected=f"numbers of {value.dtype if declared is None else annotated_number_format(value)}",
        )
    return within


@dataclass(frozen=True)
class _RangeReader:
    """The bounds of one input as arrays that broadcast to it."""

    where: str
    shape: Shape | None

    def read(self, limits: InputRange | tuple[Bound, Bound]) -> tuple[Float64s, Float64s]:
        stated = limits if isinstance(limits, InputRange) else self._of_pair(limits)
        lo, hi = self._bound(stated.low, stated.axis, up=False), self._bound(stated.high, stated.axis, up=True)
        if not (lo <= hi).all() or (lo == np.inf).any() or (hi == -np.inf).any():
            self.refuse(_shown(limits), "LO <= HI, no NaN, and a finite number between them")
        return lo, hi

    def _of_pair(self, limits: Any) -> InputRange:
        if not isinstance(limits, tuple | list | np.ndarray) or len(cast("Sequence[Any]", limits)) != 2:
            self.refuse(_shown(limits), "a pair (low, high), or an InputRange")
        low, high = cast("tuple[Bound, Bound]", limits)
        return InputRange(low, high)

    def _bound(self, bound: Bound, axis: int, *, up: bool) -> Float64s:
        array = self._numbers(bound, up=up)
        if not array.ndim:
            return array
        if self.shape is None:
            self.refuse(f"bounds of shape {list(array.shape)}", "one number, since the rank of the input is not known")
        rank = len(self.shape)
        if array.ndim > 1:
            return self._full(array, rank)
        if isinstance(axis, bool) or not isinstance(axis, int) or not -rank <= axis < rank:  # pyright: ignore[reportUnnecessaryIsInstance]
            self.refuse(
                f"a list along axis {axis!r}",
                f"an axis of an input of rank {rank}",
                "state it: InputRange(..., axis=0)",
            )
        size = self.shape[axis]
        if size is None:
            self.refuse(f"a list along axis {axis}", "an axis of known length", "fix it: `anybit clean --input-shape`")
        if array.size != size:
            hint = "state the axis that the bounds run along: InputRange(..., axis=-1)"
            self.refuse(f"{array.size} bounds along axis {axis}", f"{size}, the length of that axis", hint)
        return array.reshape([-1 if k == axis % rank else 1 for k in range(rank)])

    def _full(self, array: Float64s, rank: int) -> Float64s:
        sides = self.shape or ()
        if array.ndim != rank or any(a not in (1, side) for a, side in zip(array.shape, sides, strict=True)):
            shown = ", ".join("?" if side is None else str(side) for side in sides)
            self.refuse(
                f"bounds of shape {list(array.shape)}", f"[{shown}], the shape of the input, or 1 along an axis"
            )
        return array

    def _numbers(self, bound: Any, *, up: bool) -> Float64s:
        """The bound in float64, on the outer side of an integer that float64 does not hold."""
        expected = "numbers"
        try:
            array: npt.NDArray[Any] = np.asarray(bound)
            if array.dtype.kind == "O" and not all(isinstance(n, Real) for n in array.flat):
                self.refuse(_shown(bound), expected)
            if array.dtype.kind not in "biufO":
                self.refuse(_shown(bound), expected)
            numbers = array.astype(np.float64)
        except (ValueError, TypeError, OverflowError):  # lists of several lengths; integers beyond float64
            self.refuse(_shown(bound), expected)
        if array.dtype.kind not in "iuO":
            return numbers
        exact = array.astype(object)
        inside = np.asarray((numbers.astype(object) < exact) if up else (numbers.astype(object) > exact), bool)
        return np.where(inside, np.nextafter(numbers, math.inf if up else -math.inf), numbers)

    def refuse(self, got: str, expected: str, hint: str = "") -> NoReturn:
        raise UsageError("range of an input", node=self.where, got=got, expected=expected, hint=hint)


def _shown(limits: Any) -> str:
    if isinstance(limits, InputRange):
        limits = (limits.low, limits.high)
    parts = cast("Sequence[Any]", limits) if isinstance(limits, tuple | list) else (repr(limits),)
    return shorten(", ".join(map(str, parts)), _SHOWN, placeholder=" ...")


def _within(widest: TensorValues, dtype: np.dtype[Any] | None, lo: Float64s, hi: Float64s) -> TensorValues | None:
    """The numbers of an input that are in a range; None where there are none."""
    bounded_type = dtype is not None and dtype.kind == "f" and dtype.isbuiltin == 1  # others numpy does not describe
    largest = float(np.finfo(dtype).max) if bounded_type else np.inf
    if (lo > np.minimum(widest.hi, largest)).any() or (hi < np.maximum(widest.lo, -largest)).any():
        return None
    low, high = np.maximum(lo, widest.lo), np.minimum(hi, widest.hi)
    if dtype is not None:  # 0.1 stands for the number that the type has in its place
        low, high = outward(low, dtype, up=False), outward(high, dtype, up=True)
    grid = widest.grid
    if grid is not None:
        first, last = np.ceil(low / grid.scale + grid.zero_point), np.floor(high / grid.scale + grid.zero_point)
        return None if (first > last).any() else bounded(low, high, replace(grid, lo=first, hi=last))
    if dtype is None or dtype.kind not in "iu":
        return bounded(low, high)
    return None if (np.ceil(low) > np.floor(high)).any() else integers(np.ceil(low), np.floor(high))
