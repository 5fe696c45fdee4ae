"""Which operators on (N, C, L) mean the same on (N, C, 1, L), and what has to change for it: rules of Conv1dTo2d."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.graph.constants import constant
from anybit.graph.walk import shape_of
from anybit.ops.calls import is_call, traits_of
from anybit.ops.multi_threshold import MULTI_THRESHOLD
from anybit.ops.traits import BROADCASTING, UNARY

_WINDOWS: Mapping[str, tuple[int, ...]] = {  # with the inputs that have the dimension
    "Conv": (0, 1), "ConvInteger": (0, 1), "ConvTranspose": (0, 1), "QLinearConv": (0, 3),
    "AveragePool": (0,), "LpPool": (0,), "MaxPool": (0,),
    "GlobalAveragePool": (0,), "GlobalLpPool": (0,), "GlobalMaxPool": (0,),
}  # fmt: skip
# What the added dimension gets: one element, seen once, nothing beside it.
_PER_DIMENSION = {"kernel_shape": 1, "strides": 1, "dilations": 1, "output_shape": 1, "pads": 0, "output_padding": 0}
_FIRST_INPUT = UNARY | {"BatchNormalization", "GroupNormalization", "InstanceNormalization", "LRN"}
_WITH_AXIS = {"Concat": 0, "Split": 0, "Hardmax": -1, "LogSoftmax": -1, "Softmax": -1}  # the default since opset 13


class UnitAxis(enum.Enum):
    """Where the added dimension of size 1 stands: (N, C, 1, L) or (N, C, L, 1)."""

    HEIGHT = 2
    WIDTH = 3


@dataclass(frozen=True)
class Conv1dPlan:
    """How a node becomes one on 4-D tensors: by input, the axes to add; attributes; the amounts of a Pad."""

    slots: Mapping[int, tuple[int, ...]]
    attributes: Mapping[str, ir.Attr] = field(default_factory=dict[str, ir.Attr])
    pads: Array | None = None


@dataclass(frozen=True)
class Planner:
    """Decides node by node, by operator and ranks; shapes must be inferred.

    Attributes:
        unit: Where the added dimension stands.
    """

    unit: UnitAxis

    def plan(self, node: ir.Node, opsets: Mapping[str, int]) -> Conv1dPlan | None:
        """How the node follows; None if it does not."""
        ranks = [None if v is None or (s := shape_of(v)) is None else len(s) for v in node.inputs]
        made = [shape_of(o) for o in node.outputs if o.name]
        if any(shape is None or len(shape) != 3 for shape in made) or any(a.is_ref() for a in node.attributes.values()):
            return None
        first = {0: (self.unit.value,)} if ranks and ranks[0] == 3 else None
        if node.domain == "":
            return self._standard(node, ranks, first, opsets.get("", 1))
        traits = traits_of(node, opsets)
        if traits.elementwise:
            return self._broadcast(node) if traits.broadcasting else None if first is None else Conv1dPlan(first)
        if not is_call(node, MULTI_THRESHOLD):
            return None
        layout = node.attributes.get_string("data_layout", "NCHW")
        return None if first is None or layout.endswith("C") else Conv1dPlan(first)

    def _standard(
        self, node: ir.Node, ranks: list[int | None], first: dict[int, tuple[int, ...]] | None, opset: int
    ) -> Conv1dPlan | None:
        if node.op_type in _WINDOWS:
            slots = _WINDOWS[node.op_type]
            good = sum(bool(o.name) for o in node.outputs) == 1 and all(i < len(ranks) and ranks[i] == 3 for i in slots)
            return Conv1dPlan(dict.fromkeys(slots, (self.unit.value,)), self._per_dimension(node)) if good else None
        if node.op_type in BROADCASTING:
            return self._broadcast(node)
        if first is None:
            return None
        match node.op_type:
            case "QuantizeLinear" | "DequantizeLinear" if not node.attributes.get_int("block_size", 0):
                return Conv1dPlan(first, self._axis(node, 1))
            case "Concat":
                return self._broadcast(node, self._axis(node, 0)) if all(r == 3 for r in ranks) else None
            case "Split" | "Softmax" | "LogSoftmax" | "Hardmax":
                old = node.op_type != "Split" and opset < 13  # they saw X as a matrix, from axis 1 on
                return Conv1dPlan(first, self._axis(node, 1 if old else _WITH_AXIS[node.op_type]))
            case "Pad":
                return self._pad(node, first)
            case "BatchNormalization" if not node.attributes.get_int("spatial", 1):
                return None  # before opset 9: parameters per element
            case _:
                return Conv1dPlan(first) if node.op_type in _FIRST_INPUT else None

    def _broadcast(self, node: ir.Node, attributes: Mapping[str, ir.Attr] | None = None) -> Conv1dPlan | None:
        slots: dict[int, tuple[int, ...]] = {}
        for index, value in enumerate(node.inputs):
            shape = None if value is None else shape_of(value)
            if shape is None or len(shape) > 3:
                return None
            stays = all(d == 1 for d in shape) or (len(shape) == 1 and self.unit is UnitAxis.HEIGHT)
            if len(shape) == 3 or not stays:
                slots[index] = (*range(3 - len(shape)), self.unit.value)
        return Conv1dPlan(slots, attributes or {})

    def _axis(self, node: ir.Node, default: int) -> dict[str, ir.Attr]:
        axis = node.attributes.get_int("axis", default) % 3
        moved = axis + (axis >= self.unit.value)
        return {} if moved == node.attributes.get_int("axis", default) else {"axis": ir.AttrInt64("axis", moved)}

    def _per_dimension(self, node: ir.Node) -> dict[str, ir.Attr]:
        changed = {n: node.attributes[n].as_ints() for n in _PER_DIMENSION if n in node.attributes}
        return {n: ir.AttrInt64s(n, self._with_unit(v, _PER_DIMENSION[n])) for n, v in changed.items()}

    def _with_unit(self, values: tuple[int, ...], unit: int) -> list[int]:
        """Values of the dimensions, begin and end of each where there are more than one, with the added dimension."""
        place = self.unit.value - 2
        return [v for old in values for v in ((unit, old) if place == 0 else (old, unit))]

    def _pad(self, node: ir.Node, first: Mapping[int, tuple[int, ...]]) -> Conv1dPlan | None:
        is_input = len(node.inputs) > 1
        amounts = constant(node.inputs[1]) if is_input else node.attributes.get_ints("pads")
        if amounts is None or len(amounts) != 6 or (len(node.inputs) > 3 and node.inputs[3] is not None):
            return None
        pads = np.insert(np.asarray(amounts, np.int64), [self.unit.value, 3 + self.unit.value], 0)
        return (
            Conv1dPlan(first, pads=pads)
            if is_input
            else Conv1dPlan(first, {"pads": ir.AttrInt64s("pads", pads.tolist())})
        )


def is_one_dimensional(node: ir.Node) -> bool:
    """Whether it is a convolution or a pool along one dimension."""
    if node.domain != "" or node.op_type not in _WINDOWS:
        return False
    return any(v is not None and len(shape_of(v) or ()) == 3 for v in node.inputs[:4])


def connected(plans: Mapping[ir.Node, Conv1dPlan]) -> set[ir.Node]:
    """The convolutions and pools, and what is connected with them by tensors that follow."""
    pending = [n for n in plans if n.domain == "" and n.op_type in _WINDOWS]
    region: set[ir.Node] = set()
    seen: set[ir.Value] = set()
    while pending:
        node = pending.pop()
        if node in region or node not in plans:
            continue
        region.add(node)
        for value in _linking(node, plans[node]):
            if value not in seen:
                seen.add(value)
                pending += _neighbours(value, plans)
    return region


def _linking(node: ir.Node, plan: Conv1dPlan) -> list[ir.Value]:
    inputs = [v for i, v in enumerate(node.inputs) if i in plan.slots and v is not None and constant(v) is None]
    return [v for v in (*inputs, *node.outputs) if len(shape_of(v) or ()) == 3]


def _neighbours(value: ir.Value, plans: Mapping[ir.Node, Conv1dPlan]) -> Iterator[ir.Node]:
    producer = value.producer()
    if producer is not None:
        yield producer
    yield from (user for user, index in value.uses() if user in plans and index in plans[user].slots)
