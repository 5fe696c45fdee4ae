"""grid_step: the distance between neighbouring values that a quantised tensor can take."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.graph.constants import constant
from anybit.ops.bipolar_quant import BIPOLAR_QUANT
from anybit.ops.calls import is_call
from anybit.ops.quant import QUANT
from anybit.ops.traits import MOVING
from anybit.ops.trunc import TRUNC

# Operators that only move or choose elements: the grid of their first input is that of their output.
_MOVING = MOVING | {"Relu"}
_SCALED = (QUANT, BIPOLAR_QUANT, TRUNC)
_SCALE, _OUT_SCALE = 1, 4


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
    if node is None or not (_dequantizes(node) or is_call(node, *_SCALED)):
        return None
    enlarged = is_call(node, TRUNC) and len(node.inputs) == len(TRUNC.inputs)
    scale = constant(node.inputs[_OUT_SCALE if enlarged else _SCALE])
    if scale is None or (scale.size != 1 and (moved or node.domain == "")):
        return None
    step = scale.reshape(()) if scale.size == 1 else scale
    return step * 2 if is_call(node, BIPOLAR_QUANT) else step


def _dequantizes(node: ir.Node) -> bool:
    return node.domain == "" and node.op_type == "DequantizeLinear"
