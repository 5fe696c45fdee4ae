"""Constant operands of arithmetic as hls4ml broadcasts them: the second input, and no axis for the batch."""

from __future__ import annotations

from anybit.graph.walk import shape_of
from anybit.targets.hls4ml.repairs import Repairs, split

_COMMUTATIVE = ("Add", "Mul")


def rewrite_constants(repairs: Repairs) -> None:
    """Brings the constants of Add, Sub, Mul and Div into a shape without the batch, as their second input."""
    for node in repairs.nodes("Add", "Sub", "Mul", "Div"):
        known = split(node)
        if known is None:
            continue
        x, array, position = known
        if position == 0 and node.op_type in _COMMUTATIVE:
            first, second = node.inputs
            node.replace_input_with(0, second)
            node.replace_input_with(1, first)
            position = 1
        rank = len(shape_of(x) or ())
        extra = array.ndim - max(rank - 1, 0)
        if extra <= 0 or array.shape[:extra] != (1,) * extra:
            continue
        shape = array.shape[extra:]
        old = node.inputs[position]
        name = f"{node.outputs[0].name}/operand"
        repairs.edit.rewire(node, position, repairs.edit.constant(name, array.reshape(shape), like=old))
