"""Staircase: the function from whole numbers in a written model to the levels of a hub quantiser, channel by channel.

Whole numbers are what the written model computes with: sums of products, levels of a quantiser, sums of a pooling
window. Where a quantiser reads real numbers, they are the places of the float32 numbers in their order.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.analysis.values.tensor import Float64s
from anybit.ops.operator import Array
from anybit.ops.standard.kernels import Kernel

_LARGEST_PLACE = 0x7F7FFFFF  # of the largest float32 number


@dataclass(frozen=True)
class Integers:
    """A tensor of whole numbers; k stands for fl((scale * k) / divisor + bias). Arrays are by channel, or single.

    Attributes:
        value: The tensor of the written model.
        axis: Along which the arrays vary; None where they are single.
        scale: What one unit stands for, times the divisor.
        lo: Smallest number that occurs.
        hi: Largest one.
        bias: What a product adds to its sums; None where nothing is added.
        divisor: Number of elements that were added up for a mean.
        relative_error: How far float arithmetic of the model may be from that number, as a share of it.
        step_error: How far it may be from it besides, in units: where summands of both signs cancel, rounding
            errors are no share of the sum.
        parity: 0 or 1 where every number is even or odd; None where both occur.
        mac: The node that makes them, while nothing else reads them or needs their sign: its weights may be negated.
        total: The tensor of the hub that adds two others up to them; None where they are no such sum.
    """

    value: ir.Value
    axis: int | None
    scale: Float64s
    lo: Float64s
    hi: Float64s
    bias: Float64s | None = None
    divisor: float = 1.0
    relative_error: float = 0.0
    step_error: float = 0.0
    parity: int | None = None
    mac: ir.Node | None = None
    total: ir.Value | None = None

    def reals(self, numbers: Float64s) -> Array:
        """What (n, channels) numbers stand for."""
        return self._exact(numbers).astype(np.float32)

    def ends(self, numbers: Float64s) -> tuple[Array, Array]:
        """Between which float32 numbers the model's own tensor lies for (n, channels) numbers."""
        exact = self._exact(numbers)
        error = np.abs(exact) * self.relative_error + np.abs(self.unit) * self.step_error
        return (exact - error).astype(np.float32), (exact + error).astype(np.float32)

    def _exact(self, numbers: Float64s) -> Float64s:
        exact = numbers * self.scale / self.divisor
        return exact if self.bias is None else exact + self.bias

    @property
    def is_exact(self) -> bool:
        """Whether the model's own tensor is what the numbers stand for, bit for bit."""
        return not self.relative_error and not self.step_error

    @property
    def unit(self) -> Float64s:
        """What one unit stands for."""
        return self.scale / self.divisor


@dataclass(frozen=True)
class Floats:
    """A tensor of real numbers, by their places: 0 is at 0, the next float32 above it at 1, and so on."""

    value: ir.Value
    axis: int | None = None
    scale: Float64s = field(default_factory=lambda: np.ones(1))
    lo: Float64s = field(default_factory=lambda: np.full(1, -float(_LARGEST_PLACE)))
    hi: Float64s = field(default_factory=lambda: np.full(1, float(_LARGEST_PLACE)))

    def reals(self, numbers: Float64s) -> Array:
        """The float32 numbers at these places."""
        magnitude = np.abs(numbers).astype(np.uint32).view(np.float32)
        return np.where(numbers < 0, -magnitude, magnitude)


@dataclass(frozen=True)
class Pairs:
    """The sum of two tensors of whole numbers, fl(fl(scale_a * a) + fl(scale_b * b)).

    Attributes:
        a: First summand.
        b: Second one.
        total: The tensor of the hub that is their sum.
    """

    a: Integers
    b: Integers
    total: ir.Value


@dataclass(frozen=True)
class Step:
    """One element-wise node, with parameters that broadcast to (n, channels)."""

    node: ir.Node
    kernel: Kernel
    position: int
    parameters: tuple[Array | None, ...]

    def __call__(self, x: Array) -> Array:
        """The node's output for (n, channels) numbers."""
        (y,) = self.kernel([*self.parameters[: self.position], x, *self.parameters[self.position + 1 :]])
        return y


@dataclass(frozen=True)
class Chain:
    """A tensor of a hub model as element-wise nodes behind whole numbers.

    Attributes:
        root: The numbers.
        axis: Along which the function varies; None where it does not.
        channels: Number of functions along it, or 1.
        steps: The nodes, in order.
        rising: By channel, 1 where the tensor rises with the numbers, -1 where it falls; None where that is not known.
        private: Whether nothing else reads any tensor between the numbers and this one.
    """

    root: Integers | Floats | Pairs
    axis: int | None
    channels: int
    steps: tuple[Step, ...] = ()
    rising: Float64s | None = field(default_factory=lambda: np.ones(1))
    private: bool = True

    def __call__(self, reals: Array) -> Array:
        """The tensor for reals of the root, (n, channels) or (n, 1)."""
        current = np.broadcast_to(reals, (len(reals), self.channels))
        for step in self.steps:
            current = step(current)
        return current

    @property
    def plain(self) -> Integers | None:
        """The numbers, if they are whole and nothing is done to them."""
        return self.root if not self.steps and isinstance(self.root, Integers) else None


def chain_of(root: Integers | Floats | Pairs) -> Chain:
    """The numbers themselves."""
    parts = (root.a, root.b) if isinstance(root, Pairs) else (root,)
    signs = np.broadcast_arrays(*(np.sign(part.scale) for part in parts))
    axis = next((part.axis for part in parts if part.axis is not None), None)
    return Chain(root, axis, len(signs[0]), rising=signs[0] if all((s == signs[0]).all() for s in signs) else None)


@dataclass(frozen=True)
class Staircase:
    """level = rint(f(number) / scale), f being what leads to a quantiser.

    Attributes:
        chain: Numbers, and the nodes up to and with the quantiser; not of pairs.
        root: The numbers.
        scale: By channel, what one level stands for.
        quantizer: The node that makes the levels.
    """

    chain: Chain
    root: Integers | Floats
    scale: Float64s
    quantizer: ir.Node

    @property
    def tail(self) -> tuple[ir.Node, ...]:
        """The nodes between, the quantiser included."""
        return tuple(s.node for s in self.chain.steps) or (self.quantizer,)

    @property
    def channels(self) -> int:
        """Number of functions."""
        return self.chain.channels

    @property
    def lo(self) -> Float64s:
        """By channel, the smallest number."""
        return np.broadcast_to(self.root.lo, self.channels)

    @property
    def hi(self) -> Float64s:
        """By channel, the largest number."""
        return np.broadcast_to(self.root.hi, self.channels)

    @property
    def rising(self) -> npt.NDArray[np.bool_] | None:
        """By channel, whether the level rises; None where that is not known."""
        along = self.chain.rising
        return None if along is None else np.broadcast_to(along, self.channels) > 0

    def levels(self, accumulators: Float64s) -> Float64s:
        """The levels for (n, channels) numbers."""
        return self.levels_of(self.root.reals(accumulators))

    def levels_of(self, reals: Array) -> Float64s:
        """The levels for what the numbers stand for."""
        return levels_of(self.chain, reals, self.scale)


def levels_of(chain: Chain, reals: Array, scale: Float64s) -> Float64s:
    """The levels at the end of a chain that ends in a quantiser."""
    return np.rint(chain(reals).astype(np.float64) / scale)
