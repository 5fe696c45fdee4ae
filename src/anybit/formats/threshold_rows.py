"""Rows: the thresholds of a staircase as MultiThreshold has them, and why they are right for every number."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.analysis.values.tensor import Float64s
from anybit.errors import Refusal
from anybit.formats.staircases import Chain, Floats, Integers, Pairs, Staircase, levels_of
from anybit.formats.steps import Steps, steps_of
from anybit.ops.nodes import label

_MOST_VALUES = 1 << 24  # that are tried one by one
_MOST_THRESHOLDS = 1 << 24
_EXACT = float(1 << 24)  # up to here float32 holds every integer
SAME = 2.0**-22
"""Relative distance of scales that are the same but for rounding, as in `anybit.analysis.values.tensor.common_grid`."""
_DENOMINATORS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256, 512, 1024, 4096)
# Rising in real arithmetic; computed in double precision, which is not proven to rise.
_TRANSCENDENTAL = frozenset("Celu Elu Erf Exp Log Selu Sigmoid Softplus Softsign Sqrt Tanh".split())


class Proof(enum.Enum):
    """How thresholds were shown to be exact for every number that can occur."""

    BISECTION = "bisection of nodes that rise or fall"
    """Each node of the chain rises or falls; it was computed at both sides of every threshold."""
    ENUMERATION = "every number"
    """The chain was computed for every number."""
    PAIRS = "every pair of numbers"
    """The chain was computed for every pair of numbers whose sum is read."""


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
        proof: How they were shown to be exact.
        ties: The sums for which they are not, where that was allowed.
    """

    thresholds: npt.NDArray[np.float32]
    sign: Float64s
    proof: Proof
    multipliers: tuple[int, int] | None = None
    ties: Ties | None = None


def rows_of(staircase: Staircase, levels: Levels, *, ties: bool = False) -> Rows | Refusal:
    """The thresholds of every level, by bisection of the staircase."""
    if staircase.channels * (levels.hi - levels.lo) > _MOST_THRESHOLDS:
        return Refusal(problem="too many thresholds", node=label(staircase.quantizer), got=f"{levels.hi - levels.lo}")
    steps = steps_of(staircase)
    if isinstance(steps, Refusal):
        return steps
    root = staircase.root
    places, open_ = _open_places(staircase, steps)
    total = root.total if isinstance(root, Integers) and root.divisor == 1 else None
    if not np.isfinite(steps.lo).all() or (open_.any() and (total is None or not ties)):
        return Refusal(
            problem="float rounding before it decides between two levels",
            node=label(staircase.quantizer),
            hint="use a scale that is a power of two, or Trunc",
        )
    proof = _proof(staircase, steps)
    if isinstance(proof, Refusal):
        return proof
    thresholds = _laid(steps, levels, whole=isinstance(root, Integers))
    if isinstance(root, Floats):
        places = np.clip(thresholds, root.lo, root.hi)
        reals = root.reals(places)
        thresholds = np.where(np.isfinite(thresholds), reals, thresholds)
        thresholds = _above_infinity(staircase, steps, levels, thresholds)
    elif root.parity is not None:
        thresholds = thresholds + (thresholds - root.parity) % 2
    if isinstance(root, Integers) and np.abs(thresholds).max(initial=0) >= _EXACT:
        return Refusal(problem="sums that float32 does not hold", node=label(staircase.quantizer), expected="24 bits")
    found = (
        _ties_of(total, staircase.chain.axis, root.scale, places, open_) if open_.any() and total is not None else None
    )
    return Rows(shared(thresholds), steps.sign, proof, ties=found)


def _above_infinity(staircase: Staircase, steps: Steps, levels: Levels, thresholds: Float64s) -> Float64s:
    """The thresholds, where a level that all finite numbers reach may be one that -infinity does not."""
    with np.errstate(invalid="ignore"):
        reached = staircase.levels_of(np.where(steps.sign > 0, -np.inf, np.inf).astype(np.float32)[None])[0]
    is_missed = (thresholds == -np.inf) & ~(levels.above_lowest[None, :] <= reached[:, None])
    return np.where(is_missed, float(np.finfo(np.float32).min), thresholds)


def _ties_of(total: ir.Value, axis: int | None, unit: Float64s, sums: Float64s, open_: npt.NDArray[np.bool_]) -> Ties:
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


def _open_places(staircase: Staircase, steps: Steps) -> tuple[Float64s, npt.NDArray[np.bool_]]:
    """(places, channels): numbers beside the thresholds, and whether their level changes with float32's rounding."""
    at = np.where(np.isfinite(steps.thresholds), steps.thresholds, steps.hi[:, None]).T
    places = np.clip(np.concatenate([at, at - 1, steps.lo[None], steps.hi[None]]), steps.lo, steps.hi) * steps.sign
    root = staircase.root
    if isinstance(root, Floats) or root.is_exact:
        return places, np.zeros(places.shape, np.bool_)
    if staircase.rising is None or _is_doubtful(staircase):  # between two reals it may have any level
        return places, np.ones(places.shape, np.bool_)
    wanted = staircase.levels(places)
    return places, np.any([staircase.levels_of(end) != wanted for end in root.ends(places)], axis=0)


def _is_doubtful(staircase: Staircase) -> bool:
    """Whether a library function stands in its chain, which is not proven to rise."""
    return any(n.op_type in _TRANSCENDENTAL for n in staircase.tail)


