"""Reshapes that change nothing, where hls4ml would merge two nodes that must stay apart.

Its optimiser writes a quantiser's precision into the node before it, moves arithmetic behind a product or a sum,
multiplies the weights of a convolution by the arithmetic behind it, and removes arithmetic that cancels together with
the quantiser that was written into it; each without a look at who else reads the tensor, or at its shape. It does none
of this across a Reshape.
"""

from __future__ import annotations

import onnx_ir as ir

from anybit.graph.constants import constant
from anybit.ops.calls import is_call
from anybit.ops.quant import QUANT
from anybit.targets.hls4ml.repairs import PRODUCTS, Chain, Repairs, affine, split

_SUMS = ("Add", "Sub", "Mul", "Max", "Min", "Concat")


def separate(repairs: Repairs) -> None:
    """Puts a Reshape between arithmetic and a product or sum, and in front of each reader of a tensor with several."""
    for node in list(repairs.model.graph):
        for position, value in enumerate(node.inputs):
            if value is None or constant(value) is not None or node.op_type == "Reshape":
                continue
            reason = _reason(node, value)
            if reason is None or not repairs.keep_apart(node, position):
                continue
            repairs.add(node, "a Reshape to the same shape keeps it apart from what is before it", got=reason)


def _reason(node: ir.Node, value: ir.Value) -> str | None:
    """Why a node and what makes its input must stay apart; None if they need not."""
    maker = value.producer()
    if maker is None or maker.op_type == "Reshape":
        return None
    if len(value.uses()) + value.is_graph_output() > 1:
        return "several readers"
    if maker.op_type == "Conv" and split(node) is not None:
        return "a convolution before arithmetic"
    if is_call(node, QUANT) and affine(value) is not None and Chain.of(value).is_identity:
        return "arithmetic that cancels before it"
    if affine(value) is not None and (node.op_type in PRODUCTS or (node.op_type in _SUMS and split(node) is None)):
        return "arithmetic before it"
    return None
