"""anybit::quant: Quant as a torch operator to train with and to export."""

from __future__ import annotations

from typing import Any

import torch

from anybit.frontends.torch.operators.rounding import (
    Number,
    checked_bits,
    clipped_and_scaled,
    integer_bounds,
    parameter,
    rounded,
    widened,
)
from anybit.rounding import Rounding


def quant(
    x: torch.Tensor,
    scale: Number,
    zero_point: Number = 0.0,
    bit_width: Number = 8,
    *,
    signed: bool = True,
    narrow: bool = False,
    rounding: Rounding = Rounding.ROUND,
) -> torch.Tensor:
    """Y = (round(clip(X/scale + zero_point, lo, hi)) - zero_point) * scale, bit for bit as `anybit.ops.quant`.

    The gradient goes straight through to X where X/scale + zero_point rounds to an integer of the grid, and is zero
    beyond; one bit, signed, passes it where |X/scale + zero_point| <= 1. The parameters get none.

    Args:
        x: Tensor of float16, float32 or float64.
        scale: Positive; broadcasts to X, as `zero_point` and `bit_width` do.
        zero_point: May be fractional.
        bit_width: Positive integers.
        signed: Whether lo .. hi is -2^(b-1) .. 2^(b-1) - 1, else 0 .. 2^b - 1.
        narrow: Whether the lowest integer of a signed grid, the highest of an unsigned one, is given up.
        rounding: Rounding mode.

    Raises:
        UsageError: X is of another type, a parameter does not broadcast to it, or a bit width is no positive integer.

    Example:
        >>> quant(torch.tensor([0.26, 9.0, -9.0]), 0.5, bit_width=3).tolist()
        [0.5, 1.5, -2.0]
    """
    s, z, bits = (
        parameter(value, x, name)
        for value, name in ((scale, "scale"), (zero_point, "zero_point"), (bit_width, "bit_width"))
    )
    return _quant(x, s, z, bits, signed, narrow, rounding.value)


_SCHEMA = (
    "(Tensor x, Tensor scale, Tensor zero_point, Tensor bit_width, bool signed, bool narrow, str rounding_mode)"
    " -> Tensor"
)


@torch.library.custom_op("anybit::quant", mutates_args=(), schema=_SCHEMA)
def _quant(
    x: torch.Tensor,
    scale: torch.Tensor,
    zero_point: torch.Tensor,
    bit_width: torch.Tensor,
    signed: bool,  # noqa: FBT001  the schema's order
    narrow: bool,  # noqa: FBT001
    rounding_mode: str,
) -> torch.Tensor:
    values = widened(x)
    s, z, bits = scale.to(values.dtype), zero_point.to(values.dtype), checked_bits(bit_width)
    v = values / s + z
    bounds = integer_bounds(bits, signed=signed, narrow=narrow)
    y = clipped_and_scaled(rounded(v, Rounding.parse(rounding_mode)), bounds, bits, z, s)
    if signed and bool((bits == 1).any()):
        sign = torch.where(v >= 0, 1.0, -1.0).to(v.dtype)
        y = torch.where(bits == 1, (torch.where(v.isnan(), v, sign) - z) * s, y)
    return y.to(x.dtype)


@_quant.register_fake
def _(x: torch.Tensor, *_: Any) -> torch.Tensor:
    return torch.empty_like(x)


def _save(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    del output
    ctx.save_for_backward(*inputs[:4])
    ctx.options = inputs[4:]


def _backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    x, scale, zero_point, bit_width = ctx.saved_tensors
    signed, narrow, mode = ctx.options
    values, bits = widened(x), checked_bits(bit_width)
    v = values / scale.to(values.dtype) + zero_point.to(values.dtype)
    lo, hi = integer_bounds(bits, signed=signed, narrow=narrow)
    r = rounded(v, Rounding.parse(mode)).double()
    inside = (r >= lo) & (r <= hi)
    if signed:
        inside = torch.where(bits == 1, v.abs() <= 1, inside)
    return (gradient * inside.to(gradient.dtype), *(None for _ in range(6)))


_quant.register_autograd(_backward, setup_context=_save)
