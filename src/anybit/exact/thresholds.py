"""Steps: a step function of whole levels, as the thresholds at which the level rises.

A threshold is proven by two integers side by side, of which the first is below the level and the second is not. So a
few of each channel are found by dividing the whole range; the others are guessed to lie evenly between them, as those
of a line do, and all guesses are tried at once. Where one is wrong, nothing but time is lost.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from anybit.analysis.values.tensor_values import Float64s
from anybit.arrays import Array
from anybit.errors import Refusal
from anybit.exact.runs import MOST_STEPS, Runs, runs_of, values_at
from anybit.exact.step_function import Proof, StepFunction, not_a_number, proven

_MOST_THRESHOLDS = 1 << 24  # over all channels
_MANY_LEVELS = 1 << 10  # from which on levels are likely to be passed over, and the steps are found by halving
_PARTS = 2  # of the levels, at whose ends thresholds are found first
_AT_ONCE = 1 << 12  # integers that are tried to divide ranges, where there are few
_MOST_AT_ONCE = 15  # of one range


@dataclass(frozen=True)
class Steps:
    """level = first + (number of thresholds that are <= sign * integer), for every integer lo .. hi.

    Attributes:
        sign: By channel, 1 where the level rises with the integer, -1 where it falls.
        first: By channel, the lowest level.
        thresholds: (channels, levels - 1), ascending, in units of sign * integer; infinite where no integer reaches
            the level.
        lo: By channel, the smallest sign * integer.
        hi: By channel, the largest.
        proof: How the direction was shown.
    """

    sign: Float64s
    first: Float64s
    thresholds: Float64s
    lo: Float64s
    hi: Float64s
    proof: Proof = Proof.ENUMERATION

    def of(self, channels: npt.NDArray[np.intp]) -> Steps:
        """The steps of the channels with these indices."""
        first, thresholds = self.first[channels], self.thresholds[channels]
        return Steps(self.sign[channels], first, thresholds, self.lo[channels], self.hi[channels], self.proof)

    def levels(self, integers: Float64s) -> Float64s:
        """The levels of (n, channels) integers."""
        signed = integers * self.sign
        return self.first + (signed[:, :, None] >= self.thresholds).sum(axis=2)


def steps_of(function: StepFunction) -> Steps | Refusal:
    """The thresholds of a function whose values are whole numbers, exact over its whole domain.

    Returns:
        A refusal where the function neither rises nor falls, is not known to and has too many integers to try, or has
        values that are no whole numbers.
    """
    known = proven(function)
    if isinstance(known, Refusal):
        return known
    sign = np.broadcast_to(np.asarray(known.direction, np.float64), known.channels)
    low, high = (sign * end for end in known.ends)
    lo, hi = np.minimum(low, high), np.maximum(low, high)
    try:
        first, last = _whole(known, known(sign * np.stack([lo, hi]) + 0.0))
        count = int((last - first).max(initial=0))
        if count < _MANY_LEVELS and count * known.channels <= MOST_STEPS:
            thresholds = _Search(known, sign, first, last).thresholds(lo, hi)
            return Steps(sign, first, thresholds, lo, hi, known.proof)
        steps = _of_runs(known, sign)
    except _NoLevelsError as error:
        return error.refusal
    return steps if isinstance(steps, Refusal) else replace(steps, lo=lo, hi=hi)


class _NoLevelsError(Exception):
    """A function has a value that is no whole number."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


def _whole(function: StepFunction, values: Array) -> Float64s:
    """The values of a function as levels.

    Raises:
        _NoLevelsError: One is no whole number.
    """
    levels = values.astype(np.float64)
    if np.isnan(levels).any():
        raise _NoLevelsError(not_a_number(function.node))
    if not np.isfinite(levels).all() or (levels != np.rint(levels)).any():
        raise _NoLevelsError(Refusal(problem="values that are no whole levels", node=function.node))
    return levels


