"""Positive zeros: sums that are +0 stay so in ONNX Runtime, where a later operator tells +0 from -0.

It takes Add of 0 away, which makes +0 of -0, and multiplies behind a product by what was before it, which may make -0
of a sum that is +0. It leaves Sum alone.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from anybit.graph.constants import constant, new_initializer
from anybit.graph.names import Names
from anybit.graph.walk import all_nodes
from anybit.ops.traits import standard
from anybit.ops.zero_sign import is_negative_zero, tensors_of_told_zeros

FIRST_BROADCASTING_SUM = 8
"""The first opset whose Sum broadcasts like Add."""
_PRODUCTS = standard(lambda t: t.sums)
_FLOATS = frozenset((ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE))


def keep_positive_zeros(model: ir.Model) -> None:
    """Makes a Sum of every Add of 0 and Sub of -0, and adds 0 to every product, in place, if zeros of it are told.

    Args:
        model: Model of opset 8 or later; constants are folded.
    """
    told = tensors_of_told_zeros(model)
    if not told:
        return
    names = Names.of_tensors(model)
    for node in list(all_nodes(model.graph)):
        if node.domain != "" or node.outputs[0] not in told:
            continue
        if node.op_type in ("Add", "Sub"):
            _become_sum(node, model.graph)
        elif node.op_type in _PRODUCTS:
            _add_zero(node, model.graph, names)


def _become_sum(node: ir.Node, graph: ir.Graph) -> None:
    subtracts = node.op_type == "Sub"
    for place, value in enumerate(node.inputs):
        array = None if subtracts and place == 0 else constant(value)
        if array is None or array.dtype.kind != "f" or array.any() or (is_negative_zero(array) != subtracts).any():
            continue
        node.op_type = "Sum"
        node.replace_input_with(place, new_initializer(graph, f"{node.outputs[0].name}/zero", np.abs(array)))
        return


def _add_zero(product: ir.Node, graph: ir.Graph, names: Names) -> None:
    old = product.outputs[0]
    if old.dtype not in _FLOATS or old.dtype is None:
        return
    zero = new_initializer(graph, f"{old.name}/zero", np.zeros((), old.dtype.numpy()))
    new = ir.Value(name=old.name, type=old.type, shape=None if old.shape is None else old.shape.copy())
    old.name = names.fresh(f"{old.name}/sums")
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    product.append(ir.Node("", "Sum", [old, zero], outputs=[new]))
