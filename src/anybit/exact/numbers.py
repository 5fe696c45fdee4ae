"""What a chain of element-wise nodes starts from: whole numbers, float32 numbers by their ordinals, or pairs."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.tensor_values import Float64s
from anybit.arrays import Array
from anybit.exact.ordinals import LARGEST, float_at


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
        with np.errstate(over="ignore"):  # infinite, as in any runtime
            return self._exact(numbers).astype(np.float32)

    def ends(self, numbers: Float64s) -> tuple[Array, Array]:
        """Between which float32 numbers the model's own tensor lies for (n, channels) numbers."""
        exact = self._exact(numbers)
        error = np.abs(exact) * self.relative_error + np.abs(self.unit) * self.step_error
        with np.errstate(over="ignore"):
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
        """The real number that an integer of 1 stands for, without the bias."""
        return self.scale / self.divisor


@dataclass(frozen=True)
class Floats:
    """A tensor of real numbers, by their ordinals."""

    value: ir.Value
    axis: int | None = None
    scale: Float64s = field(default_factory=lambda: np.ones(1))
    lo: Float64s = field(default_factory=lambda: np.full(1, -float(LARGEST)))
    hi: Float64s = field(default_factory=lambda: np.full(1, float(LARGEST)))

    def reals(self, numbers: Float64s) -> Array:
        """The float32 numbers at these ordinals."""
        return float_at(numbers)


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
