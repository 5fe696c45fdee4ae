"""StepFunction: a function of an integer, channel by channel, and what is proven of its direction.

The integer is an accumulator, the level of a quantiser, or the ordinal of a float32 number; the function is what the
nodes behind it make of it. One standard of proof holds for all that is said about such functions:

- by composition: each node on the way is proven never to fall, or never to rise, in the arithmetic that computes it
  (see `anybit.exact.monotone`). Then the function is known everywhere once it is known on both sides of its steps.
- by enumeration: every integer of the domain was tried.
- else nothing is claimed.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from anybit.analysis.values.tensor_values import Float64s
from anybit.arrays import Array
from anybit.errors import Refusal
from anybit.exact.ordinals import INFINITY, float_at

MOST_INTEGERS = 1 << 24
"""Integers, over all channels, that are tried one by one."""
_PIECE = 1 << 18  # integers that are evaluated at a time


class Proof(enum.Enum):
    """How it was shown that a function rises or falls."""

    COMPOSITION = "composition of nodes that rise or fall"
    """Each node is proven to rise or to fall; what holds on both sides of every step holds everywhere."""
    ENUMERATION = "every number"
    """Every number of the domain was tried."""
    NONE = "no proof"
    """It is not known to rise or to fall."""


@dataclass(frozen=True)
class StepFunction:
    """A function of the integers lo .. hi, channel by channel.

    Attributes:
        lo: Smallest integer, (channels,), or (1,) for all of them.
        hi: Largest integer, likewise; below `lo` where a channel has none.
        channels: How many functions there are.
        evaluate: From (n, channels) integers to (n, channels) values, NaN where there is none; (n, 1) integers are
            the same ones for every channel.
        direction: By channel, 1 where a value is never below one of a smaller integer, -1 where it is never above;
            None without proof.
        proof: How the direction is proven.
        node: How messages name the node that makes the values.
        doubtful: How messages name the first node on the way that is not proven to rise or to fall.
    """

    lo: Float64s
    hi: Float64s
    channels: int
    evaluate: Callable[[Float64s], Array]
    direction: Float64s | None = None
    proof: Proof = Proof.NONE
    node: str = ""
    doubtful: str = ""

    def __post_init__(self) -> None:
        if (self.direction is None) != (self.proof is Proof.NONE):
            raise ValueError("a direction needs a proof, and a proof proves one")

    @property
    def total(self) -> int:
        """Number of integers, over all channels."""
        return int(np.maximum(self.hi - self.lo + 1, 0).sum()) * (self.channels // self.lo.size if self.channels else 0)

    @property
    def ends(self) -> tuple[Float64s, Float64s]:
        """The smallest and the largest integer of each channel."""
        lo, hi = (np.broadcast_to(np.asarray(end, np.float64), self.channels) for end in (self.lo, self.hi))
        return lo, hi

    def every(self) -> Float64s:
        """All integers, (n, channels) or (n, 1); where a channel has fewer, its largest one again."""
        return np.concatenate([np.zeros((0, self.lo.size)), *self.stretches()])

    def stretches(self) -> Iterator[Float64s]:
        """The same, some rows at a time."""
        width, rows = int((self.hi - self.lo).max(initial=-1)) + 1, max(_PIECE // max(self.channels, 1), 1)
        for start in range(0, width, rows):
            yield np.minimum(self.lo + np.arange(start, min(start + rows, width))[:, None], self.hi)

    def pieces(self, integers: Float64s) -> Iterator[tuple[Float64s, Array]]:
        """The integers and their values, some rows at a time."""
        rows = max(_PIECE // max(self.channels, 1), 1)
        for start in range(0, len(integers), rows):
            part = integers[start : start + rows]
            yield part, np.broadcast_to(self.evaluate(part), (len(part), self.channels))

    def __call__(self, integers: Float64s) -> Array:
        """The values of (n, channels) or (n, 1) integers."""
        values = [v for _, v in self.pieces(integers)]
        return np.concatenate(values) if values else np.zeros((0, self.channels))


def rising_in_floats(function: Callable[[Array], Array], channels: int) -> StepFunction:
    """A function of float32 as one of ordinals, from -infinity to infinity.

    Args:
        function: From (n, channels) float32 numbers to their values, proven by composition never to fall.
        channels: How many functions there are.
    """
    ends = np.full(channels, float(INFINITY))
    return StepFunction(
        lo=-ends,
        hi=ends,
        channels=channels,
        evaluate=lambda ordinals: function(float_at(ordinals)),
        direction=np.ones(channels),
        proof=Proof.COMPOSITION,
    )


def not_a_number(node: str) -> Refusal:
    """The refusal of a node whose values are no numbers for some integers."""
    return Refusal(problem="sums for which it is no number", node=node)


def without_domain(function: StepFunction) -> Refusal | None:
    """The refusal of a function of a channel without integers, or without an end; None where there is none."""
    if not (np.isfinite(function.lo) & np.isfinite(function.hi)).all():
        return Refusal(problem="sums without a bound", node=function.node)
    if (function.lo > function.hi).any():
        return Refusal(problem="no integer to evaluate it for", node=function.node)
    return None


def too_large(function: StepFunction) -> Refusal | None:
    """The refusal of a function that would have to be tried for too many integers; None where it can be tried."""
    if function.total <= MOST_INTEGERS:
        return None
    return Refusal(
        problem="not known to be monotone, and too many sums to try",
        node=function.node,
        got=f"{function.total} sums",
    )


def undecidable(function: StepFunction) -> Refusal | None:
    """The refusal of a function that has no domain, or no proof and too many integers to try; None for all others."""
    refusal = without_domain(function)
    return too_large(function) if refusal is None and function.proof is Proof.NONE else refusal


def proven(function: StepFunction) -> StepFunction | Refusal:
    """The function with a direction for every channel, by enumeration where it came without; or why it has none."""
    refusal = undecidable(function)
    if refusal is not None or function.proof is not Proof.NONE:
        return refusal or function
    rises, falls = np.ones(function.channels, np.bool_), np.ones(function.channels, np.bool_)
    last: Array | None = None
    for _, values in function.pieces(function.every()):
        if np.isnan(values).any():
            return not_a_number(function.node)
        joined = values if last is None else np.concatenate([last, values])
        rises &= (joined[1:] >= joined[:-1]).all(axis=0)
        falls &= (joined[1:] <= joined[:-1]).all(axis=0)
        last = values[-1:]
    if not (rises | falls).all():
        return Refusal(
            problem="the activation is not monotone",
            node=function.doubtful or function.node,
            got=f"{int((~(rises | falls)).sum())} of {function.channels} channels rise and fall",
        )
    return replace(function, direction=np.where(rises, 1.0, -1.0), proof=Proof.ENUMERATION)
