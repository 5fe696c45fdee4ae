"""extended: a chain of element-wise nodes and one more, if that acts channel by channel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from anybit.errors import Refusal
from anybit.formats.monotone import direction, is_elementwise
from anybit.formats.staircases import Chain, Step
from anybit.ops.evaluate import compiled, known_value
from anybit.ops.nodes import label, shape_of
from anybit.ops.operator import Array


def extended(chain: Chain, node: ir.Node, position: int, opsets: Mapping[str, int]) -> Chain | Refusal:
    """The chain and one more node, or why that does not act channel by channel."""
    rising, kernel = direction(node, position, opsets), compiled(node, opsets)
    x = node.inputs[position]
    if x is None or kernel is None or (rising is None and not is_elementwise(node, position)):
        return Refusal(problem="not known to act element by element", node=label(node))
    shape = shape_of(x)
    if shape is None or shape != shape_of(node.outputs[0]) or node.outputs[0].dtype != ir.DataType.FLOAT:
        return Refusal(problem="it changes the shape or the type", node=label(node), expected="FLOAT")
    axis, channels = chain.axis, chain.channels
    parameters: list[Array | None] = []
    for index, value in enumerate(node.inputs):
        known = None if index == position else known_value(value, opsets)
        if known is None and value is not None and index != position:
            return Refusal(problem="a parameter is computed", node=label(node), got=str(value.name))
        if known is not None and known.size != 1:
            place = 1 if node.op_type == "BatchNormalization" else _place(known, len(shape))
            if place is None or (channels > 1 and (place, known.size) != (axis, channels)):
                return Refusal(problem="a parameter that is not one by channel", node=label(node), got=str(known.shape))
            axis, channels = place, known.size
        flat = None if known is None else known.reshape(-1)
        parameters.append(
            flat[0] if flat is not None and flat.size == 1 and known is not None and not known.ndim else flat
        )
    along = None if chain.rising is None or rising is None else chain.rising * rising.reshape(-1)
    step = Step(node, kernel, position, tuple(parameters))
    return replace(
        chain, axis=axis, channels=channels, steps=(*chain.steps, step), rising=along, private=is_private(chain, x)
    )


def thresholded(chain: Chain, node: ir.Node, opsets: Mapping[str, int]) -> Chain | Refusal:
    """The chain and a MultiThreshold, whose rows of thresholds are by channel."""
    x, kernel, rows = node.inputs[0], compiled(node, opsets), known_value(node.inputs[1], opsets)
    shape = None if x is None else shape_of(x)
    if x is None or kernel is None or rows is None or shape is None or x.dtype != ir.DataType.FLOAT:
        return Refusal(problem="thresholds that are computed, or a tensor of unknown shape", node=label(node))
    axis, channels = chain.axis, chain.channels
    if len(rows) > 1:
        layout = node.attributes.get_string("data_layout", "NCHW")
        place = len(shape) - 1 if layout.endswith("C") and len(shape) > len("NC") else 1
        if channels > 1 and (place, len(rows)) != (axis, channels):
            return Refusal(problem="rows of thresholds for other channels than its input has", node=label(node))
        axis, channels = place, len(rows)
    rises = node.attributes.get_float("out_scale", 1.0) >= 0
    rising = None if chain.rising is None else chain.rising * (1.0 if rises else -1.0)
    step = Step(node, kernel, 0, (None, np.broadcast_to(rows, (channels, rows.shape[1]))))
    return replace(
        chain, axis=axis, channels=channels, steps=(*chain.steps, step), rising=rising, private=is_private(chain, x)
    )


def is_private(chain: Chain, value: ir.Value) -> bool:
    """Whether only one node reads the tensor, and what it is computed from."""
    return chain.private and len(value.uses()) == 1 and not value.is_graph_output()


def _place(parameter: Array, rank: int) -> int | None:
    """The axis of the output along which a parameter varies, if it is one; never that of the batch."""
    long = [i for i, n in enumerate(parameter.shape) if n != 1]
    place = rank - parameter.ndim + long[0] if long else 0
    return place if len(long) == 1 and place >= 1 else None
