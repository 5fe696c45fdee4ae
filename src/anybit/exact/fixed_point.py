"""fixed_point: an integer multiplier, a bias and a shift that count the thresholds which a sum reaches.

    k = clip((multiplier * sum + bias) >> shift, 0, count)

equals the number of thresholds that are at most `sum`, for every sum lo .. hi. With `Ties.EVEN` (or `ODD`), a number
that is whole before it is shifted counts as its lower neighbour where that is even (odd): a layer that rounds
half-way cases to even has thresholds of that kind. The slope is where a line has most room between the thresholds;
multiplier and bias are then tried, in exact integers, on both sides of every threshold, which decides: both functions
rise.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anybit.exact.corners import Corners, widest_slope

Int64s = npt.NDArray[np.int64]

_MOST_SHIFT = 40
_LARGEST = 1 << 31  # multiplier
_NONE = np.iinfo(np.int64).max >> 1


class Ties(enum.Enum):
    """Which whole number a whole number before the shift counts as."""

    UP = "up"
    """Itself."""
    EVEN = "even"
    """Itself if it is even, else the one below."""
    ODD = "odd"
    """Itself if it is odd, else the one below."""


@dataclass(frozen=True)
class FixedPoint:
    """The number of thresholds that a sum reaches, by a multiplication; see the head of the module.

    Attributes:
        multiplier: (channels,), positive or 0.
        bias: (channels,).
        shift: Bits.
        ties: What a whole number counts as.
    """

    multiplier: Int64s
    bias: Int64s
    shift: int
    ties: Ties

    def counts(self, sums: Int64s, count: int) -> Int64s:
        """Numbers of thresholds of (n, channels) sums."""
        total = self.multiplier * sums + self.bias
        found = total >> self.shift
        if self.ties is not Ties.UP:
            whole = (total & ((1 << self.shift) - 1)) == 0
            found = found - (whole & ((found & 1) == (1 if self.ties is Ties.EVEN else 0)))
        return np.clip(found, 0, count)


@dataclass(frozen=True)
class _Sides:
    """(channels, thresholds): sums at which a threshold must be reached, and at which it must not be yet."""

    reach: Int64s
    stay: Int64s
    reaches: npt.NDArray[np.bool_]
    stays: npt.NDArray[np.bool_]


def fixed_point(thresholds: Int64s, lo: Int64s, hi: Int64s, *, ties: Sequence[Ties] = tuple(Ties)) -> FixedPoint | None:
    """The fixed-point function with the smallest shift that all channels share; None where there is none.

    Args:
        thresholds: (channels, count), ascending along the last axis.
        lo: (channels,), the smallest sum that occurs.
        hi: (channels,), the largest one.
        ties: What a whole number before the shift may count as, in the order in which they are tried.
    """
    reaches, stays = thresholds <= hi[:, None], thresholds > lo[:, None]
    reach, stay = np.maximum(thresholds, lo[:, None]), np.minimum(thresholds - 1, hi[:, None])
    sides = _Sides(np.where(reaches, reach, 0), np.where(stays, stay, 0), reaches, stays)
    heights = np.broadcast_to(np.arange(1.0, thresholds.shape[1] + 1), thresholds.shape)
    corners = Corners(np.where(reaches, reach, np.inf), np.where(stays, stay, -np.inf), heights)
    slope = widest_slope(corners)
    for shift in range(_MOST_SHIFT + 1):
        multiplier = np.rint(slope * 2.0**shift)
        if multiplier.max(initial=0) >= _LARGEST:
            return None
        for counted in ties:
            bias = _bias(sides, multiplier.astype(np.int64), shift, counted)
            if bias is not None:
                return FixedPoint(multiplier.astype(np.int64), bias, shift, counted)
    return None


def _bias(sides: _Sides, multiplier: Int64s, shift: int, ties: Ties) -> Int64s | None:
    """By channel the bias of least magnitude that is right on both sides of every threshold; None if one has none."""
    levels = np.arange(1, sides.reach.shape[1] + 1, dtype=np.int64)
    lowered = {Ties.UP: levels < 0, Ties.EVEN: levels % 2 == 1, Ties.ODD: levels % 2 == 0}[ties]
    heights = (levels << shift) + lowered  # from which on a level is reached
    low = np.where(sides.reaches, heights - multiplier[:, None] * sides.reach, -_NONE).max(axis=1, initial=-_NONE)
    high = np.where(sides.stays, heights - 1 - multiplier[:, None] * sides.stay, _NONE).min(axis=1, initial=_NONE)
    return np.clip(0, low, high) if (low <= high).all() else None


def reached(level: Callable[[Int64s], Int64s], lo: Int64s, hi: Int64s) -> tuple[Int64s, Int64s, Int64s]:
    """Base, step and thresholds of a function that rises or falls: level = base + step * |{k : sum >= thresholds[k]}|.

    Args:
        level: From (n, channels) sums to (n, channels) levels, rising or falling in each channel.
        lo: (channels,), the smallest sum.
        hi: (channels,), the largest one.

    Returns:
        (channels,), (channels,) of 1 or -1, and (channels, count), beyond the largest sum where it is never reached.
    """
    first, last = level(lo[None])[0], level(hi[None])[0]
    step = np.where(last < first, -1, 1)
    count = int(np.abs(last - first).max(initial=0))
    wanted = np.arange(1, count + 1)[:, None]
    below, found = np.broadcast_to(lo, (count, len(lo))), np.broadcast_to(hi + 1, (count, len(hi)))
    for _ in range(int((hi - lo).max(initial=0) + 1).bit_length()):
        middle = (below + found) >> 1
        enough = (level(np.minimum(middle, hi)) - first) * step >= wanted
        enough |= middle > hi
        below, found = np.where(enough, below, middle), np.where(enough, middle, found)
    return first, step, np.ascontiguousarray(found.T)
