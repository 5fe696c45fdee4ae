"""Steps: a step function of whole levels, as the thresholds at which the level rises."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anybit.analysis.values.tensor_values import Float64s
from anybit.errors import Refusal
from anybit.exact.runs import Runs, runs_of
from anybit.exact.step_function import Proof, StepFunction, proven

_MOST_THRESHOLDS = 1 << 24  # over all channels


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
    runs = runs_of(known)
    if isinstance(runs, Refusal):
        return runs
    sign = np.broadcast_to(np.asarray(known.direction), known.channels)
    values = runs.values.astype(np.float64)
    if not np.isfinite(values).all() or (values != np.rint(values)).any():
        return Refusal(problem="values that are no whole levels", node=function.node)
    ends = _along(sign, runs, known.ends[1])
    first, last = (np.array([levels[i] for _, levels in ends]) for i in (0, -1))
    count = int((last - first).max(initial=0))
    if count * known.channels > _MOST_THRESHOLDS:
        return Refusal(problem="too many levels", node=function.node, got=str(count + 1))
    thresholds = np.full((known.channels, count), np.inf)
    for row, (places, levels) in enumerate(ends):
        reached = np.arange(levels[0] + 1, levels[-1] + 1)
        thresholds[row, : len(reached)] = places[np.searchsorted(levels, reached)]
    low, high = (sign * end for end in known.ends)
    return Steps(sign, first, thresholds, np.minimum(low, high), np.maximum(low, high), known.proof)


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
