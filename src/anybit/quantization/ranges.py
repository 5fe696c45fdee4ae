"""Ranges of activations: the scale of least squared error, from a histogram of what a tensor holds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from anybit.arrays import Array
from anybit.errors import InputError
from anybit.grid import Grid
from anybit.quantization.recipe import Scales

Float64s = npt.NDArray[np.float64]

_BINS = 2048
_SAMPLED = 1 << 17  # elements of a block that are counted in the histogram; all of them bound the range
_SHRINKS = np.concatenate([np.linspace(0.08, 0.3, 12, endpoint=False), np.linspace(0.3, 1.0, 57)])
_COARSE = np.geomspace(0.08, 1.1, 20)
_FINE = np.geomspace(0.88, 1.14, 14)
_WORTH = 0.7  # an asymmetric grid is taken where its squared error is below this share of the symmetric one's


@dataclass(frozen=True)
class Range:
    """A quantiser of an activation: y = (clip(round(x / scale) + zero_point, grid) - zero_point) * scale.

    Attributes:
        grid: Its integers.
        scale: A float32 number.
        zero_point: An integer of the grid.
        error: Mean squared error over the histogram.
    """

    grid: Grid
    scale: float
    zero_point: int = 0
    error: float = 0.0

    def quantized(self, x: Array) -> Array:
        """y, in float32."""
        scale = np.float32(self.scale)
        q = np.asarray(x.astype(np.float32) / scale)  # numpy makes a number of an array without axes
        np.rint(q, out=q)
        np.clip(q, np.float32(self.grid.lo - self.zero_point), np.float32(self.grid.hi - self.zero_point), out=q)
        q *= scale
        return q

    def measured(self, histogram: ActivationHistogram) -> Range:
        """The same with the error on what was counted."""
        values, counts = histogram.bars
        off = self.quantized(values.astype(np.float32)).astype(np.float64) - values
        return replace(self, error=float(np.square(off) @ counts / counts.sum()))


@dataclass
class ActivationHistogram:
    """Counts of the elements of a tensor in bars of equal width around 0, which double when a larger one comes.

    Attributes:
        lowest: Smallest element.
        highest: Largest element.
        elements: How many elements there were.
    """

    lowest: float = math.inf
    highest: float = -math.inf
    elements: int = 0
    squares: float = 0.0
    _limit: float = 0.0
    _counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(2 * _BINS, np.int64))

    def add(self, block: Array, where: str) -> None:
        """Counts the elements of a block.

        Raises:
            InputError: An element is not finite.
        """
        if not block.size:
            return
        low, high = float(block.min()), float(block.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise InputError(
                "not finite on the calibration data", node=where, got="NaN or infinity", expected="finite numbers"
            )
        self.lowest, self.highest = min(self.lowest, low), max(self.highest, high)
        self.elements += block.size
        flat = block.reshape(-1)
        if flat.size > _SAMPLED:
            flat = flat[:: -(-flat.size // _SAMPLED) | 1]
        with np.errstate(over="ignore"):
            self.squares += float(np.square(flat, dtype=np.float64).sum()) * (block.size / flat.size)
        self._grow(max(abs(low), abs(high)))
        if self._limit:
            place = np.floor(flat.astype(np.float64) * (_BINS / self._limit)).astype(np.int64)
            self._counts += np.bincount(np.clip(place + _BINS, 0, 2 * _BINS - 1), minlength=2 * _BINS)
        else:
            self._counts[_BINS] += flat.size

    def _grow(self, largest: float) -> None:
        if largest <= self._limit or largest == 0:
            return
        if not self._limit:
            self._limit = 2.0 ** math.ceil(math.log2(largest) + 1e-9)
            return
        while self._limit < largest:
            halves = self._counts.reshape(-1, 2).sum(axis=1)
            self._counts = np.concatenate([np.zeros(_BINS // 2, np.int64), halves, np.zeros(_BINS // 2, np.int64)])
            self._limit *= 2

    @property
    def bars(self) -> tuple[Float64s, Float64s]:
        """The middles of the bars that are not empty, and how many elements each has."""
        used = np.flatnonzero(self._counts)
        if not self._limit:
            return np.zeros(1), np.ones(1)
        middles = (used - _BINS + 0.5) * (self._limit / _BINS)
        first = used == _BINS  # the bar of zeros, which a Relu fills
        middles = np.where(first & (self.lowest >= 0), 0.0, middles)
        return np.clip(middles, self.lowest, self.highest), self._counts[used].astype(np.float64)


def error_at(histogram: ActivationHistogram, grid: Grid, scale: float) -> float:
    """The mean squared error of a quantiser without zero point on what was counted."""
    return Range(grid, scale).measured(histogram).error


def find_range(
    histogram: ActivationHistogram,
    bits: int,
    *,
    proven: tuple[float, float] = (-math.inf, math.inf),
    scales: Scales = Scales.FLOAT,
    zero_points: bool = True,
    signed: bool | None = None,
) -> Range:
    """The quantiser of this width with the least mean squared error on what was counted.

    Args:
        histogram: What the tensor holds.
        bits: Bit width.
        proven: Bounds that hold for all inputs; no scale reaches beyond them.
        scales: Which numbers a scale may be.
        zero_points: Whether zero points other than 0 may be chosen.
        signed: Whether the integers are signed; None chooses unsigned ones where no element was negative.
    """
    values, counts = histogram.bars
    counts = counts / counts.sum()
    low, high = max(histogram.lowest, proven[0]), min(histogram.highest, proven[1])
    if signed is None:
        signed = low < 0
    grid = Grid(bits, signed=signed)
    largest = max(high, 0.0) if not signed else max(abs(low), abs(high))
    if largest == 0:
        return Range(grid, 1.0)
    best = _search(values, counts, grid, largest / grid.hi, scales)
    if not zero_points or not signed or bits > 8 or scales is Scales.POWER_OF_TWO:
        return best
    lopsided = _asymmetric(values, counts, bits, low, high)
    return lopsided if lopsided.error < _WORTH * best.error else best


def _search(values: Float64s, counts: Float64s, grid: Grid, whole: float, scales: Scales) -> Range:
    if scales is Scales.POWER_OF_TWO:
        top = math.ceil(math.log2(whole))
        tried = np.exp2(np.arange(top - 4, top + 1))
    else:
        tried = whole * _SHRINKS
    tried = np.maximum(tried.astype(np.float32), np.finfo(np.float32).tiny).astype(np.float64)
    steps = tried[:, None]
    error = (np.clip(np.rint(values / steps), grid.lo, grid.hi) * steps - values) ** 2 @ counts
    chosen = int(error.argmin())
    return Range(grid, float(tried[chosen]), 0, float(error[chosen]))


def _asymmetric(values: Float64s, counts: Float64s, bits: int, low: float, high: float) -> Range:
    grid = Grid(bits, signed=False)
    whole = (high - min(low, 0.0)) / grid.hi
    best = Range(grid, 1.0, 0, math.inf)
    for zero_point in range(0, grid.hi + 1, 2 if bits <= 5 else 1 << (bits - 4)):
        best = _better(best, values, counts, zero_point, whole * _COARSE)
    return _better(best, values, counts, best.zero_point, best.scale * _FINE)


def _better(best: Range, values: Float64s, counts: Float64s, zero_point: int, scales: Float64s) -> Range:
    """The quantiser with the zero point and the best of the scales, where it is better than the one so far."""
    grid = best.grid
    tried = np.maximum(scales.astype(np.float32), np.finfo(np.float32).tiny).astype(np.float64)
    steps = tried[:, None]
    q = np.clip(np.rint(values / steps) + zero_point, grid.lo, grid.hi) - zero_point
    error = (q * steps - values) ** 2 @ counts
    chosen = int(error.argmin())
    return Range(grid, float(tried[chosen]), zero_point, float(error[chosen])) if error[chosen] < best.error else best
