"""Bipolar tensors as numbers, where something other than a product reads them: hls4ml holds -1 and +1 as one bit.

Mul(Reshape(Mul(b, 1/2)), 2) is b, in fixed point
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from anybit.graph.walk import shape_of
from anybit.ops.bipolar_quant import BIPOLAR_QUANT
from anybit.ops.calls import is_call
from anybit.targets.hls4ml.repairs import Repairs, Step, split

_MOVING = ("Reshape", "Flatten", "Transpose", "MaxPool")


def widen_bipolar(repairs: Repairs) -> None:
    """Puts arithmetic that changes nothing between a BipolarQuant and what would take its bit for a number."""
    bits: set[ir.Value] = set()
    for node in list(repairs.model.graph):
        if is_call(node, BIPOLAR_QUANT):
            bits.add(node.outputs[0])
        for position, value in enumerate(node.inputs):
            if value is None or value not in bits:
                continue
            if node.op_type in _MOVING and not (
                node.op_type == "MaxPool" and any(node.attributes.get_ints("pads", ()))
            ):
                bits.add(node.outputs[0])
            elif not _takes_bits(node, position):
                _widen(repairs, node, position)
    for value in list(repairs.model.graph.outputs):
        if value in bits:
            _widen_output(repairs, value)


def _takes_bits(node: ir.Node, position: int) -> bool:
    if node.op_type == "Conv":
        return position == 0 and not any(node.attributes.get_ints("pads", ()))
    return (node.op_type == "MatMul" and position == 0) or split(node) is not None


def _steps(value: ir.Value) -> list[Step]:
    shape = shape_of(value) or ()
    half, two = (np.asarray(f, np.float32) for f in (0.5, 2.0))
    target = np.array([1, *(int(d or 1) for d in shape[1:])], np.int64)
    return [Step("Mul", (half,)), Step("Reshape", (target,)), Step("Mul", (two,))]


def _widen(repairs: Repairs, node: ir.Node, position: int) -> None:
    value = node.inputs[position]
    if value is None:
        return
    repairs.add(node, "its bipolar input becomes a number of several bits")
    for step in _steps(value):
        repairs.before(node, position, step)


def _widen_output(repairs: Repairs, value: ir.Value) -> None:
    node = value.producer()
    if node is not None:
        repairs.add(node, "a bipolar output becomes a number of several bits")
        repairs.behind(node, _steps(value))
