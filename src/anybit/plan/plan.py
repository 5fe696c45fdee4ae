"""Plan: a quantised network as a flat list of integer steps, with every number that an executor needs.

Tensors are arrays of bytes, of 32-bit sums or of float32 numbers. A byte b stands for the level b - zero, zero being
the tensor's own; a sum stands for itself. Channels are the last axis of what a convolution or a pool reads and makes,
so that each step says by itself how its tensors are laid. `anybit.plan.execute` is what the steps mean.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anybit.errors import Refusal

Bytes = npt.NDArray[np.uint8]
Int32s = npt.NDArray[np.int32]
Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]

VERSION = 1
"""Of the form in which plans are written."""


class Element(enum.Enum):
    """What a tensor of a plan is made of."""

    BYTE = "uint8"
    SUM = "int32"
    REAL = "float32"

    @property
    def size(self) -> int:
        """Bytes of one element."""
        return 1 if self is Element.BYTE else 4


@dataclass(frozen=True)
class Tensor:
    """One tensor of a plan, for one sample.

    Attributes:
        name: The tensor of the model whose numbers it holds.
        elements: Their number.
        element: What they are.
        zero: The byte that stands for 0; 0 for all but bytes.
        lo: Smallest number that is stored; 0 for reals.
        hi: Largest one.
        offset: Its first byte in the arena, for one sample; -1 for what the caller holds.
    """

    name: str
    elements: int
    element: Element
    zero: int = 0
    lo: int = 0
    hi: int = 0
    offset: int = -1

    @property
    def nbytes(self) -> int:
        """Bytes of one sample."""
        return self.elements * self.element.size


@dataclass(frozen=True)
class Window:
    """How a kernel slides over rows and columns; each pair is (rows, columns).

    Attributes:
        size: Of the input.
        kernel: Taps.
        strides: Distance between neighbouring windows.
        dilations: Distance between neighbouring taps.
        pads: Rows above and columns before the input; those behind it follow from `output`.
        output: Number of windows.
    """

    size: tuple[int, int]
    kernel: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int] = (0, 0)
    output: tuple[int, int] = (1, 1)


class Arithmetic(enum.Enum):
    """An operation of float32 on an element and a number."""

    ADD = "add"
    SUBTRACT = "subtract"
    SUBTRACT_FROM = "subtract from"
    """The number less the element."""
    MULTIPLY = "multiply"
    DIVIDE = "divide"


@dataclass(frozen=True)
class FloatStep:
    """One operation of IEEE 754 in float32, rounded to nearest; nothing is contracted.

    Attributes:
        operation: Which one.
        numbers: The other operand, (1,) or (channels,).
    """

    operation: Arithmetic
    numbers: Float32s


@dataclass(frozen=True)
class Thresholds:
    """stored = base + step * |{k : sum >= thresholds[c, k]}|.

    Attributes:
        base: (selected, channels), the byte below the first threshold.
        step: Likewise, 1, or -1 where the level falls with the sum.
        values: (selected, channels, count), ascending along the last axis; `selected` is 1, or the number of bytes of
            the tensor that selects.
    """

    base: Int32s
    step: Int32s
    values: Int32s


@dataclass(frozen=True)
class Multiplier:
    """stored = clip(half_even(fl(fl(factor * sum + bias) * multiplier)) + zero, lo, hi), certified on every step.

    Attributes:
        factor: (channels,), integers.
        bias: (channels,), integers; factor * sum + bias keeps below 2^24.
        multiplier: (channels,), float32.
        zero: What is added to the rounded number.
        lo: Smallest byte.
        hi: Largest one.
    """

    factor: Int32s
    bias: Int32s
    multiplier: Float32s
    zero: int
    lo: int
    hi: int


@dataclass(frozen=True)
class Epilogue:
    """How bytes come from sums: by one of the two.

    Attributes:
        thresholds: By comparison.
        multiplier: By a certified multiplier and bias.
    """

    thresholds: Thresholds | None = None
    multiplier: Multiplier | None = None


@dataclass(frozen=True)
class Quantize:
    """Bytes of reals, by the graph's own float32 arithmetic.

    v = steps(x), then v / scale + zero_point; stored = half_even(clip(v, lo, hi)) - lo.
    A channel of a NaN has no level: executors say so and compute nothing.

    Attributes:
        x: Reals, (channels, positions) if `channels_first`, else (positions, channels).
        y: Bytes, (positions, channels).
        channels: Number of channels.
        channels_first: How x is laid.
        steps: What the graph computes before the quantiser.
        scale: (1,) or (channels,), float32.
        zero_point: Likewise.
        lo: Smallest integer of the quantiser.
        hi: Largest one.
    """

    x: int
    y: int
    channels: int
    channels_first: bool
    steps: tuple[FloatStep, ...]
    scale: Float32s
    zero_point: Float32s
    lo: int
    hi: int


@dataclass(frozen=True)
class Compare:
    """stored = base + step * |{k : x >= thresholds[c, k]}|: bytes of reals, by float32 thresholds.

    Attributes:
        x: Reals, laid as in `Quantize`.
        y: Bytes, (positions, channels).
        channels: Number of channels.
        channels_first: How x is laid.
        base: (channels,) or (1,).
        step: Likewise, 1 or -1.
        thresholds: (channels or 1, count), ascending.
    """

    x: int
    y: int
    channels: int
    channels_first: bool
    base: Int32s
    step: Int32s
    thresholds: Float32s


@dataclass(frozen=True)
class Product:
    """sum[o] = offset[o] + sum over taps and channels of w[o, tap, c] * byte; bytes beyond the edge are the zero of x.

    Attributes:
        x: Bytes, or sums where they are multiplied again, such as those of a mean: (rows, columns, channels).
        y: Sums, or bytes where there is an epilogue: (rows, columns, outputs).
        window: Geometry; a matrix product has a kernel of one tap.
        group: Number of groups of channels.
        weights: (outputs, rows, columns, channels of a group), int8.
        offset: (outputs,): what takes the zero of x off.
        lo: (outputs,), the smallest sum that occurs.
        hi: (outputs,), the largest.
        epilogue: How y comes from the sums; None where y holds the sums.
        bits: Bit width of the weights: 1 where all are -1 or 1.
    """

    x: int
    y: int
    window: Window
    group: int
    weights: npt.NDArray[np.int8]
    offset: Int32s
    lo: Int32s
    hi: Int32s
    epilogue: Epilogue | None = None
    bits: int = 8

    @property
    def channels(self) -> int:
        """Channels of x."""
        return self.weights.shape[3] * self.group

    @property
    def macs(self) -> int:
        """Multiplications for one sample."""
        return self.weights.size * self.window.output[0] * self.window.output[1]


@dataclass(frozen=True)
class Requantize:
    """Bytes of sums.

    Attributes:
        x: Sums, (positions, channels).
        y: Bytes, likewise.
        epilogue: How.
        selector: Bytes, likewise, that select the thresholds of each element; None where there is one list.
    """

    x: int
    y: int
    channels: int
    epilogue: Epilogue
    selector: int | None = None


@dataclass(frozen=True)
class Table:
    """stored = table[c, x]: a function of a level.

    Attributes:
        x: Bytes, (positions, channels).
        y: Bytes, likewise.
        channels: Number of channels.
        table: (channels or 1, 256).
    """

    x: int
    y: int
    channels: int
    table: Bytes


@dataclass(frozen=True)
class PairTable:
    """stored = table[c, a, b]: a function of two levels, such as a residual sum.

    Attributes:
        a: Bytes, (positions, channels).
        b: Bytes, likewise.
        y: Bytes, likewise.
        channels: Number of channels.
        table: (channels or 1, bytes of a, bytes of b).
    """

    a: int
    b: int
    y: int
    channels: int
    table: Bytes


class PoolKind(enum.Enum):
    """What a pool makes of a window."""

    MAX = "max"
    """The largest number; what lies beyond the edge does not count."""
    SUM = "sum"
    """Of the levels of bytes, the sum; what lies beyond the edge counts as 0."""


@dataclass(frozen=True)
class Pool:
    """The largest number, or the sum of the levels, of each window.

    Attributes:
        x: Bytes or sums, (rows, columns, channels).
        y: Of the same element for MAX, sums for SUM.
        kind: Which of the two.
        channels: Number of channels.
        window: Geometry.
    """

    x: int
    y: int
    kind: PoolKind
    channels: int
    window: Window


@dataclass(frozen=True)
class Move:
    """y[i] = x[index[i]], and the zero of x where index[i] is -1: Transpose, Split, Pad, Resize to the nearest...

    Attributes:
        x: Any tensor.
        y: Of the same element and zero.
        index: (elements of y,).
    """

    x: int
    y: int
    index: Int32s


@dataclass(frozen=True)
class Join:
    """Concat: rows of `lengths[i]` bytes of each tensor side by side, shifted to the zero of y.

    Attributes:
        xs: Bytes.
        y: Bytes.
        lengths: Elements of one row of each.
        shifts: What is added to the bytes of each.
    """

    xs: tuple[int, ...]
    y: int
    lengths: tuple[int, ...]
    shifts: tuple[int, ...]


@dataclass(frozen=True)
class Dequantize:
    """y = steps(fl(scale * k / divisor + bias)), k being the level or the sum; the inner formula in float64.

    Attributes:
        x: Bytes or sums, (positions, channels).
        y: Reals, (channels, positions) if `channels_first`, else (positions, channels).
        channels: Number of channels.
        channels_first: How y is laid.
        scale: (1,) or (channels,), float64.
        divisor: Number of elements that were added up for a mean.
        bias: Likewise as scale.
        steps: What the graph computes behind it.
    """

    x: int
    y: int
    channels: int
    channels_first: bool
    scale: Float64s
    divisor: float
    bias: Float64s
    steps: tuple[FloatStep, ...]


@dataclass(frozen=True)
class LookUp:
    """y = table[c, x - lo]: a real function of a level or of a sum.

    Attributes:
        x: Bytes or sums, (positions, channels).
        y: Reals, laid as in `Dequantize`.
        channels: Number of channels.
        channels_first: How y is laid.
        lo: The number that the first column is for.
        table: (channels or 1, numbers), float32.
    """

    x: int
    y: int
    channels: int
    channels_first: bool
    lo: int
    table: Float32s


@dataclass(frozen=True)
class Softmax:
    """y[i] = exp(x[i] - max x) / sum over j of exp(x[j] - max x), row by row, in float64 and rounded at the end.

    Attributes:
        x: Reals, (rows, length).
        y: Reals, likewise.
        length: Of a row.
    """

    x: int
    y: int
    length: int


Step = (
    Quantize | Compare | Product | Requantize | Table | PairTable | Pool | Move | Join | Dequantize | LookUp | Softmax
)
"""One layer of a plan."""


@dataclass(frozen=True)
class Port:
    """An input or an output of a plan.

    Attributes:
        name: Its tensor in the model.
        tensor: Index among the tensors of the plan.
        shape: Of one sample, as the model has it.
    """

    name: str
    tensor: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """A network, or the part of it that integers carry, ready to be executed; samples stand side by side.

    Attributes:
        tensors: All tensors.
        steps: The layers, in order.
        inputs: Reals that the caller gives.
        outputs: Reals that the caller gets.
        arena: Bytes of memory for what lies between, for one sample.
        nodes: How messages name the nodes that the plan computes.
        refusals: What of the model is no plan, and why.
    """

    tensors: tuple[Tensor, ...]
    steps: tuple[Step, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    arena: int
    nodes: tuple[str, ...]
    refusals: tuple[Refusal, ...] = ()

    @property
    def macs(self) -> int:
        """Multiplications for one sample."""
        return sum(s.macs for s in self.steps if isinstance(s, Product))


def reads(step: Step) -> tuple[int, ...]:
    """The tensors that a step reads."""
    match step:
        case Join():
            return step.xs
        case PairTable():
            return (step.a, step.b)
        case Requantize():
            return (step.x,) if step.selector is None else (step.x, step.selector)
        case _:
            return (step.x,)
