"""Quantisers of activations for ONNX Runtime as bytes in between: two or three passes over memory instead of four.

    y = DequantizeLinear(QuantizeLinear(clip(x, lo * scale, hi * scale), scale), scale)

What only moves elements on the way to a quantiser moves bytes instead.

It means what Quant means, bit for bit but for the sign of zero: clipping is monotone, and rounding takes
fl(lo * scale) / scale back to lo. Bytes cannot be NaN: it is right for finite inputs only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from anybit.errors import Refusal
from anybit.graph.constants import constant
from anybit.graph.editor import Editor
from anybit.graph.walk import all_nodes
from anybit.ops.traits import Movement, standard
from anybit.ops.zero_sign import tensors_of_told_zeros
from anybit.quantizers.quantizer import Quantizer, read_quant

_OLDEST_OPSET = 13
_MOVES = standard(lambda t: t.movement is Movement.ORDER) | {
    "Transpose"
}  # for which every ONNX Runtime has kernels of bytes
_BYTES = (np.int8, np.uint8)


def use_byte_quantizers(model: ir.Model) -> bool:
    """Replaces quantisers of activations that round to nearest on at most 256 levels, one scale, zero point 0.

    A scale of 1 is left as it is: without Div and Mul the emulation has no more passes. So is a quantiser that makes
    -0, which bytes have not, where a later operator tells it from +0.

    Returns:
        Whether anything was replaced.
    """
    if model.opset_imports.get("", 1) < _OLDEST_OPSET:
        return False
    told = tensors_of_told_zeros(model)
    with Editor(model, rule="bytes") as edit:
        for node in list(all_nodes(model.graph)):
            quantizer = read_quant(node, model)
            if isinstance(quantizer, Refusal) or constant(node.inputs[0]) is not None:
                continue
            if quantizer.makes_negative_zeros and node.outputs[0] in told:
                continue
            byte = _byte(quantizer)
            if byte is not None:
                _replace(node, quantizer, byte, edit)
    return edit.modified


def _byte(quantizer: Quantizer) -> np.dtype[np.integer[Any]] | None:
    """The element type that holds the integers, None if there is none or nothing would be gained."""
    sizes = {quantizer.scale.size, quantizer.lo.size, quantizer.hi.size}
    if not quantizer.is_half_even or sizes != {1} or (quantizer.scale == 1).all():
        return None
    for dtype in _BYTES:
        limits = np.iinfo(dtype)
        if limits.min <= quantizer.lo and quantizer.hi <= limits.max:
            return np.dtype(dtype)
    return None


def _replace(node: ir.Node, quantizer: Quantizer, byte: np.dtype[np.integer[Any]], edit: Editor) -> None:
    name = str(node.outputs[0].name)
    before, behind = _moves_before(node), _moves_behind(node)
    first, last = [*before, node][0], [node, *behind][-1]
    x, nodes = first.inputs[0], list[ir.Node]()
    limits = np.iinfo(byte)
    if (quantizer.lo, quantizer.hi) != (limits.min, limits.max):  # a full byte is saturated by QuantizeLinear itself
        reals = [np.asarray(quantizer.dequantized(b), np.float32).reshape(()) for b in (quantizer.lo, quantizer.hi)]
        bounds = [edit.constant(f"{name}/{k}", r) for k, r in zip(("lowest", "highest"), reals, strict=True)]
        nodes.append(edit.node("Clip", [x, *bounds], f"{name}/clipped", like=x))
        x = nodes[-1].outputs[0]
    scale = edit.constant(f"{name}/scale", quantizer.scale.reshape(()))
    zero = edit.constant(f"{name}/zero_point", np.zeros((), byte))
    nodes.append(edit.node("QuantizeLinear", [x, scale, zero], f"{name}/byte", like=x))
    edit.insert(nodes, before=first)
    integers = nodes[-1].outputs[0]
    integers.type = ir.TensorType(ir.DataType.from_numpy(byte))
    for move in (*before, *behind):  # they move bytes now
        moved = edit.node(move.op_type, [integers, *move.inputs[1:]], f"{name}/moved", attributes=move.attributes)
        moved.outputs[0].type, moved.outputs[0].shape = integers.type, move.outputs[0].shape
        edit.insert(moved, before=move)
        integers = moved.outputs[0]
    old = last.outputs[0]
    dequantize = edit.node("DequantizeLinear", [integers, scale, zero], f"{name}/real", like=old)
    edit.replace(old, dequantize)
    for replaced in reversed((*before, node, *behind)):
        edit.remove(replaced)


def _moves_before(node: ir.Node) -> list[ir.Node]:
    """The nodes that do nothing but move the elements of X to this quantiser, in order."""
    moves: list[ir.Node] = []
    value = node.inputs[0]
    while value is not None and len(value.uses()) == 1 and not value.is_graph_output():
        producer = value.producer()
        if producer is None or not _moves(producer, node):
            break
        moves.append(producer)
        value = producer.inputs[0]
    return moves[::-1]


def _moves_behind(node: ir.Node) -> list[ir.Node]:
    """The nodes that do nothing but move the elements of Y, each the only reader of the one before, in order."""
    moves: list[ir.Node] = []
    value = node.outputs[0]
    while len(value.uses()) == 1 and not value.is_graph_output():
        reader, place = next(iter(value.uses()))
        if place != 0 or not _moves(reader, node):
            break
        moves.append(reader)
        value = reader.outputs[0]
    return moves


def _moves(node: ir.Node, quantizer: ir.Node) -> bool:
    return node.domain == "" and node.op_type in _MOVES and node.graph is quantizer.graph
