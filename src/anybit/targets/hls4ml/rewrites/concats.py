"""Concat of more than two tensors, of which hls4ml joins two at a time: Concat(a, b, c) = Concat(Concat(a, b), c)."""

from __future__ import annotations

import onnx_ir as ir

from anybit.graph.walk import shape_of
from anybit.targets.hls4ml.repairs import Repairs

_TWO = 2


def rewrite_concats(repairs: Repairs) -> None:
    """Replaces each Concat of more than two tensors by a chain of Concats of two, in place."""
    for node in repairs.nodes("Concat"):
        axis = node.attributes.get("axis")
        operands = [v for v in node.inputs if v is not None]
        if len(operands) <= _TWO or axis is None:
            continue
        made, first = node.outputs[0], operands[0]
        sizes = [shape_of(v) for v in operands]
        whole = shape_of(made)
        if whole is None or any(s is None or None in s for s in sizes):
            continue
        at = axis.as_int() % len(whole)
        total = (sizes[0] or ())[at] or 0
        for position, operand in enumerate(operands[1:-1], 1):
            total += (sizes[position] or ())[at] or 0
            inner = repairs.edit.node(
                "Concat", [first, operand], f"{made.name}/joined", like=made, attributes={"axis": axis}
            )
            inner.outputs[0].shape = ir.Shape([total if a == at else n for a, n in enumerate(whole)])
            repairs.edit.insert(inner, before=node)
            first = inner.outputs[0]
        repairs.add(node, "joins two tensors at a time", got=f"{len(operands)} tensors")
        last = operands[-1]
        node.resize_inputs(_TWO)
        node.replace_input_with(0, first)
        node.replace_input_with(1, last)
