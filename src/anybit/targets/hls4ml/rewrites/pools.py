"""Pools in the form that hls4ml reads: a mean over positions as GlobalAveragePool, ceil mode as padding."""

from __future__ import annotations

import onnx_ir as ir

from anybit.graph.constants import constant
from anybit.graph.walk import shape_of
from anybit.ops.channels_last.layout import DOMAIN as CHANNELS_LAST
from anybit.ops.standard.windows import Windows
from anybit.targets.hls4ml.repairs import Repairs, Step


def rewrite_means(repairs: Repairs) -> None:
    """Makes a GlobalAveragePool of each mean over the positions of (N, C, H, W)."""
    for node in repairs.nodes("ReduceMean"):
        x = node.inputs[0]
        shape = None if x is None else shape_of(x)
        if x is None or shape is None or len(shape) != 4 or _axes(node) not in ((2, 3), (-2, -1)):
            continue
        steps = [Step("GlobalAveragePool")]
        if not node.attributes.get_int("keepdims", 1):
            steps.append(Step("Flatten", attributes={"axis": 1}))
        repairs.add(node, "a mean over positions becomes GlobalAveragePool")
        made = repairs.replace(node, x, steps)
        pooled = made.inputs[0] if made.op_type == "Flatten" else made.outputs[0]
        if pooled is not None:
            pooled.shape = ir.Shape([*shape[:2], 1, 1])


def rewrite_ceil_modes(repairs: Repairs) -> None:
    """States the padding that the last windows of a MaxPool in ceil mode reach into."""
    for node in repairs.nodes("MaxPool"):
        x = node.inputs[0]
        shape = None if x is None else shape_of(x)
        kernel = node.attributes.get_ints("kernel_shape", ())
        if node.domain != CHANNELS_LAST or not node.attributes.get_int("ceil_mode", 0) or shape is None:
            continue
        spatial = [s or 0 for s in shape[1:-1]]
        given = {name: a.value for name, a in node.attributes.items()}
        padding = Windows.of(spatial, kernel, given).padding(spatial)
        node.attributes["pads"] = ir.AttrInt64s("pads", [b for b, _ in padding] + [e for _, e in padding])
        node.attributes["ceil_mode"] = ir.AttrInt64("ceil_mode", 0)
        repairs.add(node, "ceil mode becomes padding")


def _axes(node: ir.Node) -> tuple[int, ...]:
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        array = constant(node.inputs[1])
        return () if array is None else tuple(sorted(array.tolist()))
    return tuple(sorted(node.attributes.get_ints("axes", ())))