@dataclass(frozen=True)
class _Search:
    """The search for the thresholds of a function; integers are in units of sign * integer, in which it rises.

    Attributes:
        function: The function.
        sign: By channel, its direction.
        first: By channel, the lowest level.
        last: By channel, the highest one.
    """

    function: StepFunction
    sign: Float64s
    first: Float64s
    last: Float64s

    def thresholds(self, lo: Float64s, hi: Float64s) -> Float64s:
        """(channels, levels - 1) thresholds of all levels above the first, infinite where there is no such level."""
        total = (self.last - self.first).astype(np.int64)
        count = int(total.max(initial=0))
        if not count:
            return np.zeros((len(total), 0))
        some, at_least = total > 0, np.maximum(total, 1)
        few = np.clip(np.rint(np.arange(_PARTS + 1)[:, None] / _PARTS * total), 1, at_least)
        below, above = (np.broadcast_to(end, few.shape).copy() for end in (np.where(some, lo, hi - 1), hi))
        if count <= 2 * _PARTS:
            few = np.minimum(np.arange(1.0, count + 1)[:, None], at_least)
            below, above = (np.broadcast_to(end[0], few.shape).copy() for end in (below, above))
        found = self._divided(few, below, above)
        levels = np.arange(1, count + 1)[:, None]
        if count > 2 * _PARTS:
            found = self._between(np.minimum(levels, at_least), few, found, lo)
        return np.where(levels <= total, found, np.inf).T

    def _levels(self, integers: Float64s) -> Float64s:
        return _whole(self.function, self.function(self.sign * integers + 0.0))  # -0 is not 0 to some nodes

    def _between(self, levels: npt.NDArray[np.int64], few: Float64s, known: Float64s, lo: Float64s) -> Float64s:
        """The thresholds of (levels, channels) levels, of which those of a few are known."""
        part = np.minimum(levels * _PARTS // few[-1].astype(np.int64), _PARTS - 1)
        left, right = (np.take_along_axis(known, part + i, axis=0) for i in (0, 1))
        start, end = (np.take_along_axis(few, part + i, axis=0) for i in (0, 1))
        below, above = left - 1, right
        share = (levels - start) / np.maximum(end - start, 1.0)
        guess = np.clip(np.ceil(left - 0.5 + (right - left) * share), left, right)
        wanted = self.first + levels
        reached, early = (self._levels(np.maximum(guess - i, lo)) >= wanted for i in (0, 1))
        above = np.where(early, guess - 1, np.where(reached, guess, above))
        below = np.where(early, below, np.where(reached, guess - 1, guess))
        beside = np.where(early, guess - 2, guess + 1)  # most that are missed are missed by one
        return self._divided(levels, below, above, first=np.clip(beside, below, above))

    def _divided(self, levels: Array, below: Float64s, above: Float64s, first: Float64s | None = None) -> Float64s:
        """The thresholds of (levels, channels) levels, each between an integer below it and one that is not.

        Args:
            levels: The levels, from the lowest one.
            below: Integers below the thresholds.
            above: Integers that are not.
            first: What is tried first; None for what divides the ranges.
        """
        open_ = (above - below > 1).T
        channels, rows = np.nonzero(open_)  # by channel
        left, right = below[rows, channels], above[rows, channels]
        wanted = (self.first + levels)[rows, channels]
        tried = None if first is None else first[rows, channels][:, None]
        found, place = above.copy(), np.arange(len(rows))
        while len(place):
            count = int(np.clip(_AT_ONCE // len(place), 1, _MOST_AT_ONCE))
            if tried is None:
                shares = np.arange(1, count + 1) / (count + 1)
                tried = left[:, None] + np.floor((right - left)[:, None] * shares)
            count = tried.shape[1]
            integers = (self.sign[channels, None] * tried).reshape(-1) + 0.0
            values = values_at(self.function, np.repeat(channels, count), integers)
            reached = _whole(self.function, values).reshape(tried.shape) >= wanted[:, None]
            short = count - reached.sum(axis=1)
            entries = np.arange(len(place))
            left = np.where(short > 0, tried[entries, np.maximum(short - 1, 0)], left)
            right = np.where(short < count, tried[entries, np.minimum(short, count - 1)], right)
            tried = None
            done = right - left <= 1
            found[rows[place[done]], channels[done]] = right[done]
            place, channels = place[~done], channels[~done]
            left, right, wanted = left[~done], right[~done], wanted[~done]
        return found


def _of_runs(known: StepFunction, sign: Float64s) -> Steps | Refusal:
    """The same for any number of levels, many of which may be passed over."""
    runs = runs_of(known)
    if isinstance(runs, Refusal):
        return runs
    _whole(known, runs.values)
    ends = _along(sign, runs, known.ends[1])
    first, last = (np.array([levels[i] for _, levels in ends]) for i in (0, -1))
    count = int((last - first).max(initial=0))
    if count * known.channels > _MOST_THRESHOLDS:
        return Refusal(problem="too many levels", node=known.node, got=str(count + 1))
    thresholds = np.full((known.channels, count), np.inf)
    for row, (places, levels) in enumerate(ends):
        reached = np.arange(levels[0] + 1, levels[-1] + 1)
        thresholds[row, : len(reached)] = places[np.searchsorted(levels, reached)]
    return Steps(sign, first, thresholds, *known.ends, known.proof)


def _along(sign: Float64s, runs: Runs, hi: Float64s) -> list[tuple[Float64s, Float64s]]:
    """For each channel where its runs begin, in units of sign * integer, and their levels, both ascending."""
    found: list[tuple[Float64s, Float64s]] = []
    for channel, rises in enumerate(sign > 0):
        kept = np.isfinite(runs.starts[:, channel])
        starts, levels = runs.starts[kept, channel], runs.values[kept, channel].astype(np.float64)
        if not rises:
            starts, levels = -np.append(starts[1:] - 1, hi[channel])[::-1], levels[::-1]
        found.append((starts, levels))
    return found
