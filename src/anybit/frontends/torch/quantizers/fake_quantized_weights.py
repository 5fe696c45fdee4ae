"""Weights that torchao's QAT modules quantise in each run, by scales computed of them, as weights on a grid."""

from __future__ import annotations

from typing import Any

import torch

from anybit.errors import FrontEndError
from anybit.frontends.torch.operators.quant import quant


def frozen_quantizer(path: str, child: Any, layer: Any) -> torch.nn.Module:
    """What stands for a fake quantiser of torchao: its layer's weights on their grid, or nothing where it is disabled.

    Raises:
        FrontEndError: It quantises activations, whose scale it computes in each run, or is of another kind.
    """
    where = f"module '{path}'"
    if not getattr(child, "enabled", True):
        return torch.nn.Identity()
    if not path.endswith("weight_fake_quantizer"):
        raise FrontEndError(
            "the scale of this quantiser depends on the data",
            node=where,
            got=type(child).__name__,
            hint="quantise weights only, or activations by a static quantiser",
        )
    config: Any = getattr(child, "config", None)
    if "IntxFakeQuantizer" not in {k.__name__ for k in type(child).__mro__} or _domain(config) != "INT":
        raise FrontEndError(
            "a quantiser without a translation",
            node=where,
            got=f"{type(child).__name__}, zero points of {_domain(config)}",
            expected="integers with integer zero points",
        )
    with torch.no_grad():
        values = child(layer.weight).detach()
    bits, signed = _range(str(config.dtype))
    shape = (values.shape[0], *child.scale.reshape(values.shape[0], -1).shape[1:])
    scale, zero_point = (
        torch.as_tensor(p).detach().float().reshape(*shape, 1) for p in (child.scale, child.zero_point)
    )
    return _Weights(values, scale, zero_point, bits, signed=signed)


def _domain(config: Any) -> str:
    return str(getattr(getattr(config, "zero_point_domain", None), "name", "another kind"))


def _range(dtype: str) -> tuple[int, bool]:
    """Bit width and sign of a type such as torch.int4."""
    name = dtype.removeprefix("torch.").removeprefix("TorchAODType.").lower()
    return int(name.lstrip("uint")), not name.startswith("u")


class _Weights(torch.nn.Module):
    """Weights in groups along their last axis."""

    def __init__(
        self, values: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor, bits: int, *, signed: bool
    ) -> None:
        super().__init__()
        self.shape, self.bits, self.signed = values.shape, bits, signed
        grouped = values.reshape(values.shape[0], scale.shape[1], -1)
        alone = scale.shape[1] == 1
        self.register_buffer("values", values if alone else grouped)
        self.register_buffer("scale", scale.reshape(-1, 1) if alone else scale)
        self.register_buffer("zero_point", zero_point.reshape(-1, 1) if alone else zero_point)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The weights on their grid; what is given is what they were computed of."""
        del weight
        values: Any = self.values
        scale: Any = self.scale
        zero_point: Any = self.zero_point
        return quant(values, scale, zero_point, self.bits, signed=self.signed).reshape(self.shape)
