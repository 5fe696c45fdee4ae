"""Convolutions, pools and normalisations with channels last: rules of ToChannelsLast by operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from anybit.graph.walk import shape_of
from anybit.ops.channels_last.layout import DOMAIN
from anybit.ops.standard.windows import Windows
from anybit.passes.layout.channels_last.plan import LayoutPlan, rank_of

_AXES_ARE_AN_INPUT = 18  # of ReduceMax
_OWN = frozenset({"storage_order"})  # says how MaxPool counts positions, which it is not asked for


def plan_conv(node: ir.Node, opset: int) -> LayoutPlan | None:
    """Conv, whose weights follow, too: (M, C/group, kernel...) become (M, kernel..., C/group)."""
    del opset
    rank, weight = rank_of(node.inputs[0]), shape_of(node.inputs[1]) if node.inputs[1] is not None else None
    kernel = None if weight is None else weight[2:]
    if rank is None or kernel is None or None in kernel or len(kernel) != rank - 2:
        return None
    sizes = [n for n in kernel if n is not None]
    group = {"group": ir.AttrInt64("group", node.attributes.get_int("group", 1))}
    explicit = _windows(node, sizes, always=("dilations",))
    return LayoutPlan(
        rank=rank, operands=(0, 1), attributes=group | explicit, dropped=_dropped(explicit), domain=DOMAIN
    )


def plan_pool(node: ir.Node, opset: int) -> LayoutPlan | None:
    """MaxPool and AveragePool, without the positions of the largest elements."""
    del opset
    rank, kernel = rank_of(node.inputs[0]), node.attributes.get_ints("kernel_shape")
    if rank is None or kernel is None or len(kernel) != rank - 2 or any(o.name and o.uses() for o in node.outputs[1:]):
        return None
    if any(o.is_graph_output() for o in node.outputs[1:]):
        return None
    explicit = _windows(node, kernel)
    return LayoutPlan(rank=rank, attributes=explicit, dropped=_dropped(explicit) | _OWN, domain=DOMAIN)


def plan_global_average(node: ir.Node, opset: int) -> LayoutPlan | None:
    """GlobalAveragePool."""
    del opset
    rank = rank_of(node.inputs[0])
    return None if rank is None else LayoutPlan(rank=rank, domain=DOMAIN)


def plan_global_max(node: ir.Node, opset: int) -> LayoutPlan | None:
    """GlobalMaxPool is ReduceMax over the spatial axes, wherever these stand."""
    rank = rank_of(node.inputs[0])
    if rank is None:
        return None
    axes, keep = list(range(1, rank - 1)), {"keepdims": ir.AttrInt64("keepdims", 1)}
    if opset < _AXES_ARE_AN_INPUT:
        return LayoutPlan(rank=rank, op_type="ReduceMax", attributes=keep | {"axes": ir.AttrInt64s("axes", axes)})
    return LayoutPlan(rank=rank, op_type="ReduceMax", attributes=keep, constants={1: np.array(axes, np.int64)})


def plan_batch_normalization(node: ir.Node, opset: int) -> LayoutPlan | None:
    """BatchNormalization for inference, with parameters by channel."""
    del opset
    rank, training = rank_of(node.inputs[0]), node.attributes.get_int("training_mode", 0)
    if rank is None or training or not node.attributes.get_int("spatial", 1):
        return None
    if any(o.uses() or o.is_graph_output() for o in node.outputs[1:]):
        return None
    defaults = {"epsilon": 1e-5, "momentum": 0.9}
    explicit = {n: ir.AttrFloat32(n, node.attributes.get_float(n, d)) for n, d in defaults.items()}
    dropped = frozenset({"spatial", "training_mode"})
    return LayoutPlan(rank=rank, attributes=explicit, dropped=dropped, domain=DOMAIN)


def _windows(node: ir.Node, kernel: Sequence[int], *, always: Sequence[str] = ()) -> dict[str, ir.Attr]:
    """The attributes of the windows written out; `auto_pad` stays where padding depends on a size that is not known."""
    given: dict[str, Any] = {
        n: node.attributes[n].value for n in ("strides", "pads", "dilations", "auto_pad") if n in node.attributes
    }
    strides = tuple(given.get("strides") or (1,) * len(kernel))
    spatial = (shape_of(node.inputs[0]) or ())[2:] if node.inputs[0] is not None else ()
    lists: dict[str, Sequence[int]] = {"kernel_shape": kernel, "strides": strides}
    same = given.get("auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER")
    if not same or all(s == 1 or n is not None for n, s in zip(spatial, strides, strict=True)):
        sizes = [1 if n is None else n for n in spatial]  # of no effect on the padding where the stride is 1
        windows = Windows.of(sizes, kernel, given)
        lists["pads"] = (*windows.pads_begin, *windows.pads_end)
    dilations = tuple(given.get("dilations") or (1,) * len(kernel))
    if "dilations" in always or set(dilations) != {1}:  # opsets before 10 have no dilated pools
        lists["dilations"] = dilations
    return {name: ir.AttrInt64s(name, list(values)) for name, values in lists.items()}


def _dropped(explicit: Mapping[str, ir.Attr]) -> frozenset[str]:
    return frozenset({"auto_pad"} if "pads" in explicit else {"pads"}) | ({"dilations"} - explicit.keys())


_Rule = Callable[[ir.Node, int], LayoutPlan | None]

ANCHORS: Mapping[str, _Rule] = {
    "AveragePool": plan_pool,
    "BatchNormalization": plan_batch_normalization,
    "Conv": plan_conv,
    "GlobalAveragePool": plan_global_average,
    "MaxPool": plan_pool,
}
"""Operators that the domain of channels last has."""

EXPRESSED: Mapping[str, _Rule] = {"GlobalMaxPool": plan_global_max}
"""Operators that other standard operators express with channels last."""

LEFT = frozenset(
    """ConvTranspose DepthToSpace GlobalLpPool GroupNormalization InstanceNormalization LpPool LRN
    SpaceToDepth""".split()
)
"""Operators whose channels are the second axis, and that nothing expresses otherwise."""
