"""Statistics of quantised tensors: which integers occur, how often, and in which channels none but one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from anybit.analysis.types import integers_of
from anybit.analysis.values.tensor_values import IntegerGrid, channel_axis
from anybit.arrays import Array, as_float64
from anybit.number_formats import NumberFormat

SHORT_HISTOGRAM = 256
"""Grids of no more integers than this have a histogram with one bar for each."""

DEFAULT_BINS = 64

_COUNTED_LEVELS = 1 << 16  # wider grids are counted by bar only: memory must not grow with the bit width

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Levels:
    """The integers that a quantiser can produce.

    Attributes:
        lo: Smallest.
        hi: Largest.
        count: How many: fewer than lo .. hi for the bipolar grid, which has no 0.
    """

    lo: int
    hi: int
    count: int


@dataclass(frozen=True)
class Histogram:
    """counts[k] is the number of elements whose integer is one of start + k*width .. start + (k + 1)*width - 1."""

    start: int
    width: int
    counts: tuple[int, ...]


@dataclass(frozen=True)
class TensorStatistics:
    """What a quantised tensor holds.

    Attributes:
        name: Its name.
        format: Format of its integers.
        elements: Number of elements that were counted.
        lowest: Smallest value.
        highest: Largest value.
        levels: Number of integers that the quantiser can produce.
        used_levels: How many of them occur; None where the grid has more than 65536.
        zeros: Fraction of elements that are 0.
        saturated: Fraction of elements at the ends of the grid; None where it has only these two.
        nans: Number of elements that are NaN; they are in none of the other figures.
        axis: Axis of the channels, None where there is none.
        channels: Number of channels.
        dead_channels: Channels of a weight that are all 0, those of an activation that never leave one value.
        saturated_channels: Channels that hold nothing but an end of the grid; none where it has only these two.
        histogram: How often the integers occur.
    """

    name: str
    format: NumberFormat
    elements: int
    lowest: float
    highest: float
    levels: int
    used_levels: int | None
    zeros: float
    saturated: float | None
    nans: int
    axis: int | None
    channels: int
    dead_channels: tuple[int, ...]
    saturated_channels: tuple[int, ...]
    histogram: Histogram


@dataclass
class _Channels:
    """Counts by channel."""

    lo: npt.NDArray[np.float64]
    hi: npt.NDArray[np.float64]
    inner: Counts
    nonzero: Counts
    elements: Counts


@dataclass
class Tally:
    """Counts the integers of a tensor piece by piece; the result does not depend on how it is cut into pieces.

    Attributes:
        name: Name of the tensor.
        grid: Its scale and zero point.
        levels: The integers that it can hold.
        axis: Axis of its channels; None for that of most operators.
        bins: Bars of the histogram of a grid that is not short.
    """

    name: str
    grid: IntegerGrid
    levels: Levels
    axis: int | None = None
    bins: int = DEFAULT_BINS
    _counts: Counts = field(init=False)
    _width: int = field(init=False)
    _channels: _Channels | None = field(init=False, default=None)
    _lowest: float = field(init=False, default=np.inf)
    _highest: float = field(init=False, default=-np.inf)
    _zeros: int = field(init=False, default=0)
    _at_ends: int = field(init=False, default=0)
    _nans: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        span = self.levels.hi - self.levels.lo + 1
        self._width = 1 if span <= _COUNTED_LEVELS else self._bar(span)
        self._counts = np.zeros(-(-span // self._width), np.int64)

    def _bar(self, span: int) -> int:
        return 1 if span <= SHORT_HISTOGRAM else -(-span // self.bins)

    def add(self, piece: Array) -> None:
        """Counts a piece, which begins with the axis of samples where the tensor has one."""
        values = as_float64(piece)
        if not values.size:
            return
        integers = np.rint(values / self.grid.scale + self.grid.zero_point)
        present = ~np.isnan(integers)
        self._nans += int(values.size - np.count_nonzero(present))
        if not present.any():
            return
        lo, hi = self.levels.lo, self.levels.hi
        inside = np.clip(integers[present], lo, hi)  # real values that float rounding put beside the grid's end
        bars = ((inside - lo) // self._width).astype(np.int64)
        self._counts += np.bincount(bars, minlength=self._counts.size)
        self._lowest = min(self._lowest, float(values[present].min()))
        self._highest = max(self._highest, float(values[present].max()))
        self._zeros += int(np.count_nonzero(values == 0))
        inner = present & (integers > lo) & (integers < hi)
        self._at_ends += int(np.count_nonzero(present) - np.count_nonzero(inner))
        self._add_channels(integers, present, inner, values)

    def _add_channels(self, integers: Array, present: Array, inner: Array, values: Array) -> None:
        if not values.ndim:
            return
        if self.axis is None:
            self.axis = channel_axis(values.ndim)
        others: Any = tuple(a for a in range(values.ndim) if a != self.axis % values.ndim)
        now = _Channels(
            np.where(present, integers, np.inf).min(axis=others),
            np.where(present, integers, -np.inf).max(axis=others),
            *(mask.sum(axis=others, dtype=np.int64) for mask in (inner, present & (values != 0), present)),
        )
        before = self._channels
        if before is None:
            self._channels = now
            return
        before.lo, before.hi = np.minimum(before.lo, now.lo), np.maximum(before.hi, now.hi)
        before.inner += now.inner
        before.nonzero += now.nonzero
        before.elements += now.elements

    def result(self, *, weights: bool) -> TensorStatistics:
        """The statistics of all pieces: of weights, or of an activation."""
        channels, elements = self._channels, int(self._counts.sum())
        binary = self.levels.count <= 2
        dead = saturated = ()
        if channels is not None:
            counted = channels.elements > 0
            still = channels.nonzero == 0 if weights else channels.lo == channels.hi
            dead = _where(counted & still)
            saturated = () if binary else _where(counted & (channels.inner == 0))
        return TensorStatistics(
            name=self.name,
            format=integers_of(self.grid),
            elements=elements,
            lowest=self._lowest,
            highest=self._highest,
            levels=self.levels.count,
            used_levels=int(np.count_nonzero(self._counts)) if self._width == 1 else None,
            zeros=self._zeros / max(elements, 1),
            saturated=None if binary else self._at_ends / max(elements, 1),
            nans=self._nans,
            axis=self.axis,
            channels=0 if channels is None else channels.lo.size,
            dead_channels=dead,
            saturated_channels=saturated,
            histogram=self._histogram(),
        )

    def _histogram(self) -> Histogram:
        width = self._bar(self.levels.hi - self.levels.lo + 1)
        if width == self._width:
            return Histogram(self.levels.lo, width, tuple(self._counts.tolist()))
        starts = np.arange(0, self._counts.size, width)
        return Histogram(self.levels.lo, width, tuple(np.add.reduceat(self._counts, starts).tolist()))


def _where(mask: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(np.flatnonzero(mask).tolist())
