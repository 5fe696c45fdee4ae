"""anybit::bipolar_quant: BipolarQuant as a torch operator to train with and to export."""

from __future__ import annotations

from typing import Any

import torch

from anybit.frontends.torch.operators.rounding import Number, parameter, widened


def bipolar_quant(x: torch.Tensor, scale: Number) -> torch.Tensor:
    """Y = scale where X >= 0, else -scale; NaN stays NaN. The gradient passes where |X| <= scale.

    Args:
        x: Tensor of float16, float32 or float64.
        scale: Positive; broadcasts to X.

    Raises:
        UsageError: X is of another type, or the scale does not broadcast to it.

    Example:
        >>> bipolar_quant(torch.tensor([-0.1, 0.0, 3.0]), 0.5).tolist()
        [-0.5, 0.5, 0.5]
    """
    return _bipolar_quant(x, parameter(scale, x, "scale"))


@torch.library.custom_op("anybit::bipolar_quant", mutates_args=(), schema="(Tensor x, Tensor scale) -> Tensor")
def _bipolar_quant(x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    values = widened(x)
    s = scale.to(values.dtype)
    return torch.where(values.isnan(), values, torch.where(values >= 0, s, -s)).to(x.dtype)


@_bipolar_quant.register_fake
def _(x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    del scale
    return torch.empty_like(x)


def _save(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    del output
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
    x, scale = ctx.saved_tensors
    return gradient * (x.abs() <= scale).to(gradient.dtype), None


_bipolar_quant.register_autograd(_backward, setup_context=_save)
