"""LayoutPlan: how a node follows when its tensors get their channels as the last axis; Planner: which nodes can."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from anybit.arrays import Array
from anybit.graph.walk import shape_of
from anybit.ops.calls import call_of, operator_of, traits_of
from anybit.ops.channels_last.layout import to_last

LAYOUTS = {3: "NWC", 4: "NHWC", 5: "NDHWC"}
"""What MultiThreshold calls the layout, by rank."""


class Domain(enum.Enum):
    """Which operators stand for convolutions, pools and normalisations on tensors with their channels last."""

    CHANNELS_LAST = "channels-last"
    """Those of the domain ``qonnx.custom_op.channels_last``."""
    STANDARD = "standard"
    """The standard ones, each between two Transposes."""


@dataclass(frozen=True, kw_only=True)
class LayoutPlan:
    """How a node follows.

    Attributes:
        rank: Rank of the tensors whose axes change places.
        operands: Indices of the inputs that change, or that broadcast to those.
        attributes: Attributes that change.
        dropped: Attributes that go.
        constants: Inputs that become other constants, such as axes and pads.
        op_type: Another operator, None for the same.
        domain: Another domain.
        follows: Whether the outputs have their channels last, too; else they are as they were.
    """

    rank: int
    operands: tuple[int, ...] = (0,)
    attributes: Mapping[str, ir.Attr] = field(default_factory=dict[str, ir.Attr])
    dropped: frozenset[str] = frozenset()
    constants: Mapping[int, Array] = field(default_factory=dict[int, Array])
    op_type: str | None = None
    domain: str | None = None
    follows: bool = True


def moved_axis(axis: int, rank: int) -> int:
    """Where an axis of (N, C, spatial...) stands in (N, spatial..., C).

    Example:
        >>> [moved_axis(a, 4) for a in (0, 1, 2, -1)]
        [0, 3, 1, 2]
    """
    return to_last(rank).index(axis % rank)


def rank_of(value: ir.Value | None) -> int | None:
    """Number of axes, None where it is not known."""
    shape = None if value is None else shape_of(value)
    return None if shape is None else len(shape)


def has_channels(node: ir.Node) -> bool:
    """Whether the first output has a batch, channels, and one to three spatial axes."""
    return rank_of(node.outputs[0]) in LAYOUTS


def plan_elementwise(node: ir.Node, opsets: Mapping[str, int]) -> LayoutPlan | None:
    """Operators that treat each element by itself; all that broadcasts to it follows."""
    rank = rank_of(node.outputs[0])
    if not traits_of(node, opsets).broadcasting:
        return None if rank is None or rank_of(node.inputs[0]) != rank else LayoutPlan(rank=rank)
    ranks = [rank_of(v) for v in node.inputs]
    if rank is None or any(r is None or r > rank for r in ranks) or "broadcast" in node.attributes:
        return None
    return LayoutPlan(rank=rank, operands=tuple(range(len(ranks))))


def plan_ours(node: ir.Node, opsets: Mapping[str, int]) -> LayoutPlan | None:
    """Operators whose record says how they follow: those that know of layouts are told the new one."""
    operator, rank = operator_of(node, opsets), rank_of(node.outputs[0])
    layout = None if operator is None else operator.layout
    if operator is None or layout is None or rank not in LAYOUTS or max(layout.inputs, default=0) >= len(node.inputs):
        return None
    if not layout.attribute:
        return LayoutPlan(rank=rank, operands=layout.inputs)
    if str(call_of(node, operator).attributes[layout.attribute]).endswith("C"):
        return None
    told = ir.AttrString(layout.attribute, LAYOUTS[rank])
    return LayoutPlan(rank=rank, operands=layout.inputs, attributes={layout.attribute: told})
