"""Weights as integers, the scale of their quantiser behind the product, as hls4ml computes it exactly.

MatMul(x, s * q) = Mul(MatMul(x, Quant(q)), s),  s per output channel; a single power of two stays in Quant
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.tensor_values import Float64s
from anybit.arrays import Array
from anybit.cleanup.fold_constants import FoldConstants
from anybit.errors import Refusal
from anybit.graph.constants import constant
from anybit.ops.channels_last.layout import DOMAIN as CHANNELS_LAST
from anybit.quantizers.quantizer import Quantizer, read_quant
from anybit.targets.hls4ml.repairs import PRODUCTS, Repairs, Step, compact, quant_step
from anybit.targets.hls4ml.rewrites.quantizers import is_fixed_point


@dataclass(frozen=True)
class _Weights:
    """What a quantiser makes of constant weights: integers, and their scale.

    Attributes:
        integers: float64.
        scale: Scalar, or of as many axes as the weights.
        lo: Smallest integer that the quantiser can make.
        hi: Largest one.
        fixed: Whether the values are ap_fixed as they are.
    """

    integers: Float64s
    scale: Array
    lo: int
    hi: int
    fixed: bool


def rewrite_weights(repairs: Repairs) -> None:
    """Gives each product weights of its own, as integers where a quantiser makes them, and the scale behind it.

    All other quantisers of constants are folded: a bias is a number in the precision of the project.
    """
    quantized: list[tuple[ir.Node, _Weights, Array]] = []
    for node in repairs.nodes(*PRODUCTS):
        weights = _weights(repairs.model, node)
        factor = None if weights is None else _per_output(node, weights)
        if weights is None or factor is None:
            continue
        _detach(repairs, node, weights, factor)
        quantized.append((node, weights, factor))
    FoldConstants(keep_quantizers=False)(repairs.model)
    for node, weights, factor in quantized:
        _attach(repairs, node, weights, factor)


def _weights(model: ir.Model, node: ir.Node) -> _Weights | None:
    operand = node.inputs[1] if len(node.inputs) > 1 else None
    quantize = None if operand is None else operand.producer()
    array = None if quantize is None or not quantize.inputs else constant(quantize.inputs[0])
    if quantize is None or array is None or not array.size:
        return None
    quantizer = read_quant(quantize, model)
    if isinstance(quantizer, Refusal) or not quantizer.has_integer_zero_point:
        return None
    integers = quantizer.integers(array) - quantizer.zero_point
    lo, hi = quantizer.lo - quantizer.zero_point, quantizer.hi - quantizer.zero_point
    scale = compact(quantizer.scale)
    scale = scale.reshape((1,) * (array.ndim - scale.ndim) + scale.shape) if scale.ndim else scale
    return _Weights(integers, scale, int(lo.min()), int(hi.max()), _is_fixed(quantizer))


def _is_fixed(quantizer: Quantizer) -> bool:
    return is_fixed_point(quantizer) and not quantizer.is_bipolar


def _per_output(node: ir.Node, weights: _Weights) -> Array | None:
    """The scale as a factor of the product, None where it differs along what is summed over."""
    scale = weights.scale
    if scale.ndim == 0:
        return scale
    axis = scale.ndim - 1 if node.op_type == "MatMul" else 0
    if any(size != 1 for a, size in enumerate(scale.shape) if a != axis) or (node.op_type == "MatMul" and axis == 0):
        return None
    if node.op_type == "MatMul" or node.domain == CHANNELS_LAST:
        return scale.reshape(-1)
    return scale.reshape(-1, *(1 for _ in scale.shape[2:]))


def _detach(repairs: Repairs, node: ir.Node, weights: _Weights, factor: Array) -> None:
    """The values of the weights as a constant; the quantiser that made them may be another product's, too."""
    values = (weights.integers * (factor if weights.fixed else 1)).astype(np.float32)
    repairs.edit.rewire(node, 1, repairs.edit.constant(f"{node.outputs[0].name}/weights", values))


def _attach(repairs: Repairs, node: ir.Node, weights: _Weights, factor: Array) -> None:
    """The quantiser that states their integers, and their scale behind the product."""
    repairs.before(node, 1, quant_step(weights.lo, weights.hi, scale=factor if weights.fixed else None))
    if weights.fixed or (factor == 1).all():
        return
    kind = "the scale of the weights becomes" if factor.ndim == 0 else "the scales of the output channels become"
    repairs.add(node, f"{kind} a multiplication behind it", hint="weights of one power-of-two scale need none")
    repairs.behind(node, [Step("Mul", (factor.astype(np.float32),))])
