"""Conv1dTo2d: one-dimensional convolutions, and what stands between them, as two-dimensional ones."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from anybit.errors import Finding, Severity
from anybit.io.annotations import annotate_layout, annotated_layout
from anybit.ops.constants import constant, new_initializer
from anybit.ops.nodes import label, operator_of, shape_of
from anybit.ops.operator import DOMAIN, Array
from anybit.passes.infer_shapes import InferShapes
from anybit.passes.name_tensors import Names
from anybit.passes.notes import note

_WINDOWS: Mapping[str, tuple[int, ...]] = {  # with the inputs that have the dimension
    "Conv": (0, 1), "ConvInteger": (0, 1), "ConvTranspose": (0, 1), "QLinearConv": (0, 3),
    "AveragePool": (0,), "LpPool": (0,), "MaxPool": (0,),
    "GlobalAveragePool": (0,), "GlobalLpPool": (0,), "GlobalMaxPool": (0,),
}  # fmt: skip
# What the added dimension gets: one element, seen once, nothing beside it.
_PER_DIMENSION = {"kernel_shape": 1, "strides": 1, "dilations": 1, "output_shape": 1, "pads": 0, "output_padding": 0}
_FIRST_INPUT = frozenset(
    """Abs Acos Acosh Asin Asinh Atan Atanh BatchNormalization Cast CastLike Ceil Celu Clip Cos Cosh Dropout Elu Erf Exp
    Floor Gelu GroupNormalization HardSigmoid HardSwish Identity InstanceNormalization IsInf IsNaN LeakyRelu Log LRN
    Mish Neg Not Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Tan Tanh
    ThresholdedRelu""".split()
)
_BROADCAST = frozenset(
    """Add And Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mod Mul Or Pow PRelu Sub Sum Where
    Xor""".split()
)
_WITH_AXIS = {"Concat": 0, "Split": 0, "Hardmax": -1, "LogSoftmax": -1, "Softmax": -1}  # the default since opset 13
_AXES_ARE_AN_INPUT = 13


class UnitAxis(enum.Enum):
    """Where the added dimension of size 1 stands: (N, C, 1, L) or (N, C, L, 1)."""

    HEIGHT = 2
    WIDTH = 3


@dataclass(frozen=True)
class _Plan:
    """How a node becomes one on 4-D tensors: by input, the axes to add; attributes; the amounts of a Pad."""

    slots: Mapping[int, tuple[int, ...]]
    attributes: Mapping[str, ir.Attr] = field(default_factory=dict[str, ir.Attr])
    pads: Array | None = None


@dataclass(frozen=True)
class Conv1dTo2d(ir.passes.InPlacePass):
    """Turns convolutions and pools on (N, C, L), and all between them that can follow, into ones on (N, C, 1, L).

    Before: ``h = Conv(x, w); y = Relu(h)`` with ``float[1,3,16] x, float[8,3,5] w``; after: ``x_4d = Unsqueeze(x, [2]);
    h = Conv(x_4d, w); y_4d = Relu(h); y = Squeeze(y_4d, [2])`` with ``float[8,3,1,5] w``. Quantisers, elementwise
    operators, normalisation, Concat, Split, Softmax and Pad follow, with their parameters; any other operator is left on
    (N, C, L), between Squeeze and Unsqueeze. Sums have the same terms, so the result is the same in real arithmetic.

    Attributes:
        unit: Where the dimension of size 1 stands.
        keep_interface: Keep the shapes of graph inputs and outputs; else those beside the new operators get four.
    """

    unit: UnitAxis = UnitAxis.HEIGHT
    keep_interface: bool = True

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        InferShapes()(model)
        plans = {n: p for n in model.graph.all_nodes() if (p := self._plan(n, model.opset_imports)) is not None}
        for node in (n for n in model.graph.all_nodes() if n not in plans and _is_one_dimensional(n)):
            note(model, Finding(
                rule="conv-1d-to-2d", problem="left on three dimensions", node=label(node),
                expected="known ranks, plain attributes, one output", severity=Severity.WARNING,
            ))  # fmt: skip
        region = _region(plans)
        if region:
            _Rewriter(model, self, {n: p for n, p in plans.items() if n in region}).rewrite()
        return ir.passes.PassResult(model, modified=bool(region))

    def _plan(self, node: ir.Node, opsets: Mapping[str, int]) -> _Plan | None:
        ranks = [None if v is None or (s := shape_of(v)) is None else len(s) for v in node.inputs]
        wanted = [o for o in node.outputs if o.name]
        if any(len(shape_of(o) or ()) != 3 for o in wanted) or any(a.is_ref() for a in node.attributes.values()):
            return None
        first = {0: (self.unit.value,)} if ranks and ranks[0] == 3 else None
        if node.domain == DOMAIN and operator_of(node, dict(opsets)) is not None:
            if node.op_type != "MultiThreshold":
                return self._broadcast(node)
            layout = node.attributes.get_string("data_layout", "NCHW")
            return None if first is None or layout.endswith("C") else _Plan(first)
        if node.domain != "":
            return None
        if node.op_type in _WINDOWS:
            slots = _WINDOWS[node.op_type]
            good = len(wanted) == 1 and all(i < len(ranks) and ranks[i] == 3 for i in slots)
            return _Plan(dict.fromkeys(slots, (self.unit.value,)), self._per_dimension(node)) if good else None
        if node.op_type in _BROADCAST:
            return self._broadcast(node)
        if first is None:
            return None
        match node.op_type:
            case "QuantizeLinear" | "DequantizeLinear" if not node.attributes.get_int("block_size", 0):
                return _Plan(first, self._axis(node, 1))
            case "Concat":
                return self._broadcast(node, self._axis(node, 0)) if all(r == 3 for r in ranks) else None
            case "Split" | "Softmax" | "LogSoftmax" | "Hardmax":
                old = node.op_type != "Split" and opsets.get("", 1) < 13  # they saw X as a matrix, from axis 1 on
                return _Plan(first, self._axis(node, 1 if old else _WITH_AXIS[node.op_type]))
            case "Pad":
                return self._pad(node, first)
            case _:
                return _Plan(first) if node.op_type in _FIRST_INPUT else None

    def _broadcast(self, node: ir.Node, attributes: Mapping[str, ir.Attr] | None = None) -> _Plan | None:
        slots: dict[int, tuple[int, ...]] = {}
        for index, value in enumerate(node.inputs):
            shape = None if value is None else shape_of(value)
            if shape is None or len(shape) > 3:
                return None
            stays = all(d == 1 for d in shape) or (len(shape) == 1 and self.unit is UnitAxis.HEIGHT)
            if len(shape) == 3 or not stays:
                slots[index] = (*range(3 - len(shape)), self.unit.value)
        return _Plan(slots, attributes or {})

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

    def _pad(self, node: ir.Node, first: Mapping[int, tuple[int, ...]]) -> _Plan | None:
        is_input = len(node.inputs) > 1
        amounts = constant(node.inputs[1]) if is_input else node.attributes.get_ints("pads")
        if amounts is None or len(amounts) != 6 or (len(node.inputs) > 3 and node.inputs[3] is not None):
            return None
        pads = np.insert(np.asarray(amounts, np.int64), [self.unit.value, 3 + self.unit.value], 0)
        return _Plan(first, pads=pads) if is_input else _Plan(first, {"pads": ir.AttrInt64s("pads", pads.tolist())})


def _is_one_dimensional(node: ir.Node) -> bool:
    if node.domain != "" or node.op_type not in _WINDOWS:
        return False
    return any(v is not None and len(shape_of(v) or ()) == 3 for v in node.inputs[:4])


def _neighbours(node: ir.Node, plans: Mapping[ir.Node, _Plan]) -> Iterator[ir.Node]:
    inputs = [v for i, v in enumerate(node.inputs) if i in plans[node].slots and v is not None and constant(v) is None]
    for value in (*inputs, *node.outputs):
        producer = value.producer()
        if len(shape_of(value) or ()) == 3:
            yield from (n for n in (producer,) if n is not None)
            yield from (user for user, index in value.uses() if user in plans and index in plans[user].slots)


def _region(plans: Mapping[ir.Node, _Plan]) -> set[ir.Node]:
    """The convolutions and pools, and what is connected with them by tensors that follow."""
    pending = [n for n in plans if n.domain == "" and n.op_type in _WINDOWS]
    region: set[ir.Node] = set()
    while pending:
        node = pending.pop()
        if node in region or node not in plans:
            continue
        region.add(node)
        pending += _neighbours(node, plans)
    return region
