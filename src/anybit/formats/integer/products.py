"""product_of: what QLinearConv, QLinearMatMul, ConvInteger and MatMulInteger multiply, and what becomes of the sums."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.tensor_values import Float64s
from anybit.arrays import Array
from anybit.errors import Refusal
from anybit.graph.constants import constant
from anybit.graph.walk import label
from anybit.quantizers.linear_parameters import range_of

_BYTES = frozenset((ir.DataType.INT8, ir.DataType.UINT8))


@dataclass(frozen=True)
class Operands:
    """Positions of the inputs of an operator; None for those that it does not have."""

    zero_point: int
    weights: int
    weight_zero_point: int
    scales: tuple[int, int, int] | None = None
    output_zero_point: int | None = None
    bias: int | None = None


OPERANDS = {
    "ConvInteger": Operands(2, 1, 3),
    "MatMulInteger": Operands(2, 1, 3),
    "QLinearConv": Operands(2, 3, 5, (1, 4, 6), 7, 8),
    "QLinearMatMul": Operands(2, 3, 5, (1, 4, 6), 7),
}
"""The operators by name."""


@dataclass(frozen=True)
class Requantization:
    """integer = saturate(round_half_even(sum * multiplier) + zero_point)."""

    multiplier: Float64s
    zero_point: float


@dataclass(frozen=True)
class Product:
    """A product of integers.

    Attributes:
        node: The node.
        x: The stored integers of the first operand.
        x_zero_point: Their zero point.
        weights: The integers of the second operand, zero point taken off.
        weight_bounds: What their type allows, zero point taken off.
        bias: By channel, what is added to the sums; None where nothing is.
        requantization: What becomes of the sums; None where they are the output.
        is_conv: Whether it is a convolution.
    """

    node: ir.Node
    x: ir.Value
    x_zero_point: float
    weights: Float64s
    weight_bounds: tuple[int, int]
    bias: Float64s | None
    requantization: Requantization | None
    is_conv: bool

    def largest_sum(self, lo: float, hi: float) -> float:
        """The largest magnitude of any sum of some of the products, and the bias, for operands lo <= 0 <= hi."""
        axes = tuple(range(1, self.weights.ndim)) if self.is_conv else (max(self.weights.ndim - 2, 0),)
        ends = (self.weights * lo, self.weights * hi)
        high = np.maximum(*ends).sum(axis=axes)
        low = np.minimum(*ends).sum(axis=axes)
        added = 0.0 if self.bias is None else np.abs(self.bias)
        return float((np.maximum(high, -low) + added).max(initial=0))


def product_of(node: ir.Node) -> Product | Refusal:
    """What a node multiplies, or why it is not understood."""
    operands = OPERANDS[node.op_type]
    x, weights = node.inputs[0], constant(node.inputs[operands.weights])
    if x is None or x.dtype not in _BYTES:
        return Refusal(problem="type of the first operand", node=label(node), expected="INT8 or UINT8")
    if weights is None or weights.ndim < 2 or ir.DataType.from_numpy(weights.dtype) not in _BYTES:
        return Refusal(problem="the weights are computed, or no matrix of bytes", node=label(node))
    x_zero = _parameter(node, operands.zero_point)
    w_zero = _parameter(node, operands.weight_zero_point)
    if x_zero is None or w_zero is None or x_zero.size != 1:
        return Refusal(problem="a zero point is computed, or there are several for the input", node=label(node))
    is_conv = node.op_type.endswith(("Conv", "ConvInteger"))
    if w_zero.size not in (1, weights.shape[0 if is_conv else -1]):
        return Refusal(
            problem="zero points of the weights",
            node=label(node),
            got=str(w_zero.shape),
            expected="1, or one for each channel",
        )
    if w_zero.size > 1:
        w_zero = w_zero.reshape(-1, *(1,) * (weights.ndim - 1)) if is_conv else w_zero
    bounds = range_of(ir.DataType.from_numpy(weights.dtype)) or (0, 0)
    bias = None if operands.bias is None else _parameter(node, operands.bias)
    if operands.bias is not None and bias is None:
        return Refusal(problem="the bias is computed", node=label(node))
    rows = weights.shape[0 if is_conv else -1]
    if bias is not None and bias.ndim and bias.shape[-1] not in (1, rows):
        return Refusal(problem="length of the bias", node=label(node), got=str(bias.shape[-1]), expected=str(rows))
    requantization = _requantization(node, operands)
    if isinstance(requantization, Refusal):
        return requantization
    return Product(
        node=node,
        x=x,
        x_zero_point=float(x_zero.reshape(())),
        weights=weights.astype(np.float64) - w_zero,
        weight_bounds=(int(bounds[0] - w_zero.max()), int(bounds[1] - w_zero.min())),
        bias=bias if bias is not None and bias.ndim else None,
        requantization=requantization,
        is_conv=is_conv,
    )


def _requantization(node: ir.Node, operands: Operands) -> Requantization | Refusal | None:
    if operands.scales is None or operands.output_zero_point is None:
        readers = [user for user, _ in node.outputs[0].uses()]
        if node.outputs[0].is_graph_output() or not all(_is_cast(r) for r in readers):
            return Refusal(problem="its sums are not cast to float32", node=label(node))
        return None
    if node.outputs[0].dtype not in _BYTES:
        return Refusal(problem="type of the output", node=label(node), expected="INT8 or UINT8")
    arrays = [constant(node.inputs[i]) for i in operands.scales]
    zero_point = _parameter(node, operands.output_zero_point)
    known = [a for a in arrays if a is not None and a.dtype == np.float32]
    if len(known) < len(arrays) or zero_point is None or zero_point.size != 1:
        return Refusal(problem="a scale or zero point is computed, or not of float32", node=label(node))
    x, w, y = known
    if x.size != 1 or y.size != 1:
        return Refusal(problem="several scales for the input or the output", node=label(node))
    with np.errstate(all="ignore"):
        multiplier = np.asarray(x.reshape(()) * w / y.reshape(()), np.float32)  # in the order of ONNX Runtime
    if not np.isfinite(multiplier).all():
        return Refusal(problem="the scales", node=label(node), got="no finite multiplier")
    return Requantization(multiplier.astype(np.float64), float(zero_point.reshape(())))


def _parameter(node: ir.Node, index: int) -> Array | None:
    """A constant input in float64; 0 where it is left out, None where it is computed."""
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        return np.zeros(())
    array = constant(value)
    return None if array is None else array.astype(np.float64)


def _is_cast(node: ir.Node) -> bool:
    to = node.attributes.get_int("to", 0)
    return node.domain == "" and node.op_type == "Cast" and to == ir.DataType.FLOAT.value
