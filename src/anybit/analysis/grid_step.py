"""grid_step: the distance between neighbouring values that a quantised tensor can take."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.graph.constants import constant
from anybit.ops.operator import DOMAIN

# Operators that only move or choose elements: the grid of their first input is that of their output.
_MOVING = frozenset(
    """DepthToSpace Expand Flatten Gather Identity MaxPool Relu Reshape Slice SpaceToDepth Split Squeeze Transpose
    Unsqueeze""".split()
)
_SCALE_INPUT = {"Quant": 1, "BipolarQuant": 1, "Trunc": 1, "DequantizeLinear": 1}


def grid_step(value: ir.Value) -> npt.NDArray[np.floating[Any]] | None:
    """The step of the grid that a tensor lies on, a scalar or one that broadcasts to it; None if it has none.

    It is the scale of the quantiser that made the tensor, twice that for a bipolar one. Looks through operators
    that only move elements, as long as the scale is a single number.
    """
    moved = False
    while (node := value.producer()) is not None and node.domain == "" and node.op_type in _MOVING:
        first = node.inputs[0]
        if first is None:
            return None
        value, moved = first, True
    if node is None or node.op_type not in _SCALE_INPUT or node.domain not in ("", DOMAIN):
        return None
    position = 4 if node.op_type == "Trunc" and len(node.inputs) == 6 else _SCALE_INPUT[node.op_type]
    scale = constant(node.inputs[position])
    if scale is None or (scale.size != 1 and (moved or node.domain == "")):
        return None
    step = scale.reshape(()) if scale.size == 1 else scale
    return step * 2 if node.op_type == "BipolarQuant" else step
