"""zero_signs: what translations owe to the sign of zero, where an operator of the model tells it.

Integers have no -0: DequantizeLinear makes +0 of what Quant makes -0 of. Readers add 0 where the difference is told,
x + 0 being +0 for both; writers leave the quantiser as it is.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from anybit.graph.editor import Editor
from anybit.ops.zero_sign import ZeroSign, has_subgraphs, zero_sign

Told = Mapping[ir.Value, ir.Node]
"""Tensors of which an operator tells the sign of zeros, and the operator."""


def keep_positive_zeros(edit: Editor, old: ir.Value, new: ir.Value, told: Told) -> None:
    """Lets those readers of `old`, whose zeros are all +0, that tell their sign read new + 0, in place.

    It is Sum that adds: an Add of 0 is what optimisers take away.

    Args:
        edit: Adds the node.
        old: A tensor that `new` is about to replace.
        new: The same, but for the sign of zeros.
        told: Tensors whose sign of zeros is told, `old` perhaps among them.
    """
    maker = new.producer()
    if old not in told or maker is None:
        return
    zero = edit.constant(f"{old.name}/zero", np.zeros((), np.float32))
    made = edit.node("Sum", [new, zero], f"{old.name}/positive", like=old)
    edit.insert(made, after=maker)
    for node, place in list(old.uses()):
        if _is_told(node, place, edit.model, told):
            node.replace_input_with(place, made.outputs[0])
    if old.is_graph_output() and isinstance(old.graph, ir.Graph) and old.graph is not edit.model.graph:
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