def _proof(staircase: Staircase, steps: Steps) -> Proof | Refusal:
    """Every number is tried where a library function is not proven to rise, as far as they are not too many."""
    if staircase.rising is None:
        return Proof.ENUMERATION
    width = int((steps.hi - steps.lo).max(initial=0)) + 1
    if not _is_doubtful(staircase) or width * staircase.channels > _MOST_VALUES:
        return Proof.BISECTION
    numbers = np.minimum(staircase.lo + np.arange(width)[:, None], staircase.hi)
    for part in np.array_split(numbers, max(numbers.size // (1 << 18), 1)):
        if not np.array_equal(staircase.levels(part), steps.levels(part)):
            return Refusal(problem="the activation is not monotone", node=label(staircase.quantizer))
    return Proof.ENUMERATION


def pair_rows(
    chain: Chain, pairs: Pairs, scale: Float64s, levels: Levels, node: ir.Node, *, ties: bool = False
) -> Rows | Refusal:
    """The thresholds of p * a + q * b, for the smallest whole p and q whose sums decide every pair's level."""
    a, b = (_every(part) for part in (pairs.a, pairs.b))
    if len(a) * len(b) * chain.channels > _MOST_VALUES:
        return Refusal(problem="too many pairs of numbers to try", node=label(node), got=f"{len(a)} * {len(b)}")
    left, right = np.repeat(a, len(b)), np.tile(b, len(a))
    reals = pairs.a.reals(left[:, None]) + pairs.b.reals(right[:, None])
    reached = levels_of(chain, reals, scale)
    if not _is_certain(chain, pairs, scale, (left[:, None], right[:, None], reached)):
        return Refusal(
            problem="float rounding before it decides between two levels",
            node=label(node),
            hint="use scales that are powers of two, or Trunc",
        )
    falls = chain.rising is not None and (chain.rising < 0).all()
    sign = np.full(chain.channels, -1.0 if falls else 1.0)
    for p, q in _multipliers(pairs):
        sums = (p * left + q * right) * sign[0]
        found = _ordered(sums, reached, levels)
        if found is not None and np.abs(sums).max(initial=0) < _EXACT:
            return Rows(shared(found), sign, Proof.PAIRS, (p, q))
    tied = _tied_rows(chain, pairs, scale, levels, (left, right, reached), sign) if ties else None
    return tied or Refusal(
        problem="no whole multiples of its summands decide its levels",
        node=label(node),
        got=f"scales {float(pairs.a.unit[0]):g} and {float(pairs.b.unit[0]):g}",
        hint="give both summands one scale",
    )


def _is_certain(chain: Chain, pairs: Pairs, scale: Float64s, tried: tuple[Float64s, Float64s, Float64s]) -> bool:
    """Whether every pair has its level whatever rounding made of the two summands."""
    if pairs.a.is_exact and pairs.b.is_exact:
        return True
    if chain.rising is None or any(step.node.op_type in _TRANSCENDENTAL for step in chain.steps):
        return False
    left, right, reached = tried
    ends = zip(pairs.a.ends(left), pairs.b.ends(right), strict=True)
    return all(np.array_equal(levels_of(chain, a + b, scale), reached) for a, b in ends)


def _tied_rows(
    chain: Chain,
    pairs: Pairs,
    scale: Float64s,
    levels: Levels,
    tried: tuple[Float64s, Float64s, Float64s],
    sign: Float64s,
) -> Rows | None:
    """The thresholds of sums rounded once, if pairs of one sum differ by one level at most; None if they do not."""
    p, q = next(_multipliers(pairs))
    left, right, reached = tried
    unit = pairs.a.unit / p
    if pairs.a.bias is not None or pairs.b.bias is not None or (np.abs(pairs.b.unit / q / unit - 1) > SAME).any():
        return None
    sums = p * left + q * right
    once = levels_of(chain, (sums[:, None] * unit).astype(np.float32), scale)
    found = _ordered(sums * sign[0], once, levels)
    if found is None or np.abs(once - reached).max(initial=0) > 1 or np.abs(sums).max(initial=0) >= _EXACT:
        return None
    found_ties = _ties_of(pairs.total, chain.axis, unit, sums[:, None], once != reached)
    return Rows(shared(found), sign, Proof.PAIRS, (p, q), found_ties)


def _every(numbers: Integers) -> Float64s:
    return np.arange(numbers.lo.min(initial=0), numbers.hi.max(initial=0) + 1)


def _multipliers(pairs: Pairs) -> Iterator[tuple[int, int]]:
    """Whole numbers whose ratio is, more and more closely, that of the scales."""
    ratio = Fraction(float(pairs.a.unit[0]) / float(pairs.b.unit[0]))
    tried = dict.fromkeys(ratio.limit_denominator(d) for d in _DENOMINATORS)
    inverse = dict.fromkeys(1 / r for d in _DENOMINATORS if (r := (1 / ratio).limit_denominator(d)))
    both = sorted({*(f for f in tried if f), *inverse}, key=lambda f: f.numerator + f.denominator)
    return ((f.numerator, f.denominator) for f in both)


def _ordered(sums: Float64s, reached: Float64s, levels: Levels) -> Float64s | None:
    """The thresholds of (pairs,) sums, if the (pairs, channels) levels rise with them."""
    order = np.argsort(sums, kind="stable")
    sums, reached = sums[order], reached[order]
    rise, step = np.diff(reached, axis=0), np.diff(sums)[:, None]
    if (rise < 0).any() or ((rise != 0) & (step == 0)).any():
        return None
    ends = np.append(sums, sums[-1] + 1)
    return np.stack([ends[(reached < level).sum(axis=0)] for level in levels.above_lowest], axis=1)
