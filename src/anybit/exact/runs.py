"""Runs: a step function as the integers at which its value changes; equal functions have equal runs.

Where a function rises or falls, a value that it has at both ends of an interval is its value in between. So an interval
is halved only while the values at its ends differ: each step costs a logarithm of the domain's width, and no integer
is tried twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from anybit.analysis.values.tensor_values import Float64s
from anybit.arrays import Array
from anybit.errors import Refusal
from anybit.exact.step_function import Proof, StepFunction, not_a_number, too_large, undecidable

MOST_STEPS = 1 << 22
"""Steps, over all channels, that are looked for."""
_FEW_LEVELS, _MANY_LEVELS = 32, 1 << 10  # between which guesses of where the steps are save time
_KNOWN_STEPS = 8  # about so many, and twice so many, are found first


@dataclass(frozen=True)
class Runs:
    """A function that is constant on runs of integers: `values[i]` from `starts[i]` on.

    Attributes:
        starts: (runs, channels), ascending; infinite where a channel has fewer runs.
        values: (runs, channels); 0 where a channel has fewer.
        tried: How many integers were evaluated to find it.
    """

    starts: Float64s
    values: Array
    tried: int


def runs_of(function: StepFunction) -> Runs | Refusal:
    """The runs of a function: by halving where it is proven to rise or to fall, else by trying every integer.

    Returns:
        A refusal where there are too many integers to try, too many steps, or a value is no number.
    """
    refusal = undecidable(function)
    if refusal is not None:
        return refusal
    if function.proof is not Proof.NONE:
        return _halved(function)
    integers = function.every()
    values = function(integers)
    if np.isnan(values).any():
        return not_a_number(function.node)
    return compressed(np.broadcast_to(integers, values.shape), values, function.total)


def compressed(starts: Float64s, values: Array, tried: int) -> Runs:
    """Neighbouring runs of one value joined; starts ascend, and repeat, or are infinite, where a channel is shorter."""
    kept = np.ones(values.shape, np.bool_)
    kept[1:] = (values[1:] != values[:-1]) & np.isfinite(starts[1:]) & (starts[1:] > starts[:-1])
    rows, channels = np.nonzero(kept)
    order = np.argsort(channels, kind="stable")
    rows, channels = rows[order], channels[order]
    return _laid(channels, starts[rows, channels], values[rows, channels], values.shape[1], tried)


def _laid(channels: npt.NDArray[np.intp], starts: Float64s, values: Array, count: int, tried: int) -> Runs:
    """Runs from a list of them, ordered by channel and start."""
    rank = _ranks(channels, count)
    shape = (int(rank.max(initial=-1)) + 1, count)
    laid_starts, laid_values = np.full(shape, np.inf), np.zeros(shape, values.dtype)
    laid_starts[rank, channels], laid_values[rank, channels] = starts, values
    return Runs(laid_starts, laid_values, tried)


def _ranks(channels: npt.NDArray[np.intp], count: int) -> npt.NDArray[np.intp]:
    """The place of each entry among those of its channel, entries being ordered by channel."""
    sizes = np.bincount(channels, minlength=count)
    return np.arange(len(channels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)


def _halved(function: StepFunction) -> Runs | Refusal:
    lo, hi = function.ends
    at_lo, at_hi = function(np.stack([lo, hi]))
    likely = _likely(function, at_lo, at_hi)
    if isinstance(likely, Refusal):
        return likely
    places, before = likely
    channels, places = _ordered([*places, lo, hi])
    known = values_at(function, channels, places)
    starts: list[tuple[npt.NDArray[np.intp], Float64s, Array]] = [(np.arange(function.channels), lo, at_lo)]
    together = channels[1:] == channels[:-1]
    channels, below, above = channels[1:][together], places[:-1][together], places[1:][together]
    left, right, tried = known[:-1][together], known[1:][together], before + len(known)
    steps = 0
    while True:
        if np.isnan(left).any() or np.isnan(right).any():
            return not_a_number(function.node)
        differs = left != right
        found, open_ = differs & (above - below == 1), differs & (above - below > 1)
        starts.append((channels[found], above[found], right[found]))
        steps += int(found.sum())
        if steps + open_.sum() > MOST_STEPS:
            return Refusal(problem="too many levels", node=function.node, got=f"more than {MOST_STEPS}")
        if not open_.any():
            break
        channels = channels[open_]
        below, above, left, right = (a[open_] for a in (below, above, left, right))
        middle = np.floor((below + above) / 2)
        values = values_at(function, channels, middle)
        tried += len(middle)
        # each half in the place of the whole, so that channels stay together
        channels = np.repeat(channels, 2)
        below, above = _alternating(below, middle), _alternating(middle, above)
        left, right = _alternating(left, values), _alternating(values, right)
    where, places, values = (np.concatenate(parts) for parts in zip(*starts, strict=True))
    order = np.lexsort((places, where))
    return _laid(where[order], places[order], values[order], function.channels, tried)


def _likely(function: StepFunction, at_lo: Array, at_hi: Array) -> tuple[list[Float64s], int] | Refusal:
    """Integers, rows of one a channel, on both sides of likely steps of many whole levels; and how many were tried.

    A few steps are found by halving. Those between two of them are taken to lie evenly, as those of a line do, so that
    most need not be found by halving from afar; where they do not lie there, nothing but time is lost.
    """
    lo, hi = function.ends
    height = np.abs(at_hi.astype(np.float64) - at_lo)
    if not _FEW_LEVELS < height.max(initial=0.0) < _MANY_LEVELS:  # NaN is neither
        return [], 0

    def coarse(integers: Float64s) -> Array:
        part = np.abs(function.evaluate(integers) - at_lo) * (_KNOWN_STEPS / np.maximum(height, 1.0))
        return np.floor(part) + np.ceil(part)  # the first step and the last one are among these

    known = _halved(replace(function, evaluate=coarse, direction=np.ones(function.channels)))
    if isinstance(known, Refusal):
        return known
    places = np.minimum(known.starts, hi)
    values = function(places)
    between = np.arange(1, np.ceil(height.max() / _KNOWN_STEPS) + 1)[:, None, None]
    count = np.maximum(np.abs(np.diff(values, axis=0)), 1.0)
    steps = places[:-1] - 0.5 + np.minimum(between / count, 1.0) * np.diff(places, axis=0)
    near = steps.reshape(-1, function.channels)
    beside = np.clip(np.ceil(np.concatenate([near - 1.5, near + 0.5])), lo, hi) + 0.0  # keys tell zeros by their sign
    return list(beside), known.tried + values.size


def _ordered(rows: Sequence[Float64s]) -> tuple[npt.NDArray[np.intp], Float64s]:
    """Integers, a row of one for each channel, as a list by channel, ascending, each once."""
    ascending = np.sort(np.stack(rows, axis=1), axis=1)
    once = np.ones(ascending.shape, np.bool_)
    once[:, 1:] = ascending[:, 1:] != ascending[:, :-1]
    channels, columns = np.nonzero(once)
    return channels, ascending[channels, columns]


def _alternating(first: Array, second: Array) -> Array:
    return np.stack([first, second], axis=1).reshape(-1)


def values_at(function: StepFunction, channels: npt.NDArray[np.intp], integers: Float64s) -> Array:
    """The values of some integers, each of one channel, entries being ordered by channel."""
    if not len(channels):
        return np.zeros(0)
    rank = _ranks(channels, function.channels)
    table = np.tile(function.ends[0], (int(rank.max()) + 1, 1))
    table[rank, channels] = integers
    return function(table)[rank, channels]


def beside_steps(function: StepFunction) -> Float64s | Refusal:
    """(n, channels) integers: the last before and the first behind every step of a function, and both ends."""
    runs = runs_of(function)
    if isinstance(runs, Refusal):
        return runs
    lo, hi = function.ends
    return np.clip(np.concatenate([runs.starts, runs.starts - 1, lo[None], hi[None]]), lo, hi)


def deciding(function: StepFunction) -> Float64s | Refusal:
    """Integers, (n, channels) or (n, 1), at which another function equals this one only if it does everywhere.

    Both sides of every step will do if both are monotone by composition, in the same directions: between two steps this
    one has one value, which the other one has at both ends. Else it takes every integer.

    Args:
        function: The function; its proof counts for the other one as well.
    """
    if function.proof is Proof.COMPOSITION:
        return beside_steps(function)
    return too_large(function) or function.every()


def agree(first: StepFunction, second: StepFunction) -> bool | Refusal:
    """Whether two functions of the same integers have the same values, or why that cannot be found out.

    Raises:
        ValueError: Their domains or channels differ.
    """
    if first.channels != second.channels or not all(map(np.array_equal, first.ends, second.ends)):
        raise ValueError("two functions of different domains")
    one, other = first.direction, second.direction
    composed = first.proof is second.proof is Proof.COMPOSITION
    alike = composed and one is not None and other is not None and np.array_equal(one, other)
    integers = deciding(first) if alike else too_large(first) or first.every()
    return integers if isinstance(integers, Refusal) else bool(np.array_equal(first(integers), second(integers)))
