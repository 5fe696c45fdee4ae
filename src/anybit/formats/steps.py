"""Steps: the function of an integer layer from accumulator to level, as the thresholds at which the level rises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.analysis.values.tensor import Float64s
from anybit.errors import Refusal
from anybit.formats.monotone import NEITHER
from anybit.ops.nodes import label

_MOST_VALUES = 1 << 24  # that are tried one by one where nothing proves that the function is monotone
_MOST_LEVELS = 1 << 16


class Stepped(Protocol):
    """A function from integers lo .. hi to levels, channel by channel; see `layers.IntegerLayer`."""

    @property
    def lo(self) -> Float64s: ...
    @property
    def hi(self) -> Float64s: ...
    @property
    def channels(self) -> int: ...
    @property
    def rising(self) -> npt.NDArray[np.bool_] | None: ...
    @property
    def tail(self) -> tuple[ir.Node, ...]: ...
    @property
    def quantizer(self) -> ir.Node: ...
    def levels(self, accumulators: Float64s) -> Float64s: ...


@dataclass(frozen=True)
class Steps:
    """level = first + (number of thresholds that are <= sign * accumulator), for every accumulator lo .. hi.

    Attributes:
        sign: By channel, 1 where the level rises with the accumulator, -1 where it falls.
        first: By channel, the lowest level.
        thresholds: (channels, levels - 1), ascending, in units of sign * accumulator; one that no accumulator
            reaches is infinite.
        lo: By channel, the smallest sign * accumulator.
        hi: By channel, the largest.
    """

    sign: Float64s
    first: Float64s
    thresholds: Float64s
    lo: Float64s
    hi: Float64s

    def levels(self, accumulators: Float64s) -> Float64s:
        """The levels of (n, channels) accumulators."""
        signed = accumulators * self.sign
        return self.first + (signed[:, :, None] >= self.thresholds).sum(axis=2)


def steps_of(layer: Stepped) -> Steps | Refusal:
    """The layer's thresholds, exact over the whole interval of its accumulator.

    Where every node of the tail is known to rise or to fall, each threshold is found by bisection on the layer's own
    reference; else every accumulator is tried.
    """
    if layer.rising is not None:
        return _bisected(layer, np.where(layer.rising, 1.0, -1.0))
    if (layer.hi - layer.lo + 1).sum() > _MOST_VALUES:
        return Refusal(
            problem="not known to be monotone, and too many sums to try",
            node=label(layer.quantizer),
            got=f"{int((layer.hi - layer.lo + 1).sum())} sums",
        )
    return _enumerated(layer)


def _bisected(layer: Stepped, sign: Float64s) -> Steps | Refusal:
    lo, hi = np.minimum(sign * layer.lo, sign * layer.hi), np.maximum(sign * layer.lo, sign * layer.hi)
    first, last = (layer.levels((sign * end)[None])[0] for end in (lo, hi))
    if not np.isfinite(last - first).all():
        return Refusal(problem="sums for which it is no number", node=label(layer.quantizer))
    count = int((last - first).max(initial=0))
    if count > _MOST_LEVELS:
        return Refusal(problem="too many levels", node=label(layer.quantizer), got=str(count + 1))
    wanted = first + 1 + np.arange(count)[:, None]  # (levels - 1, channels)
    below, above = np.broadcast_to(lo, wanted.shape).copy(), np.broadcast_to(hi, wanted.shape).copy()
    while (above - below > 1).any():
        middle = np.floor((below + above) / 2)
        reached = layer.levels(sign * middle) >= wanted
        above, below = np.where(reached, middle, above), np.where(reached, below, middle)
    thresholds = np.where(wanted > last, np.inf, above)
    return Steps(sign, first, thresholds.T, lo, hi)


def _enumerated(layer: Stepped) -> Steps | Refusal:
    width = int((layer.hi - layer.lo).max(initial=0)) + 1
    accumulators = np.minimum(layer.lo + np.arange(width)[:, None], layer.hi)
    levels = layer.levels(accumulators)
    if np.isnan(levels).any():
        return Refusal(problem="sums for which it is no number", node=label(layer.quantizer))
    rises, falls = (levels[1:] >= levels[:-1]).all(axis=0), (levels[1:] <= levels[:-1]).all(axis=0)
    if not (rises | falls).all():
        return Refusal(
            problem="the activation is not monotone",
            node=label(next((n for n in layer.tail if n.op_type in NEITHER), layer.tail[0])),
            got=f"{int((~(rises | falls)).sum())} of {layer.channels} channels rise and fall",
        )
    return _bisected(layer, np.where(rises, 1.0, -1.0))
