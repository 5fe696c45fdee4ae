"""What is known of a tensor when two models are compared: keys, and how its elements follow from integers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.tensor_values import Float64s
from anybit.arrays import Array, content
from anybit.errors import Refusal
from anybit.exact.runs import Runs, runs_of
from anybit.exact.step_function import Proof, StepFunction

WIDEST = 24
"""Bits whose integers float32 holds."""
MOST_LEVELS = 1 << 16
"""Levels of one function that are looked for."""
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


def with_runs(function: Function) -> Function:
    """The function with its runs, as far as they can be found."""
    runs = runs_of(function.steps)
    return replace(function, runs=None if isinstance(runs, Refusal) else runs)


@dataclass(frozen=True)
class Error:
    """How far a number may be from x: by no more than relative * |x| or absolute, one of which is 0."""

    relative: float = 0.0
    absolute: float = 0.0


@dataclass(frozen=True)
class Enclosure:
    """A tensor that is known but for an error: each element lies between two functions of the integers of one root.

    Attributes:
        lower: Never above the element; it rises or falls with the integers, as `upper` does.
        upper: Never below it.
        integers: The whole numbers that the tensor stands for, where its elements are these times `scale` but for the
            error; None elsewhere.
        scale: What one of them stands for.
        error: How far an element may be from that.
    """

    lower: Function
    upper: Function
    integers: Function | None = None
    scale: float = 1.0
    error: Error | None = None


@dataclass(frozen=True, eq=False)
class Kernel:
    """The integers behind a quantised tensor: element = scale * integer, integers lo .. hi without a common factor.

    Attributes:
        key: Which integers they are.
        lo: Smallest integer.
        hi: Largest one.
        scale: (1,) or (channels,).
        factor: What was divided out of the integers of the analysis.
        step: Common divisor of the differences between integers that occur: 2 of a bipolar tensor.
    """

    key: Key
    lo: float
    hi: float
    scale: Float64s
    factor: int
    step: int


def kernel_of(function: Function, scale: Float64s) -> Kernel | None:
    """The integers behind a function whose values are whole multiples of a scale, (1,) or (channels,); else None."""
    runs = function.runs
    if runs is None or scale.size not in (1, function.channels):
        return None
    integers = np.rint(runs.values.astype(np.float64) / scale)
    if not np.isfinite(integers).all() or np.abs(integers).max(initial=0) > 1 << WIDEST:
        return None
    whole = integers[np.isfinite(runs.starts)]
    factor = int(np.gcd.reduce(np.abs(whole).astype(np.int64))) or 1
    scale, integers = scale * factor, integers / factor + 0.0
    if ((integers * scale).astype(runs.values.dtype) != runs.values).any():
        return None
    starts, channels = runs.starts, function.channels
    if (integers == integers[:, :1]).all() and (starts == starts[:, :1]).all():
        starts, integers, channels = starts[:, :1], integers[:, :1], 1
    steps = replace(function.steps, channels=channels)
    key = digest("kernel", replace(function, steps=steps, runs=Runs(starts, integers, 0)).content())
    lo, hi = float(whole.min()) / factor, float(whole.max()) / factor
    apart = int(np.gcd.reduce(np.abs(whole / factor - lo).astype(np.int64)))
    return Kernel(key, lo, hi, scale, factor, max(apart, 1))


@dataclass(frozen=True)
class Number:
    """What is known of a tensor for comparing it with those of another model.

    Attributes:
        key: Two tensors of one key hold the same numbers, but for the sign of zeros.
        structure: Two tensors of one structure are computed the same way, from the inputs on.
        bits: Two tensors of one such key hold the same numbers, and zeros of the same sign.
        function: How its elements follow from integers, where that is known.
        enclosure: Between which functions of integers they lie, where that alone is known.
        node: The node that makes it.
    """

    key: Key
    structure: Key
    bits: Key
    function: Function | None = None
    node: ir.Node | None = None
    enclosure: Enclosure | None = None
