"""requantise: an integer bias and a float multiplier that reproduce every step of a layer.

    level - zero point = clip(round_half_even(fl(multiplier * (factor * accumulator + bias))))

is how QLinearConv gets from a sum to a level. A line of that slope must pass above each threshold's corner on the one
side and below it on the other: the slopes that do are found by bisection, since the room that is left for the line
is a concave function of its slope. The bias must be an integer; where none will do, the weights are multiplied by a
factor, as far as 8 bits leave room, which makes it as many times finer. What is found is tried in the float32
arithmetic of the runtimes at both sides of every threshold, which decides it: that arithmetic is monotone.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from anybit.analysis.values.tensor_values import Float64s
from anybit.exact.thresholds import Steps

_FACTORS = (1, 2, 3, 5, 7, 9, 12, 18, 25, 36, 42, 63, 127)
_SLOPES = 33  # that are tried between the flattest and the steepest
LARGEST_BIAS = float(1 << 24)
"""No bias has this magnitude, nor a sum beside a threshold: float32 holds both exactly."""
_FLATTEST = 2.0**-30
_GOLDEN = (5**0.5 - 1) / 2
_SECTIONS = 32  # of the logarithms of slopes, between those of the outermost corners
_HALVINGS = 20
_TIE = 2.0**-12  # levels that a line may seem to miss: one that meets ties, which round to even, has no room at all
_SLACK = 2.0**-20  # relative; rounding to float32 may let a multiplier pass that misses a corner by less
_MARGIN = 2.0**-20  # relative; a multiplier that has it bears being computed from scales, and other orders of rounding


@dataclass(frozen=True)
class Requantization:
    """How the levels of a layer come from its sums; all arrays are by channel.

    Attributes:
        factor: What the integer weights are multiplied by; negative where the level falls with the sum.
        bias: What is added to the multiplied sum.
        multiplier: Positive float32 numbers.
        found: Whether the channel's steps are all reproduced.
    """

    factor: Float64s
    bias: Float64s
    multiplier: Float64s
    found: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Corners:
    """What a line must meet: >= height at `reach`, < height at `stay`; all (channels, levels).

    A level that is always or never reached has no corner on one side: `reach` is then inf, `stay` -inf. Places are in
    units of sign * accumulator, heights are half a step below a level less the zero point.
    """

    reach: Float64s
    stay: Float64s
    height: Float64s

    def of(self, channels: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> Corners:
        """Those of some channels."""
        return Corners(self.reach[channels], self.stay[channels], self.height[channels])

    def room(self, slope: Float64s) -> tuple[Float64s, Float64s]:
        """The lowest and the highest value at 0 of a line of this slope, by channel; there is none if they cross."""
        low, high = self.height - slope[:, None] * self.reach, self.height - slope[:, None] * self.stay
        return low.max(axis=1, initial=-np.inf), high.min(axis=1, initial=np.inf)


def requantize(
    steps: Steps, zero_point: Float64s, *, lowest: float, highest: float, room: Float64s, whole: bool = False
) -> Requantization:
    """The coarsest factor, with a bias and a multiplier, that reproduces the steps of each channel.

    Args:
        steps: Thresholds of the layer.
        zero_point: By channel, what a level's number is taken from: an integer.
        lowest: Smallest level of the format, to which the result is clipped.
        highest: Largest one.
        room: By channel, the largest factor that the weights allow.
        whole: Whether nothing is gained unless every channel is found: the search ends at the first that is not.
    """
    corners = corners_of(steps, zero_point, lowest=lowest, highest=highest)
    factor, bias, multiplier = np.ones(len(room)), np.zeros(len(room)), np.ones(len(room))
    found = np.zeros(len(room), np.bool_)

    def hopeless(channel: int) -> bool:
        one = np.asarray([channel])
        alone = requantize(steps.of(one), zero_point[one], lowest=lowest, highest=highest, room=room[one])
        return not alone.found.all()

    whole = whole and len(found) > 1
    if whole and hopeless(int(np.isfinite(corners.reach).sum(axis=1).argmax())):
        return Requantization(factor, bias, multiplier, found)
    slopes = _slopes(corners)
    low_room, high_room = (
        np.array(ends) for ends in zip(*(corners.room(np.nan_to_num(k, nan=1.0)) for k in slopes), strict=True)
    )
    binding = _binding(corners, slopes)
    for margin, step in product((_MARGIN, 0.0), _FACTORS):
        open_to = ~np.isnan(slopes) & ~found & (room >= step)
        index, channels = np.nonzero(open_to)
        b = _bias((low_room[open_to], high_room[open_to]), slopes[open_to], step)
        low, high = _multipliers(binding.of(channels), step, b)
        possible = low <= high * (1 + _SLACK)
        index, channels, b = index[possible], channels[possible], b[possible]
        for k in np.unique(index):
            here = (index == k) & ~found[channels]
            waiting, tried = channels[here], b[here]
            if not len(waiting):
                continue
            met = corners.of(waiting)
            m = _multiplier(met, step, tried, slopes[k, waiting])
            fits = np.logical_and.reduce([reproduces(met, step, tried, m * (1 + e)) for e in {0.0, margin, -margin}])
            chosen = waiting[fits]
            factor[chosen], bias[chosen], multiplier[chosen] = step * steps.sign[chosen], tried[fits], m[fits]
            found[chosen] = True
        if whole and step == 1 and margin and not found.all() and hopeless(int(found.argmin())):
            break
    return Requantization(factor, bias, multiplier, found)


def corners_of(steps: Steps, zero_point: Float64s, *, lowest: float, highest: float) -> Corners:
    """For each level above the lowest, the sums at which it must be reached, and not yet be reached."""
    levels = np.arange(lowest + 1, highest + 1)
    lo, hi, first = steps.lo[:, None], steps.hi[:, None], steps.first[:, None]
    padded = np.concatenate([steps.thresholds, np.full((len(lo), 1), np.inf)], axis=1)
    index = np.clip(levels - first - 1, 0, padded.shape[1] - 1).astype(np.intp)
    threshold = np.where(levels <= first, -np.inf, np.take_along_axis(padded, index, axis=1))
    reach = np.where(threshold <= hi, np.maximum(threshold, lo), np.inf)
    stay = np.where(threshold > lo, np.minimum(threshold - 1, hi), -np.inf)
    return Corners(reach, stay, levels - zero_point[:, None] - 0.5)


def reproduces(corners: Corners, factor: float, bias: Float64s, multiplier: Float64s) -> npt.NDArray[np.bool_]:
    """By channel, whether the float32 arithmetic of the runtimes is right on both sides of every threshold."""
    legal = (multiplier > 0) & np.isfinite(multiplier) & (np.abs(bias) < LARGEST_BIAS)
    scale = np.where(legal, multiplier, 1.0).astype(np.float32)[:, None]
    right = legal
    for place, reached in ((corners.reach, True), (corners.stay, False)):
        none = np.isinf(place)
        total = np.where(none, 0.0, place * factor + bias[:, None])
        level = np.rint(total.astype(np.float32) * scale)
        fits = ((level > corners.height) == reached) & (np.abs(total) < LARGEST_BIAS)
        right = right & (fits | none).all(axis=1)
    return right


def widest_slope(corners: Corners) -> Float64s:
    """By channel, the slope of the line that has most room between the corners."""
    low, high = _bracket(corners)
    best = _widest(corners, low, high)
    for near in (2.0**-14, 2.0**-34):
        best = _widest(corners, best - near, best + near)
    return np.exp2(best)


def _slopes(corners: Corners) -> Float64s:
    """(slopes, channels): from the flattest to the steepest line that meets all corners; NaN where there is none."""
    low, high = _bracket(corners)
    best = _widest(corners, low, high)
    possible = _width(corners, best) > -_TIE
    ends: list[Float64s] = []
    for outer in (low, high):
        inside, outside = best, outer
        for _ in range(_HALVINGS):
            middle = (inside + outside) / 2
            fits = _width(corners, middle) > 0
            inside, outside = np.where(fits, middle, inside), np.where(fits, outside, middle)
        ends.append(np.where(_width(corners, outer) > 0, outer, inside))
    parts = np.linspace(0, 1, _SLOPES)[:, None]
    order = np.argsort(np.abs(parts[:, 0] - 0.5), kind="stable")  # from the middle outwards
    possible = possible & ((ends[0] < ends[1]) | (np.arange(_SLOPES)[:, None] == 0))  # one slope is tried once
    return np.where(possible, np.exp2(ends[0] + (ends[1] - ends[0]) * parts[order]), np.nan)


def _bracket(corners: Corners) -> tuple[Float64s, Float64s]:
    """Logarithms of slopes between which every line is that meets the first and the last corner of its channel."""
    flattest = np.full(len(corners.height), _FLATTEST)
    steepest = np.full(len(corners.height), 2.0 * (corners.height.shape[1] + 1))
    both = np.isfinite(corners.reach) & np.isfinite(corners.stay)
    rows = np.flatnonzero(both.sum(axis=1) > 1)
    if len(rows):
        first, last = both[rows].argmax(axis=1), both.shape[1] - 1 - both[rows, ::-1].argmax(axis=1)
        rise = corners.height[rows, last] - corners.height[rows, first]
        longest = corners.reach[rows, last] - corners.stay[rows, first]
        shortest = corners.stay[rows, last] - corners.reach[rows, first]
        flattest[rows] = np.maximum(flattest[rows], rise / longest)
        steepest[rows] = np.where(
            shortest > 0, np.minimum(steepest[rows], rise / np.maximum(shortest, 1)), steepest[rows]
        )
    return np.log2(flattest), np.log2(steepest)


def _widest(corners: Corners, left: Float64s, right: Float64s) -> Float64s:
    """Where the room for a line is widest, by golden section: the room has one maximum."""
    one, two = right - _GOLDEN * (right - left), left + _GOLDEN * (right - left)
    first, second = _width(corners, one), _width(corners, two)
    for _ in range(_SECTIONS):
        rising = first < second
        left, right = np.where(rising, one, left), np.where(rising, right, two)
        fresh = np.where(rising, left + _GOLDEN * (right - left), right - _GOLDEN * (right - left))
        width = _width(corners, fresh)
        one, two = np.where(rising, two, fresh), np.where(rising, fresh, one)
        first, second = np.where(rising, second, width), np.where(rising, width, first)
    return (left + right) / 2


def _width(corners: Corners, logarithm: Float64s) -> Float64s:
    low, high = corners.room(np.exp2(logarithm))
    return high - low


def _binding(corners: Corners, slopes: Float64s) -> Corners:
    """The corners that bound the room for some of these slopes: what does not meet them meets no larger set."""
    if not corners.height.size:
        return corners
    rows = np.arange(len(corners.height))
    chosen = np.zeros(corners.height.shape, np.bool_)
    for slope in slopes:
        known = np.nan_to_num(slope, nan=1.0)[:, None]
        chosen[rows, (corners.height - known * corners.reach).argmax(axis=1)] = True
        chosen[rows, (corners.height - known * corners.stay).argmin(axis=1)] = True
    count = int(chosen.sum(axis=1).max(initial=0))
    order = np.argsort(~chosen, axis=1, kind="stable")[:, :count]  # behind its own, a channel takes others
    return Corners(*(np.take_along_axis(a, order, axis=1) for a in (corners.reach, corners.stay, corners.height)))


def _bias(room: tuple[Float64s, Float64s], slope: Float64s, factor: int) -> Float64s:
    """The integer bias in the middle of the room for a line of this slope, for weights times `factor`."""
    low, high = room
    low, high = np.where(np.isinf(low), high - 1, low), np.where(np.isinf(high), low + 1, high)
    with np.errstate(invalid="ignore"):  # a channel without corners has room on both sides for ever: bias 0
        return np.rint(np.nan_to_num((low + high) / 2 / slope * factor))


def _multipliers(corners: Corners, factor: int, bias: Float64s) -> tuple[Float64s, Float64s]:
    """The least and the largest multiplier that meet all corners with this bias; there is none if they cross."""
    low, high = np.zeros(len(bias)), np.full(len(bias), np.inf)
    for place, sense in ((corners.reach, 1.0), (corners.stay, -1.0)):
        at, wanted = (place * factor + bias[:, None]) * sense, corners.height * sense  # multiplier * at >= wanted
        with np.errstate(divide="ignore", invalid="ignore"):
            quotient = wanted / at
        low = np.maximum(low, np.where(at > 0, quotient, -np.inf).max(axis=1, initial=-np.inf))
        high = np.minimum(high, np.where(at < 0, quotient, np.inf).min(axis=1, initial=np.inf))
    return low, high


def _multiplier(corners: Corners, factor: int, bias: Float64s, slope: Float64s) -> Float64s:
    """The middle of the multipliers that meet all corners with this bias, as float32."""
    low, high = _multipliers(corners, factor, bias)
    middle = np.where(np.isinf(high), np.maximum(2 * low, slope / factor), (low + high) / 2)
    return np.clip(middle, 0.0, float(np.finfo(np.float32).max)).astype(np.float32).astype(np.float64)
