"""anybit::float_quant: FloatQuant as a torch operator to train with and to export."""

from __future__ import annotations

from typing import Any

import torch

from anybit.errors import UsageError
from anybit.frontends.torch.operators.rounding import Number, parameter, rounded, widened
from anybit.rounding import Rounding


def float_quant(
    x: torch.Tensor,
    scale: Number,
    exponent_bits: Number,
    mantissa_bits: Number,
    exponent_bias: Number,
    max_val: Number,
    *,
    has_inf: bool = False,
    has_nan: bool = False,
    saturation: bool = True,
    rounding: Rounding = Rounding.ROUND,
) -> torch.Tensor:
    """x = X/scale;  u = 2^(max(floor(log2|x|), 1 - bias) - m);  Y = clip(u * round(x/u), -max, max) * scale.

    Bit for bit as `anybit.ops.float_quant`. The gradient goes straight through to X where |X/scale| <= max, and is
    zero beyond; the parameters get none.

    Args:
        x: Tensor of float16, float32 or float64.
        scale: Positive; broadcasts to X, as the other parameters do.
        exponent_bits: Width of the exponent.
        mantissa_bits: Width of the mantissa.
        exponent_bias: Any integer.
        max_val: Largest magnitude, before scaling.
        has_inf: Whether the format has infinities.
        has_nan: Whether the format has NaN.
        saturation: Whether overflow gives the largest number.
        rounding: Rounding mode.

    Raises:
        UsageError: X is of another type, a parameter does not broadcast to it, or overflow has nowhere to go.

    Example:
        >>> float_quant(torch.tensor([0.3, 1000.0]), 1.0, 4, 3, 7, 448.0).tolist()
        [0.3125, 448.0]
    """
    if not (saturation or has_inf or has_nan):
        raise UsageError("overflow without saturation", expected="a format with an infinity or NaN")
    named = {
        "scale": scale,
        "exponent_bits": exponent_bits,
        "mantissa_bits": mantissa_bits,
        "exponent_bias": exponent_bias,
        "max_val": max_val,
    }
    parameters = [parameter(value, x, name) for name, value in named.items()]
    return _float_quant(x, *parameters, has_inf, has_nan, saturation, rounding.value)


_SCHEMA = (
    "(Tensor x, Tensor scale, Tensor exponent_bits, Tensor mantissa_bits, Tensor exponent_bias, Tensor max_val,"
    " bool has_inf, bool has_nan, bool saturation, str rounding_mode) -> Tensor"
)


@torch.library.custom_op("anybit::float_quant", mutates_args=(), schema=_SCHEMA)
def _float_quant(
    x: torch.Tensor,
    scale: torch.Tensor,
    exponent_bits: torch.Tensor,
    mantissa_bits: torch.Tensor,
    exponent_bias: torch.Tensor,
    max_val: torch.Tensor,
    has_inf: bool,  # noqa: FBT001  the schema's order
    has_nan: bool,  # noqa: FBT001
    saturation: bool,  # noqa: FBT001
    rounding_mode: str,
) -> torch.Tensor:
    del has_nan  # what overflow gives where there is no infinity
    values = widened(x)
    s = scale.to(values.dtype)
    bias, mantissa = exponent_bias.double(), mantissa_bits.double()
    largest = _largest(exponent_bits, mantissa_bits, exponent_bias, max_val)
    v = (values / s).double()
    beyond = 2 * torch.maximum(largest, torch.exp2(1 - bias))  # a normal number that still overflows
    v = torch.minimum(torch.maximum(v, -beyond), beyond)
    exponent = torch.maximum(torch.frexp(v)[1].double() - 1, 1 - bias)
    exponent = torch.where(v == 0, 1 - bias, exponent)
    unit = torch.exp2(exponent - mantissa)
    r = unit * rounded(v / unit, Rounding.parse(rounding_mode))
    y = torch.minimum(torch.maximum(r, -largest), largest)
    if not saturation:
        outside = torch.copysign(torch.full_like(y, torch.inf), y) if has_inf else torch.full_like(y, torch.nan)
        y = torch.where(r.abs() > largest, outside, y)
    return (y.to(values.dtype) * s).to(x.dtype)


def _largest(
    exponent_bits: torch.Tensor, mantissa_bits: torch.Tensor, exponent_bias: torch.Tensor, max_val: torch.Tensor
) -> torch.Tensor:
    """min((2 - 2^-m) * 2^(2^E - 1 - bias), max_val)."""
    top = torch.exp2(torch.exp2(exponent_bits.double()) - 1 - exponent_bias.double())
    return torch.minimum((2 - torch.exp2(-mantissa_bits.double())) * top, max_val.double())


@_float_quant.register_fake
def _(x: torch.Tensor, *_: Any) -> torch.Tensor:
    return torch.empty_like(x)


def _save(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    del output
    ctx.save_for_backward(*inputs[:6])


def _backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    x, scale, *limits = ctx.saved_tensors
    inside = (widened(x) / scale).abs().double() <= _largest(*limits)
    return (gradient * inside.to(gradient.dtype), *(None for _ in range(9)))


_float_quant.register_autograd(_backward, setup_context=_save)
