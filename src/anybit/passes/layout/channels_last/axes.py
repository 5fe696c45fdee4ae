"""Operators that name axes, with channels last: rules of ToChannelsLast by operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from anybit.graph.constants import constant
from anybit.ops.channels_last.layout import to_last
from anybit.passes.layout.channels_last.plan import LayoutPlan, moved_axis, rank_of

_SINGLE = {"Concat": 1, "Split": 0, "Softmax": -1, "LogSoftmax": -1, "Hardmax": -1, "ArgMax": 0, "ArgMin": 0}
_REDUCTIONS = """ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
ReduceSumSquare""".split()
_FLATTENING = 13  # before it Softmax and its kin saw X as a matrix, whose columns are the axes from `axis` on


def plan_axis(node: ir.Node, opset: int) -> LayoutPlan | None:
    """Concat, Split, Softmax and their kin: another axis."""
    rank = rank_of(node.inputs[0])
    if not rank or any(rank_of(v) != rank for v in node.inputs if node.op_type == "Concat"):
        return None
    old = node.op_type in ("Softmax", "LogSoftmax", "Hardmax") and opset < _FLATTENING
    axis = node.attributes.get_int("axis", 1 if old else _SINGLE[node.op_type])
    if old:  # rows of all channels and positions are the same set in any order; other rows are cut otherwise
        return LayoutPlan(rank=rank) if axis % rank == 1 and node.op_type != "Hardmax" else None
    operands = tuple(range(len(node.inputs))) if node.op_type == "Concat" else (0,)
    return LayoutPlan(rank=rank, operands=operands, attributes={"axis": ir.AttrInt64("axis", moved_axis(axis, rank))})


def plan_arg(node: ir.Node, opset: int) -> LayoutPlan | None:
    """ArgMax and ArgMin: another axis, and one axis fewer unless it is kept."""
    plan = plan_axis(node, opset)
    if plan is None or node.attributes.get_int("keepdims", 1):
        return plan
    axis = node.attributes.get_int("axis", 0)
    return _without(plan.rank, [axis], plan.attributes, {})


def plan_linear_quantization(node: ir.Node, opset: int) -> LayoutPlan | None:
    """QuantizeLinear and DequantizeLinear: the axis of their parameters."""
    del opset
    rank = rank_of(node.inputs[0])
    if rank is None or node.attributes.get_int("block_size", 0):
        return None
    if rank_of(node.inputs[1]) != 1:
        return LayoutPlan(rank=rank) if rank_of(node.inputs[1]) == 0 else None
    axis = moved_axis(node.attributes.get_int("axis", 1), rank)
    return LayoutPlan(rank=rank, attributes={"axis": ir.AttrInt64("axis", axis)})


def plan_reduction(node: ir.Node, opset: int) -> LayoutPlan | None:
    """Reductions: other axes; where all spatial ones go, the outputs are the same."""
    del opset
    rank, axes = rank_of(node.inputs[0]), _ints(node, "axes", 1)
    if rank is None or not axes:
        return None
    attributes, constants = _named(node, "axes", 1, [moved_axis(a, rank) for a in axes])
    if node.attributes.get_int("keepdims", 1):
        return LayoutPlan(rank=rank, attributes=attributes, constants=constants)
    return _without(rank, axes, attributes, constants)


def plan_squeeze(node: ir.Node, opset: int) -> LayoutPlan | None:
    """Squeeze: other axes."""
    del opset
    rank, axes = rank_of(node.inputs[0]), _ints(node, "axes", 1)
    if rank is None or not axes:
        return None
    return _without(rank, axes, *_named(node, "axes", 1, [moved_axis(a, rank) for a in axes]))


def plan_pad(node: ir.Node, opset: int) -> LayoutPlan | None:
    """Pad: its amounts in another order, or for other axes."""
    del opset
    rank = rank_of(node.inputs[0])
    if rank is None:
        return None
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        axes = constant(node.inputs[3])
        moved = None if axes is None else np.array([moved_axis(int(a), rank) for a in axes], axes.dtype)
        return None if moved is None else LayoutPlan(rank=rank, constants={3: moved})
    pads = _ints(node, "pads", 1)
    if pads is None or len(pads) != 2 * rank:
        return None
    order = to_last(rank)
    attributes, constants = _named(node, "pads", 1, [pads[a + half] for half in (0, rank) for a in order])
    return LayoutPlan(rank=rank, attributes=attributes, constants=constants)


def plan_slice(node: ir.Node, opset: int) -> LayoutPlan | None:
    """Slice: other axes."""
    rank, starts = rank_of(node.inputs[0]), _ints(node, "starts", 1)
    if rank is None or starts is None:
        return None
    is_given = (len(node.inputs) > 3 and node.inputs[3] is not None) or "axes" in node.attributes
    axes = _ints(node, "axes", 3) if is_given else list(range(len(starts)))
    if axes is None:
        return None
    moved = [moved_axis(a, rank) for a in axes]
    if opset < 10:
        return LayoutPlan(rank=rank, attributes={"axes": ir.AttrInt64s("axes", moved)})
    source = constant(node.inputs[1])
    dtype = np.int64 if source is None else source.dtype  # starts and axes are of one type
    return LayoutPlan(rank=rank, constants={3: np.array(moved, dtype)})


def plan_resize(node: ir.Node, opset: int) -> LayoutPlan | None:
    """Resize and Upsample: scales, sizes and region in another order, or for other axes."""
    rank, mode = rank_of(node.inputs[0]), node.attributes.get_string("mode", "nearest")
    # Engines interpolate with channels last along two axes only, and by neither cubics nor antialiased.
    is_common = mode == "nearest" or (mode == "linear" and rank == 4 and not node.attributes.get_int("antialias", 0))
    if rank is None or not is_common:
        return None
    axes = node.attributes.get_ints("axes")
    if axes is not None:
        return LayoutPlan(rank=rank, attributes={"axes": ir.AttrInt64s("axes", [moved_axis(a, rank) for a in axes])})
    order = list(to_last(rank))
    if "scales" in node.attributes:
        scales = node.attributes["scales"].as_floats()
        return LayoutPlan(rank=rank, attributes={"scales": ir.AttrFloat32s("scales", [scales[a] for a in order])})
    constants: dict[int, np.ndarray] = {}
    for index, value in enumerate(node.inputs[1:], start=1):
        array = constant(value)
        if value is None or (array is not None and not array.size):
            continue
        if array is None or array.size not in (rank, 2 * rank):
            return None
        is_region = opset >= 11 and index == 1
        constants[index] = array[[a + half for half in ((0, rank) if is_region else (0,)) for a in order]]
    return LayoutPlan(rank=rank, constants=constants)


def plan_transpose(node: ir.Node, opset: int) -> LayoutPlan | None:
    """Transpose: takes the axes from their new places; its output is the same."""
    del opset
    rank = rank_of(node.inputs[0])
    perm = None if rank is None else node.attributes.get_ints("perm", tuple(range(rank))[::-1])
    if rank is None or perm is None or sorted(perm) != list(range(rank)):
        return None
    composed = [moved_axis(a, rank) for a in perm]
    return LayoutPlan(rank=rank, attributes={"perm": ir.AttrInt64s("perm", composed)}, follows=False)


def composed(first: Sequence[int], second: Sequence[int]) -> tuple[int, ...]:
    """The one order of axes that does what two Transposes do.

    Example:
        >>> composed((0, 3, 1, 2), (0, 2, 3, 1))
        (0, 1, 2, 3)
    """
    return tuple(first[a] for a in second)


def _without(
    rank: int, axes: Sequence[int], attributes: Mapping[str, ir.Attr], constants: Mapping[int, np.ndarray]
) -> LayoutPlan | None:
    """The plan of an operator that takes axes away; None where what is left is in no order that has a name."""
    gone = {a % rank for a in axes}
    left = [a for a in to_last(rank) if a not in gone]
    places = [sorted(left).index(a) for a in left]
    natural = places == sorted(places)
    if not natural and places != list(to_last(len(left))):
        return None
    return LayoutPlan(rank=rank, attributes=attributes, constants=constants, follows=not natural)


def _ints(node: ir.Node, name: str, index: int) -> list[int] | None:
    """A list that is an attribute in old opsets and an input in new ones; None where it is not constant."""
    if len(node.inputs) > index:
        array = constant(node.inputs[index])
        return None if array is None or array.ndim != 1 else [int(v) for v in array]
    given = node.attributes.get_ints(name)
    return None if given is None else list(given)


def _named(
    node: ir.Node, name: str, index: int, values: Sequence[int]
) -> tuple[dict[str, ir.Attr], dict[int, np.ndarray]]:
    """The list as attributes or as constants, whichever the node has."""
    if len(node.inputs) > index:
        return {}, {index: np.array(values, np.int64)}
    return {name: ir.AttrInt64s(name, list(values))}, {}


RULES: Mapping[str, Callable[[ir.Node, int], LayoutPlan | None]] = {
    **dict.fromkeys(("Concat", "Split", "Softmax", "LogSoftmax", "Hardmax"), plan_axis),
    **dict.fromkeys(("ArgMax", "ArgMin"), plan_arg),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), plan_linear_quantization),
    **dict.fromkeys(_REDUCTIONS, plan_reduction),
    **dict.fromkeys(("Resize", "Upsample"), plan_resize),
    "Pad": plan_pad,
    "Slice": plan_slice,
    "Squeeze": plan_squeeze,
    "Transpose": plan_transpose,
}
"""Rules by standard operator: how it follows at this opset, None where it cannot."""
