"""Reshapes that hls4ml repacks in io_stream, where a packet holds the elements along a tensor's last axis.

hls4ml reads a flattened tensor in the packets of the tensor before it, which its dense layers expect and nothing else
does; and it repacks only where the length of one packet divides that of the other.

Reshape(x, (1, N)) = Reshape(Reshape(x, (1, 1, N)), (1, N))
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from anybit.graph.walk import shape_of
from anybit.ops.bipolar_quant import BIPOLAR_QUANT
from anybit.ops.calls import is_call
from anybit.targets.hls4ml.repairs import Repairs, Step, affine


def rewrite_streams(repairs: Repairs) -> None:
    """Puts a Reshape to one packet in front of each Reshape whose packets hls4ml would not cut as it should."""
    _keep_thresholds_apart(repairs)
    for node in repairs.nodes("Reshape", "Flatten"):
        x = node.inputs[0]
        old, new = (_sizes(v) for v in (x, node.outputs[0]))
        if old is None or new is None or _repacks(node, old, new):
            continue
        repairs.before(node, 0, Step("Reshape", (np.array([1, 1, math.prod(new)], np.int64),)))
        made = None if node.inputs[0] is None else node.inputs[0]
        if made is not None:
            made.shape = ir.Shape([1, 1, math.prod(new)])
        repairs.add(node, "a Reshape before it puts all elements into one packet of the stream", got=f"{old} to {new}")


def _keep_thresholds_apart(repairs: Repairs) -> None:
    """Puts a Reshape to the same shape between arithmetic and a binary quantiser of an image.

    hls4ml makes thresholds of both, and in io_stream has them for vectors only.
    """
    for node in list(repairs.model.graph):
        sizes = _sizes(node.inputs[0]) if is_call(node, BIPOLAR_QUANT) else None
        if sizes is None or len(sizes) < 3 or affine(node.inputs[0]) is None:
            continue
        repairs.keep_apart(node, 0)
        repairs.add(node, "a Reshape to the same shape keeps the arithmetic before it out of its threshold")


def _sizes(value: ir.Value | None) -> list[int] | None:
    """The sizes of a tensor; None where one is not known, or it has no axis beside the batch."""
    shape = None if value is None else shape_of(value)
    sizes = [size for size in shape or () if size is not None]
    return sizes if shape is not None and len(sizes) == len(shape) and len(sizes) > 1 else None


def _repacks(node: ir.Node, old: list[int], new: list[int]) -> bool:
    """Whether hls4ml's own packets are those that the readers expect."""
    if len(new) > 2:
        return old[-1] % new[-1] == 0 or new[-1] % old[-1] == 0
    readers = [user for user, _ in node.outputs[0].uses()]
    dense = bool(readers) and all(user.op_type == "MatMul" for user in readers)
    return old[-1] == new[-1] or (dense and not node.outputs[0].is_graph_output())
