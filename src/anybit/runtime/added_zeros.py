"""Added zeros: x + 0 makes +0 of -0, and ONNX Runtime takes it away; where an operator tells them apart it is a Sum."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from anybit.ops.constants import constant, new_initializer
from anybit.ops.zero_sign import is_negative_zero, tensors_of_told_zeros

FIRST_BROADCASTING_SUM = 8
"""The first opset whose Sum broadcasts like Add."""


def keep_added_zeros(model: ir.Model) -> None:
    """Replaces Add of 0 and Sub of -0 by Sum with 0, in place, where a later operator tells the sign of zero.

    Args:
        model: Model of opset 8 or later; constants are folded.
    """
    told = tensors_of_told_zeros(model)
    for node in model.graph.all_nodes() if told else ():
        if node.domain != "" or node.op_type not in ("Add", "Sub") or node.outputs[0] not in told:
            continue
        for place, value in enumerate(node.inputs):
            array = constant(value)
            if array is None or array.dtype.kind != "f" or array.any() or (node.op_type == "Sub" and place == 0):
                continue
            if (is_negative_zero(array) == (node.op_type == "Sub")).all():
                zero = new_initializer(model.graph, f"{node.outputs[0].name}/zero", np.abs(array))
                node.op_type = "Sum"
                node.replace_input_with(place, zero)
                break
