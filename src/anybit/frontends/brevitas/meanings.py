"""What a quantiser of Brevitas computes, in the operators of `anybit.frontends.torch`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from anybit.frontends.torch.operators.bipolar_quant import bipolar_quant
from anybit.frontends.torch.operators.float_quant import float_quant
from anybit.frontends.torch.operators.quant import quant
from anybit.rounding import Rounding

_ROUNDINGS = {
    "RoundSte": Rounding.ROUND,
    "FloorSte": Rounding.FLOOR,
    "CeilSte": Rounding.CEIL,
    "RoundToZeroSte": Rounding.DOWN,
}
_BINARY = ("BinaryQuant", "ClampedBinaryQuant")


def rounding_of(tensor_quant: Any) -> Rounding | None:
    """The mode that a quantiser rounds by; None where Quant has no such mode, or the quantiser is of another kind."""
    kind = type(tensor_quant).__name__
    if kind == "TernaryQuant":  # 0 on both thresholds
        return Rounding.HALF_DOWN if tensor_quant.threshold == 0.5 else None
    inner = getattr(tensor_quant, "int_quant", tensor_quant)
    return _ROUNDINGS.get(type(getattr(inner, "float_to_int_impl", None)).__name__)


def is_binary(tensor_quant: Any) -> bool:
    """Whether a quantiser tells signs, and nothing else."""
    return type(tensor_quant).__name__ in _BINARY


@dataclass(frozen=True)
class Integer:
    """Y = (clip(rounding(X/scale + zero_point), lo, hi) - zero_point) * scale, or the sign of X times scale.

    Attributes:
        scale: Broadcasts to X, as the zero point does.
        zero_point: Zero point.
        bits: Bit width.
        signed: Whether lo .. hi has negative integers.
        narrow: Whether one end is given up.
        binary: Whether the values are -scale and scale.
    """

    scale: torch.Tensor
    zero_point: torch.Tensor
    bits: float
    signed: bool
    narrow: bool
    binary: bool = False

    def __call__(self, x: torch.Tensor, rounding: Rounding = Rounding.ROUND) -> torch.Tensor:
        """Y."""
        if self.binary:
            return bipolar_quant(x, self.scale)
        if self.signed and self.bits == 1:
            return self._one_signed_bit(x, rounding)
        flags = {"signed": self.signed, "narrow": self.narrow}
        return quant(x, self.scale, self.zero_point, self.bits, rounding=rounding, **flags)

    def _one_signed_bit(self, x: torch.Tensor, rounding: Rounding) -> torch.Tensor:
        """-1 and 0, or 0 alone if narrow; Quant of one signed bit is another grid, -1 and 1."""
        y = quant(x, self.scale, self.zero_point, 2, rounding=rounding)
        lo = (float(self.narrow) - 1 - self.zero_point) * self.scale
        hi = (0 - self.zero_point) * self.scale
        return torch.minimum(torch.maximum(y, lo), hi)


@dataclass(frozen=True)
class Minifloat:
    """The arguments of `float_quant`, by its names, and whether there are negative numbers."""

    scale: torch.Tensor
    exponent_bits: torch.Tensor
    mantissa_bits: torch.Tensor
    exponent_bias: torch.Tensor
    max_val: torch.Tensor
    has_inf: bool
    has_nan: bool
    saturation: bool
    signed: bool

    def __call__(self, x: torch.Tensor, rounding: Rounding = Rounding.ROUND) -> torch.Tensor:
        """Y."""
        return float_quant(
            x if self.signed else torch.relu(x),
            self.scale,
            self.exponent_bits,
            self.mantissa_bits,
            self.exponent_bias,
            self.max_val,
            has_inf=self.has_inf,
            has_nan=self.has_nan,
            saturation=self.saturation,
            rounding=rounding,
        )
