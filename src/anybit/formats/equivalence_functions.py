"""Functions of one integer, by channel, in a form in which equal functions are equal arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.tensor import Float64s
from anybit.ops.operator import Array

_MOST_VALUES = 1 << 22  # that are tried one by one
_MOST_LEVELS = 1 << 12  # that are bisected for

Key = bytes
"""Digest: two tensors with one key hold the same numbers, but for the sign of zeros."""


def digest(*parts: object) -> Key:
    """One key for these parts, arrays by element type, shape and bytes."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            array: Array = part
            text = f"array {array.dtype.str} {array.shape}".encode()
            data = np.ascontiguousarray(array).tobytes()
        else:
            text, data = type(part).__name__.encode(), part if isinstance(part, bytes) else repr(part).encode()
        total.update(len(text).to_bytes(8) + text + len(data).to_bytes(8) + data)
    return total.digest()


@dataclass(frozen=True)
class Root:
    """Integers that both models may compute: lo .. hi by channel, all that are possible among them.

    Attributes:
        key: What the integers are computed from, and how.
        lo: (channels,) or (1,).
        hi: Likewise.
    """

    key: Key
    lo: Float64s
    hi: Float64s

    @property
    def total(self) -> int:
        """Number of integers, over all channels."""
        return int((self.hi - self.lo + 1).sum())


@dataclass(frozen=True)
class Runs:
    """A function that is constant on runs of integers: `values[i]` from `starts[i]` on.

    Attributes:
        starts: (runs, channels), ascending; infinite where a channel has fewer runs.
        values: (runs, channels).
        tried: How many integers were evaluated to find it.
    """

    starts: Float64s
    values: Array
    tried: int


@dataclass(frozen=True)
class Function:
    """The elements of a tensor, as a function of the integers of a root, channel by channel.

    Attributes:
        root: The integers.
        evaluate: From (n, channels of the root) integers to (n, channels) elements.
        rank: Number of axes of the tensor.
        axis: The axis of the channels.
        channels: Their number; 1 where all elements have one function.
        rising: By channel, 1 where the element never falls with the integer, -1 where it never rises; None if unknown.
        runs: The function as runs, once it is quantised.
    """

    root: Root
    evaluate: Callable[[Float64s], Array]
    rank: int
    axis: int
    channels: int
    rising: Float64s | None
    runs: Runs | None = None

    def laid(self, array: Array) -> Array:
        """(n, channels) with as many axes as the tensor."""
        if array.shape[1] == 1:
            return array.reshape(-1, *(1,) * (self.rank - 1))
        return array.reshape(len(array), *(-1 if i == self.axis else 1 for i in range(1, self.rank)))

    def content(self) -> Key | None:
        """The same for functions of one root that agree everywhere; None if it is not known as runs."""
        if self.runs is None:
            return None
        values = self.runs.values + np.zeros((), self.runs.values.dtype)  # a key leaves the sign of zero aside
        return digest("runs", self.root.key, self.axis if self.channels > 1 else 0, self.runs.starts, values)


def runs_of(function: Function) -> Runs | None:
    """The function as runs; None if there are too many integers to try.

    Where it is known to rise or to fall and has few levels, they are found by bisection, else one by one; a level
    that is not finite is left to the caller's comparison of outputs.
    """
    root, channels = function.root, function.channels
    if root.total * channels // root.lo.size <= (1 << 16) or function.rising is None:
        return _enumerated(function)
    lo, hi = (np.broadcast_to(b, (channels,)) for b in (root.lo, root.hi))
    return _bisected(function, lo, hi) or _enumerated(function)


def _enumerated(function: Function) -> Runs | None:
    root = function.root
    width = int((root.hi - root.lo).max()) + 1
    if width * function.channels > _MOST_VALUES:
        return None
    integers = np.minimum(root.lo + np.arange(width)[:, None], root.hi)
    values = function.evaluate(integers)
    starts = np.broadcast_to(integers, values.shape)
    return compressed(starts, values, root.total * function.channels // root.lo.size)


def compressed(starts: Float64s, values: Array, tried: int) -> Runs:
    """Neighbouring runs of one value joined; starts ascend, and repeat, or are infinite, where a channel is shorter."""
    starts, values = starts.astype(np.float64), values.copy()
    kept = np.ones(values.shape, np.bool_)
    kept[1:] = (values[1:] != values[:-1]) & np.isfinite(starts[1:]) & (starts[1:] > starts[:-1])
    order = np.argsort(~kept, axis=0, kind="stable")
    kept = np.take_along_axis(kept, order, axis=0)
    length = int(kept.sum(axis=0).max(initial=0))
    starts = np.where(kept, np.take_along_axis(starts, order, axis=0), np.inf)[:length]
    values = np.where(kept, np.take_along_axis(values, order, axis=0), values.dtype.type(0))[:length]
    return Runs(starts, values, tried)


def _bisected(function: Function, lo: Float64s, hi: Float64s) -> Runs | None:
    """Runs of a monotone function: every run's end is bisected for, all channels at once."""
    starts, values, tried = [lo], [_at(function, lo)], 1
    current, last = lo, _at(function, hi)
    while True:
        level = values[-1]
        open_ = (level != last) & (current < hi)
        if not open_.any():
            break
        if len(starts) > _MOST_LEVELS:
            return None
        below, above = current.copy(), hi.copy()  # value(below) is the level, value(above) is beyond it
        while (open_ & (above - below > 1)).any():
            middle = np.floor((below + above) / 2)
            same = _at(function, middle) == level
            below, above = np.where(same, middle, below), np.where(same, above, middle)
            tried += 1
        current = np.where(open_, above, hi)
        starts.append(np.where(open_, above, np.inf))
        values.append(np.where(open_, _at(function, current), level))
    return compressed(np.stack(starts), np.stack(values), tried * function.channels)


def _at(function: Function, integers: Float64s) -> Array:
    """The value of each channel at its own integer."""
    if function.root.lo.size == function.channels:
        return function.evaluate(integers[None])[0]
    table = function.evaluate(integers[:, None])  # (channels, channels): one root for all channels
    return np.diagonal(table).copy()


@dataclass(frozen=True)
class Number:
    """What is known of a tensor for comparing it with those of another model.

    Attributes:
        key: Two tensors of one key hold the same numbers, but for the sign of zeros.
        structure: Two tensors of one structure are computed the same way, from the inputs on.
        bits: Two tensors of one such key hold the same numbers, and zeros of the same sign.
        function: How its elements follow from integers, where that is known.
        node: The node that makes it.
    """

    key: Key
    structure: Key
    bits: Key
    function: Function | None = None
    node: ir.Node | None = None
