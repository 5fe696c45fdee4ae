"""anybit::trunc: Trunc, version 2, as a torch operator to train with and to export."""

from __future__ import annotations

import math
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


def trunc(
    x: torch.Tensor,
    scale: Number,
    zero_point: Number,
    in_bit_width: Number,
    out_scale: Number,
    out_bit_width: Number,
    *,
    signed: bool = True,
    narrow: bool = False,
    rounding: Rounding = Rounding.FLOOR,
) -> torch.Tensor:
    """t = 2^half_even(log2(out_scale/scale));  Y = (clip(rounding(q / t), lo, hi) - zero_point/t) * out_scale.

    q = half_even(X/scale + zero_point) is the integer behind X; bit for bit as `anybit.ops.trunc`. The gradient goes
    straight through to X where the result is inside lo .. hi, and is zero beyond; the parameters get none.

    Args:
        x: Tensor of float16, float32 or float64.
        scale: Step of X's grid; broadcasts to X, as the other parameters do.
        zero_point: Zero point of X's grid.
        in_bit_width: Bit width of X; it has no part in the arithmetic.
        out_scale: Step of Y's grid.
        out_bit_width: Bit width of Y.
        signed: Whether the grid of Y is signed.
        narrow: Whether one end of the grid of Y is given up.
        rounding: Rounding mode.

    Raises:
        UsageError: X is of another type, a parameter does not broadcast to it, or a bit width is no positive integer.

    Example:
        >>> trunc(torch.tensor([17.0]), 1.0, 0.0, 8, 16.0, 4).tolist()
        [16.0]
    """
    named = {
        "scale": scale,
        "zero_point": zero_point,
        "in_bit_width": in_bit_width,
        "out_scale": out_scale,
        "out_bit_width": out_bit_width,
    }
    parameters = [parameter(value, x, name) for name, value in named.items()]
    return _trunc(x, *parameters, signed, narrow, rounding.value)


_SCHEMA = (
    "(Tensor x, Tensor scale, Tensor zero_point, Tensor in_bit_width, Tensor out_scale, Tensor out_bit_width,"
    " bool signed, bool narrow, str rounding_mode) -> Tensor"
)


@torch.library.custom_op("anybit::trunc", mutates_args=(), schema=_SCHEMA)
def _trunc(
    x: torch.Tensor,
    scale: torch.Tensor,
    zero_point: torch.Tensor,
    in_bit_width: torch.Tensor,
    out_scale: torch.Tensor,
    out_bit_width: torch.Tensor,
    signed: bool,  # noqa: FBT001  the schema's order
    narrow: bool,  # noqa: FBT001
    rounding_mode: str,
) -> torch.Tensor:
    checked_bits(in_bit_width)
    bits = checked_bits(out_bit_width)
    r, z, out_s = _truncated(x, scale, zero_point, out_scale, rounding_mode)
    bounds = integer_bounds(bits, signed=signed, narrow=narrow)
    return clipped_and_scaled(r, bounds, bits, z, out_s).to(x.dtype)


def _truncated(
    x: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor, out_scale: torch.Tensor, mode: str
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """rounding(q / t), zero_point/t and out_scale, in the type that X is computed in."""
    values = widened(x)
    s, z, out_s = (p.to(values.dtype) for p in (scale, zero_point, out_scale))
    significand, exponent = torch.frexp(out_s.double() / s.double())  # not log2: it is inexact next to the middle
    t = torch.exp2(torch.where(significand >= math.sqrt(0.5), exponent, exponent - 1).double()).to(values.dtype)
    q = torch.round(values / s + z)
    return rounded(q / t, Rounding.parse(mode)), z / t, out_s


@_trunc.register_fake
def _(x: torch.Tensor, *_: Any) -> torch.Tensor:
    return torch.empty_like(x)


def _save(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    del output
    ctx.save_for_backward(*inputs[:6])
    ctx.options = inputs[6:]


def _backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    x, scale, zero_point, _, out_scale, out_bit_width = ctx.saved_tensors
    signed, narrow, mode = ctx.options
    r = _truncated(x, scale, zero_point, out_scale, mode)[0].double()
    lo, hi = integer_bounds(checked_bits(out_bit_width), signed=signed, narrow=narrow)
    inside = (r >= lo) & (r <= hi)
    return (gradient * inside.to(gradient.dtype), *(None for _ in range(8)))


_trunc.register_autograd(_backward, setup_context=_save)
