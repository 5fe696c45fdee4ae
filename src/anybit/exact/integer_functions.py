"""What is known of a tensor when two models are compared: keys, and the step function that its elements are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.tensor_values import Float64s
from anybit.arrays import Array, content
from anybit.exact.runs import Runs
from anybit.exact.step_function import Proof, StepFunction

NO_AXIS = 0
"""The axis of channels that lie along no axis any more, since their elements were moved."""
Key = bytes
"""Digest: two tensors with one key hold the same numbers, but for the sign of zeros."""


def digest(*parts: object) -> Key:
    """One key for these parts, arrays by element type, shape and bytes."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            array: Array = part
            text = f"array {array.dtype.str} {array.shape}".encode()
            data = content(array)
        else:
            text, data = type(part).__name__.encode(), part if isinstance(part, bytes) else repr(part).encode()
        total.update(len(text).to_bytes(8) + text + len(data).to_bytes(8) + data)
    return total.digest()


@dataclass(frozen=True)
class Root:
    """Integers that both models may compute: offset + step * q for q in lo .. hi by channel, all that are possible.

    Attributes:
        key: What the integers are computed from, and how.
        lo: (channels,) or (1,).
        hi: Likewise.
        step: What the integers differ by: 2 for sums of a fixed number of products of -1 and 1.
        offset: (channels,) or (1,).
        ordinals: Whether they are the ordinals of all float32 numbers.
    """

    key: Key
    lo: Float64s
    hi: Float64s
    step: int = 1
    offset: Float64s = field(default_factory=lambda: np.zeros(1))
    ordinals: bool = False

    def integers(self, q: Float64s) -> Float64s:
        """The integers, (n, channels), of numbers q."""
        return self.offset + self.step * q


@dataclass(frozen=True)
class Function:
    """The elements of a tensor, as a function of the integers of a root, channel by channel.

    Attributes:
        root: The integers.
        steps: From them to the elements; of one channel where all elements have one function.
        rank: Number of axes of the tensor.
        axis: The axis of the channels; `NO_AXIS` where each element belongs to the channel that it had before a move.
        runs: The function as runs, once it is quantised.
        length: How many nodes it is composed of.
    """

    root: Root
    steps: StepFunction
    rank: int
    axis: int
    runs: Runs | None = None
    length: int = 0

    @property
    def channels(self) -> int:
        """How many functions there are, one for each channel."""
        return self.steps.channels

    def laid(self, array: Array) -> Array:
        """(n, channels) with as many axes as the tensor."""
        if array.shape[1] == 1:
            return array.reshape(-1, *(1,) * (self.rank - 1))
        axis = 1 if self.axis == NO_AXIS else self.axis  # nothing that varies along an axis meets it
        return array.reshape(len(array), *(-1 if i == axis else 1 for i in range(1, self.rank)))

    def content(self) -> Key | None:
        """The same for functions of one root that agree everywhere; None if it is not known as runs."""
        if self.runs is None:
            return None
        values = self.runs.values + np.zeros((), self.runs.values.dtype)  # a key leaves the sign of zero aside
        return digest("runs", self.root.key, self.axis if self.channels > 1 else 0, self.runs.starts, values)


def function_on(
    root: Root,
    evaluate: Callable[[Float64s], Array],
    *,
    rank: int,
    axis: int = 1,
    channels: int = 1,
    rising: Float64s | None = None,
) -> Function:
    """A function of the integers of a root.

    Args:
        root: The integers.
        evaluate: As `StepFunction` has it.
        rank: Number of axes of the tensor.
        axis: The axis of the channels.
        channels: Their number.
        rising: By channel, the direction that is proven by composition; None without proof.
    """
    proof = Proof.NONE if rising is None else Proof.COMPOSITION
    return Function(root, StepFunction(root.lo, root.hi, channels, evaluate, rising, proof), rank, axis)


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
