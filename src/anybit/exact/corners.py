"""Corners: what a line from sums to levels must meet, and the slopes of the lines that meet it.

A line of slope k meets the corners of a channel if its value at 0 is between

    max(height - k * reach)    and    min(height - k * stay)

The distance between the two, the room, is a concave function of k made of straight pieces. So the slopes that leave
room are one interval: its widest place is found by cutting planes, its ends from outside by Newton's method, both of
which end after a few steps; and of all corners few bound the room anywhere in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anybit.analysis.values.tensor_values import Float64s
from anybit.exact.thresholds import Steps

_FLATTEST = 2.0**-30
_SLOPES = 33  # that are tried between the flattest and the steepest
_STEPS = 40  # of either method; it takes a handful
_HALVINGS = 80  # down to the precision of float64
_TIE = 2.0**-12  # levels that a line may seem to miss: one that meets ties, which round to even, has no room at all
_ROUNDS = 3  # of looking for corners that bound nothing
_NEAR = 2.0**-32  # relative; what is nearer is rounding of float64


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
        """The corners of some channels alone."""
        return Corners(self.reach[channels], self.stay[channels], self.height[channels])

    def room(self, slope: Float64s) -> tuple[Float64s, Float64s]:
        """The lowest and the highest value at 0 of a line of this slope, by channel; there is none if they cross."""
        low, high = self.height - slope[:, None] * self.reach, self.height - slope[:, None] * self.stay
        return low.max(axis=1, initial=-np.inf), high.min(axis=1, initial=np.inf)

    def width(self, slope: Float64s) -> tuple[Float64s, Float64s]:
        """The room for a line of this slope, and how it grows with the slope; channels need corners on both sides."""
        rows = np.arange(len(slope))
        if not len(rows):
            return np.zeros(0), np.zeros(0)
        low, high = self.height - slope[:, None] * self.reach, self.height - slope[:, None] * self.stay
        lowest, highest = low.argmax(axis=1), high.argmin(axis=1)
        return high[rows, highest] - low[rows, lowest], self.reach[rows, lowest] - self.stay[rows, highest]


@dataclass(frozen=True)
class Inside:
    """One line for each channel, somewhere between the flattest and the steepest that are possible.

    Attributes:
        flattest: By channel, a slope that no line that meets all corners is below.
        steepest: One that none is above.
        slope: One that leaves room, or the one that misses least.
        width: The room that it leaves; infinite where there are corners on one side alone.
        possible: Whether there may be a line at all.
    """

    flattest: Float64s
    steepest: Float64s
    slope: Float64s
    width: Float64s
    possible: npt.NDArray[np.bool_]

    def of(self, channels: npt.NDArray[np.intp]) -> Inside:
        """The same of some channels alone."""
        ends = self.flattest[channels], self.steepest[channels]
        return Inside(*ends, self.slope[channels], self.width[channels], self.possible[channels])


@dataclass(frozen=True)
class Lines:
    """Slopes that are worth a try, and the corners that can bound the room for them.

    Attributes:
        slopes: (slopes, channels), from the middle outwards; NaN where a channel has none, or no further one.
        binding: What does not meet these corners meets no larger set; what does, at a slope between `flattest` and
            `steepest`, meets all.
        flattest: By channel, the slope below which there is no room; 0 where that is not known.
        steepest: The slope above which there is none; infinite where that is not known.
    """

    slopes: Float64s
    binding: Corners
    flattest: Float64s
    steepest: Float64s


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


def inside(corners: Corners) -> Inside:
    """A line that meets all corners, or nearly does, channel by channel."""
    flattest, steepest = _bracket(corners)
    possible = flattest <= steepest * (1 + _NEAR)
    bounded = np.isfinite(corners.reach).any(axis=1) & np.isfinite(corners.stay).any(axis=1) & possible
    slope, width = np.sqrt(flattest * steepest), np.full(len(possible), np.inf)
    rows = np.flatnonzero(bounded)
    slope[rows], width[rows] = _with_room(corners.of(rows), flattest[rows], steepest[rows])
    return Inside(flattest, steepest, slope, width, possible & (width > -_TIE))


def lines_through(corners: Corners, between: Inside) -> Lines:
    """From the flattest to the steepest line that meets all corners, channel by channel."""
    possible = between.possible
    rows = np.flatnonzero(possible & np.isfinite(between.width))
    inner, best, width = corners.of(rows), between.slope[rows], between.width[rows]
    ends, known = np.array([between.flattest, between.steepest]), np.zeros((2, len(possible)), np.bool_)
    for end, is_known in zip(ends, known, strict=True):
        found = _end(inner, end[rows], best)
        is_known[rows] = (width > 0) & (found != end[rows])
        end[rows] = np.where(width > 0, found, best)
    low, high = np.log2(ends)
    parts = np.linspace(0, 1, _SLOPES)
    outwards = parts[np.argsort(np.abs(parts - 0.5), kind="stable")][:, None]
    tried = possible & ((low < high) | (np.arange(_SLOPES)[:, None] == 0))  # one slope is tried once
    slopes = np.where(tried, np.exp2(low + (high - low) * outwards), np.nan)
    binding = _binding(corners, np.where(possible, ends, 1.0), possible)
    return Lines(slopes, binding, np.where(known[0], ends[0], 0.0), np.where(known[1], ends[1], np.inf))


def widest_slope(corners: Corners) -> Float64s:
    """By channel, the slope of the line that has most room; a channel with corners on one side takes the flattest."""
    left, right = _bracket(corners)
    bounded = np.isfinite(corners.reach).any(axis=1) & np.isfinite(corners.stay).any(axis=1)
    rows = np.flatnonzero(bounded & (left < right))
    inner, low, high = corners.of(rows), left[rows], right[rows]
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        _, rate = inner.width(middle)
        low, high = np.where(rate > 0, middle, low), np.where(rate > 0, high, middle)
    left[rows] = (low + high) / 2
    return left


def _bracket(corners: Corners) -> tuple[Float64s, Float64s]:
    """Slopes between which every line is that meets the first and the last corner of its channel."""
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
    return flattest, steepest


def _with_room(corners: Corners, left: Float64s, right: Float64s) -> tuple[Float64s, Float64s]:
    """A slope that leaves room and the room, by channel; where none does, the slope that misses least.

    The tangents at both ends of an interval cross where the room is at most what they say: the interval is cut there.
    """
    left, right = left.copy(), right.copy()
    (width, rate), (far_width, far_rate) = corners.width(left), corners.width(right)
    best = np.where(width >= far_width, left, right)
    most = np.maximum(width, far_width)
    rows = np.flatnonzero((most <= 0) & (rate > 0) & (far_rate < 0))
    for _ in range(_STEPS):
        if not len(rows):
            break
        rise, fall = rate[rows], far_rate[rows]
        middle = (far_width[rows] - width[rows] + rise * left[rows] - fall * right[rows]) / (rise - fall)
        middle = np.clip(middle, left[rows], right[rows])
        bound = width[rows] + rise * (middle - left[rows])
        found, slope = corners.of(rows).width(middle)
        better = found > most[rows]
        best[rows[better]], most[rows[better]] = middle[better], found[better]
        rises, falls = rows[slope > 0], rows[slope < 0]
        left[rises], width[rises], rate[rises] = (a[slope > 0] for a in (middle, found, slope))
        right[falls], far_width[falls], far_rate[falls] = (a[slope < 0] for a in (middle, found, slope))
        rows = rows[(found <= 0) & (slope != 0) & (bound > -_TIE) & (bound - found > _NEAR * (1 + np.abs(found)))]
    return best, most


def _end(corners: Corners, outer: Float64s, best: Float64s) -> Float64s:
    """Where the room ends on the way from a slope that leaves room to an outer one: `outer` itself, if it has room."""
    end = outer.copy()
    rows = np.arange(len(end))
    for _ in range(_STEPS):
        width, rate = corners.of(rows).width(end[rows])
        inwards = (rate > 0) == (best[rows] > end[rows])
        short = (width < -_NEAR) & (rate != 0) & inwards
        rows = rows[short]
        if not len(rows):
            break
        end[rows] -= width[short] / rate[short]
    return np.where(outer < best, np.minimum(end, best), np.maximum(end, best))


def _binding(corners: Corners, ends: Float64s, possible: npt.NDArray[np.bool_]) -> Corners:
    """The corners that can bound the room for slopes between these ends, of the channels for which there are any."""
    if not (corners.height.size and possible.any()):
        return corners
    kept = [
        _largest(corners.height * s, p * s, ends, possible) for p, s in ((corners.reach, 1.0), (corners.stay, -1.0))
    ]
    chosen = kept[0] | kept[1]
    count = max(int(chosen.sum(axis=1).max(initial=0)), 1)
    order = np.argsort(~chosen, axis=1, kind="stable")[:, :count]  # behind its own, a channel takes others
    return Corners(*(np.take_along_axis(a, order, axis=1) for a in (corners.reach, corners.stay, corners.height)))


def _largest(
    height: Float64s, place: Float64s, ends: Float64s, possible: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """The lines height - slope * place that can be the largest of their channel somewhere between the ends.

    The largest of lines is convex in the slope: where those that are the largest at two slopes cross, a line below
    them is below the largest all the way between. Each round looks once more between the slopes of the one before.
    """
    finite = np.isfinite(place) & possible[:, None]
    height, place = np.where(finite, height, -np.inf), np.where(finite, place, 0.0)
    rows, every = np.arange(len(height)), np.arange(height.shape[1])
    columns, kept = np.broadcast_to(every, height.shape), np.ones(height.shape, np.bool_)
    knots = list(ends)
    for _ in range(_ROUNDS):
        at, over = np.take_along_axis(height, columns, axis=1), np.take_along_axis(place, columns, axis=1)
        top = [(at - k[:, None] * over).argmax(axis=1) for k in knots]
        crossings = [
            _crossing((at[rows, i], over[rows, i]), (at[rows, j], over[rows, j]), (k, n))
            for i, j, k, n in zip(top[:-1], top[1:], knots[:-1], knots[1:], strict=True)
        ]
        keeps = np.zeros(at.shape, np.bool_)
        for i, j, k in zip(top[:-1], top[1:], crossings, strict=True):
            value = at - k[:, None] * over
            least = np.maximum(value[rows, i], value[rows, j])
            keeps |= value >= np.where(np.isfinite(least), least - _NEAR * (1 + np.abs(least)), np.inf)[:, None]
            keeps[rows, i] = keeps[rows, j] = True
        order = np.argsort(~keeps, axis=1, kind="stable")[:, : int(keeps.sum(axis=1).max(initial=1))]
        columns = np.take_along_axis(columns, order, axis=1)
        kept = np.take_along_axis(keeps, order, axis=1)
        knots = [k for pair in zip(knots[:-1], crossings, strict=True) for k in pair] + knots[-1:]
    chosen = np.zeros(height.shape, np.bool_)
    np.put_along_axis(chosen, columns, kept, axis=1)
    return chosen & possible[:, None]


def _crossing(
    first: tuple[Float64s, Float64s], last: tuple[Float64s, Float64s], between: tuple[Float64s, Float64s]
) -> Float64s:
    """The slope at which two lines, each (height, place), have the same value; parallel ones have it anywhere."""
    run = first[1] - last[1]
    with np.errstate(invalid="ignore"):  # a channel without corners
        crossing = np.where(run != 0, (first[0] - last[0]) / np.where(run != 0, run, 1.0), between[0])
    return np.clip(crossing, *between)
