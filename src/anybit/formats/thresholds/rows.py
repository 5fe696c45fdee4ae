"""Rows: the thresholds of a step function as MultiThreshold has them, right for every number of its domain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.analysis.values.tensor_values import Float64s
from anybit.errors import Refusal
from anybit.exact.chain import Chain, levels_of, step_function_of
from anybit.exact.numbers import Floats, Integers
from anybit.exact.ordinals import float_at, ordinal_of
from anybit.exact.runs import deciding
from anybit.exact.step_function import Proof, StepFunction
from anybit.exact.thresholds import Steps, steps_of

_MOST_THRESHOLDS = 1 << 24
EXACT = float(1 << 24)  # up to here float32 holds every integer
SAME = 2.0**-22
"""Relative distance of scales that are the same but for rounding, as in `tensor_values.common_grid`."""


@dataclass(frozen=True)
class Levels:
    """The levels lo .. hi of a quantiser; -1 and 1 alone if it is bipolar."""

    lo: int
    hi: int
    bipolar: bool = False

    @property
    def above_lowest(self) -> Float64s:
        """All levels but the lowest."""
        return np.ones(1) if self.bipolar else np.arange(self.lo + 1.0, self.hi + 1.0)


@dataclass(frozen=True)
class Ties:
    """Sums so near the middle between two levels that float32, which rounds both summands, takes either.

    Their level is that of the sum rounded once.

    Attributes:
        total: Name of the tensor of the hub that is the sum.
        axis: Along which `unit` varies; None where it does not.
        unit: By channel, what one unit of the sum stands for.
        rows: The rows of thresholds concerned.
        count: Number of sums, over all rows.
    """

    total: str
    axis: int | None
    unit: Float64s
    rows: tuple[int, ...]
    count: int


@dataclass(frozen=True)
class Rows:
    """level = lo + |{t in thresholds of the channel : sign * number >= t}|.

    Attributes:
        thresholds: float32, (channels or 1, levels - 1), ascending.
        sign: By channel, -1 where the level falls with the number.
        multipliers: What the two summands of a pair are multiplied by; None for one number.
        proof: How they were shown to be exact; every pair was tried where there are two summands.
        ties: The sums for which they are not, where that was allowed.
    """

    thresholds: npt.NDArray[np.float32]
    sign: Float64s
    proof: Proof
    multipliers: tuple[int, int] | None = None
    ties: Ties | None = None


def rows_of(
    chain: Chain, root: Integers | Floats, scale: Float64s, levels: Levels, node: ir.Node, *, ties: bool = False
) -> Rows | Refusal:
    """The thresholds of every level of the quantiser that a chain ends in.

    Args:
        chain: Numbers, and the nodes up to and with the quantiser.
        root: The numbers.
        scale: By channel, what one level stands for.
        levels: The levels of the quantiser.
        node: The quantiser.
        ties: Whether the level of a sum may be that of the sum rounded once, where float32 leaves it open.
    """
    function = step_function_of(chain, root, scale, node)
    if chain.channels * (levels.hi - levels.lo) > _MOST_THRESHOLDS:
        return Refusal(problem="too many thresholds", node=function.node, got=f"{levels.hi - levels.lo}")
    steps = steps_of(function)
    if isinstance(steps, Refusal):
        return steps
    places = _places(function, root)
    if isinstance(places, Refusal):
        return places
    open_ = _open(chain, root, scale, places, steps.proof)
    total = root.total if isinstance(root, Integers) and root.divisor == 1 else None
    if open_.any() and (total is None or not ties):
        return Refusal(
            problem="float rounding before it decides between two levels",
            node=function.node,
            hint="use a scale that is a power of two, or Trunc",
        )
    thresholds = _laid(steps, levels, whole=isinstance(root, Integers))
    if isinstance(root, Floats):
        reals = root.reals(np.clip(thresholds, root.lo, root.hi))
        thresholds = np.where(np.isfinite(thresholds), reals, thresholds)
        with np.errstate(invalid="ignore"):
            beyond = np.where(np.broadcast_to(steps.sign, chain.channels) > 0, -np.inf, np.inf).astype(np.float32)
            at_infinity, opposite = levels_of(chain, np.stack([beyond, -beyond]), scale)
        if ((thresholds == np.inf) & (levels.above_lowest[None, :] > opposite[:, None])).any():
            return Refusal(
                problem="channels of different levels, of floats: infinity reaches every level that one of them has",
                node=function.node,
                hint="quantise all channels to levels of one format",
            )
        thresholds = _above_infinity(levels, at_infinity, thresholds)
    elif root.parity is not None:
        thresholds = thresholds + (thresholds - root.parity) % 2
    if isinstance(root, Integers) and np.abs(thresholds).max(initial=0) >= EXACT:
        return Refusal(problem="sums that float32 does not hold", node=function.node, expected="24 bits")
    found = ties_of(total, chain.axis, root.scale, places, open_) if open_.any() and total is not None else None
    return Rows(shared(thresholds), steps.sign, steps.proof, ties=found)


def _above_infinity(levels: Levels, at_infinity: Float64s, thresholds: Float64s) -> Float64s:
    """The thresholds, where a level that all finite numbers reach may be one that -infinity does not."""
    is_missed = (thresholds == -np.inf) & ~(levels.above_lowest[None, :] <= at_infinity[:, None])
    return np.where(is_missed, float(np.finfo(np.float32).min), thresholds)


def ties_of(total: ir.Value, axis: int | None, unit: Float64s, sums: Float64s, open_: npt.NDArray[np.bool_]) -> Ties:
    """The ties among (sums, channels), where those are True whose level float32 leaves open."""
    rows = tuple(int(i) for i in np.flatnonzero(open_.any(axis=0)))
    count = sum(len(np.unique(np.broadcast_to(sums, open_.shape)[open_[:, row], row])) for row in rows)
    return Ties(str(total.name), axis, unit, rows, count)


def _laid(steps: Steps, levels: Levels, *, whole: bool) -> Float64s:
    """(channels, levels - 1) thresholds; those that every number reaches, or none, lie at the ends or at infinity."""
    index = levels.above_lowest[None, :] - steps.first[:, None] - 1
    count = steps.thresholds.shape[1]
    inside = np.clip(index, 0, max(count - 1, 0)).astype(np.int64)
    found = np.take_along_axis(steps.thresholds, inside, axis=1) if count else np.full(index.shape, np.inf)
    below = np.broadcast_to(steps.lo[:, None] if whole else -np.inf, index.shape)
    above = np.broadcast_to(steps.hi[:, None] + 1 if whole else np.inf, index.shape)
    found = np.where((index >= count) | ~np.isfinite(found), above, found)
    return np.where(index < 0, below, found)


def shared(thresholds: Float64s) -> npt.NDArray[np.float32]:
    """One row where all channels have the same."""
    rows = thresholds[:1] if (thresholds == thresholds[:1]).all() else thresholds
    return rows.astype(np.float32)


def is_open(chain: Chain, root: Integers, function: StepFunction, scale: Float64s) -> bool:
    """Whether a level of the quantiser that a chain ends in hangs on float32's rounding of what a sum stands for.

    Args:
        chain: Sums, and the nodes up to and with the quantiser.
        root: The sums.
        function: From the sums to the levels.
        scale: By channel, what one level stands for.
    """
    places = _places(function, root)
    return isinstance(places, Refusal) or bool(_open(chain, root, scale, places, function.proof).any())


def _places(function: StepFunction, root: Integers | Floats) -> Float64s | Refusal:
    """(n, channels) numbers whose level may hang on the rounding of what they stand for; none where that is exact."""
    if isinstance(root, Floats) or root.is_exact:
        return np.zeros((0, function.channels))
    return deciding(function)


def _open(
    chain: Chain, root: Integers | Floats, scale: Float64s, places: Float64s, proof: Proof
) -> npt.NDArray[np.bool_]:
    """Whether the level of a number changes with float32's rounding of what it stands for.

    Between the ends of what rounding can make of it a level is certain only by composition; else every float32 number
    in between is tried.
    """
    if isinstance(root, Floats) or not len(places):
        return np.zeros(places.shape, np.bool_)
    wanted, (low, high) = levels_of(chain, root.reals(places), scale), root.ends(places)
    if proof is Proof.COMPOSITION:
        return np.any([levels_of(chain, moved, scale) != wanted for moved in (low, high)], axis=0)
    first, last = (f(ordinal_of(low), ordinal_of(high)) for f in (np.minimum, np.maximum))
    found = np.zeros(wanted.shape, np.bool_)
    for distance in range(int((last - first).max()) + 1):
        found |= levels_of(chain, float_at(np.minimum(first + distance, last)), scale) != wanted
    return found
