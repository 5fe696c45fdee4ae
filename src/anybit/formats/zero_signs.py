"""zero_signs: what translations owe to the sign of zero, where an operator of the model tells it.

Integers have no -0: DequantizeLinear makes +0 of what Quant makes -0 of. Readers add 0 where the difference is told,
x + 0 being +0 for both; writers leave the quantiser as it is.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from anybit.graph.rewriter import Rewriter
from anybit.ops.zero_sign import ZeroSign, has_subgraphs, zero_sign

Told = Mapping[ir.Value, ir.Node]
"""Tensors of which an operator tells the sign of zeros, and the operator."""


def keep_positive_zeros(rewriter: Rewriter, old: ir.Value, new: ir.Value, told: Told) -> None:
    """Lets those readers of `old`, whose zeros are all +0, that tell their sign read new + 0, in place.

    It is Sum that adds: an Add of 0 is what optimisers take away.

    Args:
        rewriter: Adds the node.
        old: A tensor that `new` is about to replace.
        new: The same, but for the sign of zeros.
        told: Tensors whose sign of zeros is told, `old` perhaps among them.
    """
    maker = new.producer()
    if old not in told or maker is None:
        return
    zero = rewriter.constant(f"{old.name}/zero", np.zeros((), np.float32))
    made = rewriter.node("Sum", [new, zero], f"{old.name}/positive", like=old)
    maker.append(made)
    for node, place in list(old.uses()):
        if _is_told(node, place, rewriter.model, told):
            node.replace_input_with(place, made.outputs[0])
    if old.is_graph_output() and isinstance(old.graph, ir.Graph) and old.graph is not rewriter.model.graph:
        outputs = old.graph.outputs
        outputs[:] = [made.outputs[0] if v is old else v for v in outputs]


def _is_told(node: ir.Node, place: int, model: ir.Model, told: Told) -> bool:
    match zero_sign(node, place, model.opset_imports):
        case ZeroSign.TOLD:
            return True
        case ZeroSign.PASSED_ON:
            return has_subgraphs(node) or any(o in told for o in node.outputs)
        case ZeroSign.ENDED:
            return False
