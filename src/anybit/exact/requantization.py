"""requantise: an integer bias and a float multiplier that reproduce every step of a layer.

    level - zero point = clip(round_half_even(fl(multiplier * (factor * accumulator + bias))))

is how QLinearConv gets from a sum to a level. A line of that slope must pass above each threshold's corner on the one
side and below it on the other (`anybit.exact.corners`). The bias must be an integer; where none will do, the weights
are multiplied by a factor, as far as 8 bits leave room, which makes it as many times finer. What is found is tried in
the float32 arithmetic of the runtimes at both sides of every threshold, which decides it: that arithmetic is monotone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from anybit.analysis.values.tensor_values import Float64s
from anybit.exact.corners import Corners, Inside, inside, lines_through

_FACTORS = (1, 2, 3, 5, 7, 9, 12, 18, 25, 36, 42, 63, 127)
LARGEST_BIAS = float(1 << 24)
"""No bias has this magnitude, nor a sum beside a threshold: float32 holds both exactly."""
_AT_ONCE = 2048  # candidates
_SLACK = 2.0**-20  # relative; rounding to float32 may let a multiplier pass that misses a corner by less
_MARGIN = 2.0**-20  # relative; a multiplier that has it bears being computed from scales, and other orders of rounding
_ERRORS = (-_MARGIN, _MARGIN)  # what is right at both is right between them: a product grows with its multiplier
_NARROW = 1.5 * _MARGIN  # relative; of the width of 2 that the margin takes, rounding to float32 may give back less


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

    def with_others(self, channels: npt.NDArray[np.intp], others: Requantization) -> Requantization:
        """The same, with what was found of some channels in the place of its own."""
        made: list[Any] = [self.factor.copy(), self.bias.copy(), self.multiplier.copy(), self.found.copy()]
        for array, other in zip(made, (others.factor, others.bias, others.multiplier, others.found), strict=True):
            array[channels] = other
        return Requantization(*made)


def requantize(corners: Corners, sign: Float64s, *, room: Float64s, whole: bool = False) -> Requantization:
    """The coarsest factor, with a bias and a multiplier, that reproduces the steps of each channel.

    Args:
        corners: What the levels of the layer must meet.
        sign: By channel, 1 where the level rises with the sum, -1 where it falls.
        room: By channel, the largest factor that the weights allow.
        whole: Whether nothing is gained unless every channel is found: the search ends at the first that is not.
    """
    line = inside(corners)
    found, bears = _likely(corners, line)
    rest = np.flatnonzero(line.possible & ~bears)
    if len(rest) and not (whole and not line.possible.all()):
        rest = rest[~found.found[rest] | _is_wide(corners.of(rest), line.slope[rest])]
        inner, line, room = corners.of(rest), line.of(rest), room[rest]
        if len(rest) and not (whole and _is_hopeless(inner, line, np.arange(len(rest)), room)):
            found = found.with_others(rest, _searched(inner, line, room, whole=whole))
    return replace(found, factor=np.where(found.found, found.factor * sign, 1.0))


def _likely(corners: Corners, line: Inside) -> tuple[Requantization, npt.NDArray[np.bool_]]:
    """The bias in the middle of the room of one line, where it is right, and whether its multiplier has the margin."""
    one = np.ones(len(line.slope))
    bias = _bias(corners.room(line.slope), line.slope, 1)
    low, high = _multipliers(corners, 1, bias)
    multiplier = _multiplier(low, high, line.slope)
    found = line.possible & (low <= high * (1 + _SLACK))
    bears = found.copy()
    bears[found] = _bear(corners.of(found), 1, bias[found], multiplier[found], _ERRORS)
    rest = found & ~bears
    found[rest] = _bear(corners.of(rest), 1, bias[rest], multiplier[rest], (0.0,))
    return Requantization(one, np.where(found, bias, 0.0), np.where(found, multiplier, 1.0), found), bears


def _is_wide(corners: Corners, slope: Float64s) -> npt.NDArray[np.bool_]:
    """By channel, whether there may be a multiplier with the margin: all of them are slopes that leave room.

    Those that do are an interval, which is narrow where there is no room on both sides of one of them.
    """
    found = np.zeros(len(slope), np.bool_)
    for error in (_NARROW / 2, -_NARROW / 2):
        low, high = corners.room(slope * (1 + error))
        found |= high >= low
    return found


def _is_hopeless(corners: Corners, line: Inside, rest: npt.NDArray[np.intp], room: Float64s) -> bool:
    """Whether the first of several channels has nothing, which takes less time to find out than of all."""
    first = rest[:1]
    return len(rest) > 1 and not _searched(corners.of(first), line.of(first), room[first]).found.all()


def _searched(corners: Corners, line: Inside, room: Float64s, *, whole: bool = False) -> Requantization:
    """The same as `requantize`, from the corners; factors are positive."""
    factor, bias, multiplier = np.ones(len(room)), np.zeros(len(room)), np.ones(len(room))
    found = np.zeros(len(room), np.bool_)
    lines = lines_through(corners, line)
    slopes = lines.slopes
    low_room, high_room = (
        np.array(ends) for ends in zip(*(lines.binding.room(np.nan_to_num(k, nan=1.0)) for k in slopes), strict=True)
    )
    for margin, step in product((_MARGIN, 0.0), _FACTORS):
        open_to = ~np.isnan(slopes) & ~found & (room >= step)
        if not open_to.any():
            continue
        channels, slope = np.nonzero(open_to)[1], slopes[open_to]
        b = _bias((low_room[open_to], high_room[open_to]), slope, step)
        once = _first_of_each(channels, b)
        channels, slope, b = channels[once], slope[once], b[once]
        bounding = lines.binding.of(channels)
        low, high = _multipliers(bounding, step, b)
        low, high = np.maximum(low, lines.flattest[channels] / step), np.minimum(high, lines.steepest[channels] / step)
        m = _multiplier(low, high, slope / step)
        errors = _ERRORS if margin else (0.0,)
        possible = low <= high * (1 + _SLACK)
        possible[possible] = _bear(bounding.of(possible), step, b[possible], m[possible], errors)
        for part in _rounds(channels, np.flatnonzero(possible)):
            tried = part[~found[channels[part]]]
            tried = tried[_bear(corners.of(channels[tried]), step, b[tried], m[tried], errors)]
            chosen, first = np.unique(channels[tried], return_index=True)
            factor[chosen], bias[chosen] = step, b[tried[first]]
            multiplier[chosen], found[chosen] = m[tried[first]], True
        rest = np.flatnonzero(~found)
        if whole and step == 1 and margin and len(rest) and _is_hopeless(corners, line, rest, room):
            break
    return Requantization(factor, bias, multiplier, found)


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


def _bear(
    corners: Corners, factor: float, bias: Float64s, multiplier: Float64s, errors: Iterable[float]
) -> npt.NDArray[np.bool_]:
    """By channel, whether multipliers that are off by these relative errors are all right."""
    right = np.ones(len(bias), np.bool_)
    for error in errors:
        right[right] = reproduces(corners.of(right), factor, bias[right], multiplier[right] * (1 + error))
    return right


def _first_of_each(channels: npt.NDArray[np.intp], bias: Float64s) -> npt.NDArray[np.intp]:
    """The candidates without those of a channel and a bias that stand there already, in order."""
    order = np.lexsort((bias, channels))
    own, number = channels[order], bias[order]
    repeats = np.append(False, (own[1:] == own[:-1]) & (number[1:] == number[:-1]))[: len(order)]
    return np.sort(order[~repeats])


def _rounds(channels: npt.NDArray[np.intp], candidates: npt.NDArray[np.intp]) -> Iterator[npt.NDArray[np.intp]]:
    """The first candidate of each channel, then the others, some at a time."""
    _, first = np.unique(channels[candidates], return_index=True)
    if len(first):
        yield candidates[first]
    others = np.delete(candidates, first)
    for start in range(0, len(others), _AT_ONCE):
        yield others[start : start + _AT_ONCE]


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


def _multiplier(low: Float64s, high: Float64s, slope: Float64s) -> Float64s:
    """The middle of the multipliers from `low` to `high`, as float32; where they have no end, at least the slope."""
    middle = np.where(np.isinf(high), np.maximum(2 * low, slope), (low + high) / 2)
    return np.clip(middle, 0.0, float(np.finfo(np.float32).max)).astype(np.float32).astype(np.float64)
