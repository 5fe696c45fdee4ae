"""Positive factors before BipolarQuant: hls4ml makes one threshold of them, and compares the same way round for all.

BipolarQuant(g * (x @ w) + b) = BipolarQuant(|g| * (x @ (sign(g) * w)) + b)
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.tensor_values import Float64s
from anybit.graph.constants import constant
from anybit.ops.bipolar_quant import BIPOLAR_QUANT
from anybit.ops.calls import is_call
from anybit.ops.channels_last.layout import DOMAIN as CHANNELS_LAST
from anybit.targets.hls4ml.repairs import PRODUCTS, Chain, Repairs, Step, affine, quant_step


def make_factors_positive(repairs: Repairs) -> None:
    """Negates columns of weights where a channel's factor before a BipolarQuant is negative.

    Where no product is there to take the sign, a Reshape that changes nothing keeps the factor out of the threshold.
    """
    for node in list(repairs.model.graph):
        value = node.inputs[0] if is_call(node, BIPOLAR_QUANT) else None
        if value is None or affine(value) is None:
            continue
        chain = Chain.of(value)
        product = chain.start.producer()
        signs = np.where(chain.factor < 0, -1.0, 1.0)
        takes = product is not None and not chain.forked and chain.factor.all() and _can_negate(product, signs)
        if product is None or not takes:
            repairs.keep_apart(node, 0)
            repairs.add(node, "a Reshape to the same shape keeps the factor before it out of its threshold")
        elif (signs < 0).any():
            _negate(repairs, product, signs)
            repairs.add(node, "columns of weights are negated, as factors before it were negative")


def _can_negate(product: ir.Node, signs: Float64s) -> bool:
    """Whether the product's weights are its own, and the signs are of its output channels."""
    if product.op_type not in PRODUCTS or len(product.inputs) < 2:
        return False
    array = constant(_values(product)[0])
    per_channel = signs.size in (1, signs.shape[-1] if signs.ndim else 1)
    if array is None or not per_channel or (product.op_type == "Conv" and product.domain != CHANNELS_LAST):
        return False
    return signs.size in (1, array.shape[-1] if product.op_type == "MatMul" else array.shape[0])


def _values(product: ir.Node) -> tuple[ir.Value | None, ir.Node | None]:
    """The constant behind the weights, and the quantiser between, if there is one."""
    weights = product.inputs[1]
    quantize = None if weights is None else weights.producer()
    return (weights, None) if quantize is None else (quantize.inputs[0], quantize)


def _negate(repairs: Repairs, product: ir.Node, signs: Float64s) -> None:
    value, quantize = _values(product)
    array = constant(value)
    if array is None:
        raise ValueError("weights that are not constant")
    by_channel = signs.reshape(-1)
    if product.op_type == "Conv":
        by_channel = by_channel.reshape(-1, *(1 for _ in array.shape[1:]))
    negated = (array * by_channel).astype(np.float32)
    product.replace_input_with(1, repairs.edit.constant(f"{product.outputs[0].name}/negated", negated))
    if quantize is not None:
        scale = constant(quantize.inputs[1])
        if scale is None:
            raise ValueError("a scale that is not constant")
        integers = np.rint(negated / scale)
        most = int(np.abs(integers).max(initial=1))
        repairs.before(product, 1, quant_step(-most, most, scale=scale))
    repairs.edit.discard(value, None if quantize is None else quantize.outputs[0])
    repairs.behind(product, [Step("Mul", (by_channel.reshape(-1).astype(np.float32),))])
