"""anybit.frontends.torch: quantisers to train with in PyTorch, and modules as hub models."""

from __future__ import annotations

from anybit.frontends.torch.convert import from_torch
from anybit.frontends.torch.operators.bipolar_quant import bipolar_quant
from anybit.frontends.torch.operators.float_quant import float_quant
from anybit.frontends.torch.operators.quant import quant
from anybit.frontends.torch.operators.trunc import trunc

__all__ = ["bipolar_quant", "float_quant", "from_torch", "quant", "trunc"]
