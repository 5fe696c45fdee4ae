"""elements_of: what an operator that multiplies no tensors by each other combines."""

from __future__ import annotations

import math

import onnx_ir as ir

from anybit.graph.walk import shape_of
from anybit.ops.traits import Movement, standard

# Operators that only move, select, describe or re-type elements.
_MOVES = standard(lambda t: t.movement and t.movement is not Movement.MAXIMUM) | frozenset(
    """BitCast Cast CastLike Concat ConcatFromSequence Constant ConstantOfShape Dropout EyeLike NonZero OneHot Optional
    OptionalGetElement OptionalHasElement Pad Range SequenceAt SequenceConstruct SequenceEmpty SequenceErase
    SequenceInsert SequenceLength Shape Size SplitToSequence Trilu Where""".split()
)
_WINDOWS = frozenset("AveragePool LpPool MaxPool".split())


def is_move(node: ir.Node) -> bool:
    """Whether a node computes nothing: its operator moves elements, or copies the nearest ones."""
    if node.domain != "":
        return False
    nearest = node.op_type in ("Resize", "Upsample") and node.attributes.get_string("mode", "nearest") == "nearest"
    return nearest or node.op_type in _MOVES


def elements_of(node: ir.Node) -> int | None:
    """Output elements * taps of a pooling window; the larger one of input and output otherwise. None if not known."""
    outputs = _size(node.outputs[0])
    if node.op_type in _WINDOWS:
        kernel = node.attributes.get_ints("kernel_shape", ())
        return None if outputs is None else outputs * math.prod(kernel)
    sizes = [outputs, *(_size(v) for v in node.inputs[:1] if v is not None)]
    known = [s for s in sizes if s is not None]
    return max(known) if len(known) == len(sizes) else None


def _size(value: ir.Value) -> int | None:
    shape = shape_of(value)
    sizes = () if shape is None else tuple(d for d in shape if d is not None)
    return None if shape is None or len(sizes) < len(shape) else math.prod(sizes)
