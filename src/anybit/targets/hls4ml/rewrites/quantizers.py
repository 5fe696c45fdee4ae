"""Quantisers of activations in the one form that hls4ml computes exactly, a conversion to ap_fixed.

Quant of one power-of-two scale and zero point 0, rounding ROUND or FLOOR; BipolarQuant of scale 1
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array, is_power_of_two
from anybit.errors import Refusal
from anybit.graph.constants import constant
from anybit.ops.bipolar_quant import BIPOLAR_QUANT
from anybit.ops.calls import is_call
from anybit.ops.operator import DOMAIN
from anybit.ops.quant import QUANT
from anybit.quantizers.quantizer import Quantizer, read_quant
from anybit.targets.hls4ml.repairs import Repairs, Step, compact, quant_step


def rewrite_quantizers(repairs: Repairs) -> None:
    """Spells out scale and zero point of each quantiser of an activation whose grid is none of ap_fixed."""
    for node in list(repairs.model.graph):
        x = node.inputs[0] if node.inputs else None
        if not is_call(node, QUANT, BIPOLAR_QUANT) or x is None or constant(x) is not None:
            continue
        quantizer = read_quant(node, repairs.model)
        if isinstance(quantizer, Refusal) or quantizer.grid is None:
            continue
        if quantizer.is_bipolar:
            _rewrite_bipolar(repairs, node, x, quantizer)
        else:
            _rewrite(repairs, node, x, quantizer)


def is_fixed_point(quantizer: Quantizer) -> bool:
    """Whether the grid is one of ap_fixed: one scale that is a power of two, zero point 0."""
    one_scale = compact(quantizer.scale).ndim == 0 and not quantizer.zero_point.any()
    return one_scale and bool(is_power_of_two(quantizer.scale).all())


def _rewrite(repairs: Repairs, node: ir.Node, x: ir.Value, quantizer: Quantizer) -> None:
    rounding = quantizer.rounding
    scale, zero_point = compact(quantizer.scale), compact(quantizer.zero_point).astype(np.float32)
    bounds = int(quantizer.lo), int(quantizer.hi)
    if is_fixed_point(quantizer):
        repairs.replace(node, x, [quant_step(*bounds, scale=scale, rounding=rounding)])
        return
    repairs.add(
        node,
        "scale and zero point become arithmetic around it",
        got=f"scale {_text(scale)}, zero point {_text(zero_point)}",
        hint="a scale that is a power of two needs no multiplier",
    )
    steps = [quant_step(*bounds, rounding=rounding)]
    if zero_point.any():
        steps = [Step("Add", (zero_point,)), *steps, Step("Sub", (zero_point,))]
        if quantizer.has_integer_zero_point:  # these are integers of few bits: the next product is to know
            centred = quantizer.centred()
            steps.append(quant_step(int(centred.lo.min()), int(centred.hi.max())))
    if (scale != 1).any():
        steps = [Step("Div", (scale,)), *steps, Step("Mul", (scale,))]
    repairs.replace(node, x, steps)


def _rewrite_bipolar(repairs: Repairs, node: ir.Node, x: ir.Value, quantizer: Quantizer) -> None:
    scale, zero_point = compact(quantizer.scale), compact(quantizer.zero_point).astype(np.float32)
    if is_call(node, BIPOLAR_QUANT) and (scale == 1).all():
        return
    if not is_call(node, BIPOLAR_QUANT):
        repairs.add(node, "a signed quantiser of one bit becomes BipolarQuant, which is what it means")
    if (scale != 1).any():
        repairs.add(node, "its scale becomes a multiplication behind it", got=f"scale {_text(scale)}")
    steps = [Step(BIPOLAR_QUANT.name, (np.ones((), np.float32),), DOMAIN)]
    if zero_point.any():  # x / scale + z >= 0
        steps = [Step("Div", (scale,)), Step("Add", (zero_point,)), *steps, Step("Sub", (zero_point,))]
    if (scale != 1).any():
        steps.append(Step("Mul", (scale,)))
    repairs.replace(node, x, steps)


def _text(array: Array) -> str:
    return f"{float(array):g}" if array.ndim == 0 else f"of shape {list(array.shape)}"
