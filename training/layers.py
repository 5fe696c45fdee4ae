"""Quantised layers by their bit widths: what the recipes build networks of. All scales are powers of two.

So sums of products are exact in float32, in whatever order an engine adds them. One bit means -1 and 1 times a scale.
"""

from __future__ import annotations

from typing import Any

from brevitas import nn as qnn
from brevitas.inject.enum import RestrictValueType, ScalingImplType, ScalingPerOutputType, StatsOp
from brevitas.quant import (
    Int8ActPerTensorFixedPoint,
    Int8WeightPerTensorFixedPoint,
    SignedBinaryActPerTensorConst,
    SignedBinaryWeightPerTensorConst,
    Uint8ActPerTensorFixedPoint,
)
from brevitas.quant.fixed_point import Int8BiasPerTensorFixedPointInternalScaling
from torch import nn

_BINARY_SCALE = 1 / 16  # also how far latent weights reach: a step of the optimiser is some percent of it


def weights(bits: int, *, per_channel: bool = False) -> dict[str, Any]:
    """Options of a Brevitas layer without bias: the scale is learned, from the weights' size at the start."""
    if bits == 1:
        return {"bias": False, "weight_quant": SignedBinaryWeightPerTensorConst, "weight_scaling_const": _BINARY_SCALE}
    return {
        "bias": False,
        "weight_quant": Int8WeightPerTensorFixedPoint,
        "weight_bit_width": bits,
        "weight_scaling_impl_type": ScalingImplType.PARAMETER_FROM_STATS,
        # Of two bits, scaled by the largest weight, most would be 0.
        "weight_scaling_stats_op": StatsOp.AVE if bits == 2 else StatsOp.MAX,
        "weight_scaling_per_output": ScalingPerOutputType.CHANNEL if per_channel else ScalingPerOutputType.TENSOR,
    }


def bias(bits: int) -> dict[str, Any]:
    """Options, to be joined with those of `weights`, that give a layer a bias on a scale of its own."""
    return {"bias": True, "bias_quant": Int8BiasPerTensorFixedPointInternalScaling, "bias_bit_width": bits}


def whole_numbers(bits: int, *, signed: bool = False) -> nn.Module:
    """The quantiser of an input of whole numbers: scale 1."""
    return _fixed(qnn.QuantIdentity, bits, float(1 << (bits - signed)), signed=signed)


def sign() -> nn.Module:
    """-1 or 1."""
    return qnn.QuantIdentity(SignedBinaryActPerTensorConst)


def relu(bits: int, *, top: float = 4.0) -> nn.Module:
    """0 to `top`, a power of two, less one step: for what a batch normalisation gives."""
    return _fixed(qnn.QuantReLU, bits, top, signed=False)


def share(bits: int) -> nn.Module:
    """0 to 1 less one step: for what a softmax gives."""
    return _fixed(qnn.QuantIdentity, bits, 1.0, signed=False)


def signed(bits: int) -> nn.Module:
    """Positive and negative numbers, on a scale that is learned."""
    return qnn.QuantIdentity(Int8ActPerTensorFixedPoint, bit_width=bits)


def _fixed(layer: type[nn.Module], bits: int, top: float, *, signed: bool) -> nn.Module:
    return layer(
        Int8ActPerTensorFixedPoint if signed else Uint8ActPerTensorFixedPoint,
        bit_width=bits,
        scaling_impl_type=ScalingImplType.CONST,
        scaling_init=top,
        restrict_scaling_type=RestrictValueType.POWER_OF_TWO,
    )
