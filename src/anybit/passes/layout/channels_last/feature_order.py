"""absorb: what follows a Flatten takes the features in another order, its parameters and weights being permuted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.errors import Refusal
from anybit.graph.constants import constant
from anybit.graph.editor import Editor
from anybit.graph.walk import label, shape_of
from anybit.ops.calls import is_call, traits_of
from anybit.ops.evaluate import known_value
from anybit.ops.multi_threshold import MULTI_THRESHOLD
from anybit.passes.layout.channels_last.plan import rank_of

_Order = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Absorption:
    """The nodes behind a Flatten that can take its features in another order.

    Attributes:
        order: New feature i is old feature order[i].
        parameters: The inputs that are laid out anew, with the axis of features counted from the end.
    """

    order: _Order
    parameters: tuple[tuple[ir.Node, int, int], ...] = ()


def is_flatten(node: ir.Node) -> bool:
    """Whether the node makes a matrix (N, features) of (N, C, spatial...), one row for each image."""
    if node.domain != "" or node.op_type not in ("Flatten", "Reshape") or node.inputs[0] is None:
        return False
    if node.op_type == "Flatten":
        return node.attributes.get_int("axis", 1) == 1
    shape, target = shape_of(node.inputs[0]), constant(node.inputs[1])
    if shape is None or target is None or len(target) != 2:
        return False
    features = None if None in shape[1:] else math.prod(n for n in shape[1:] if n is not None)
    rows, columns = (int(n) for n in target)
    copies_rows = rows == 0 and not node.attributes.get_int("allowzero", 0)
    keeps_rows = copies_rows or (rows > 0 and rows == shape[0])
    return (keeps_rows and columns in (-1, features)) or (rows == -1 and columns == features)


def absorb(node: ir.Node, opsets: Mapping[str, int]) -> Absorption | Refusal:
    """How what follows a Flatten takes the features of (N, spatial..., C), or why it does not."""
    shape = shape_of(node.inputs[0]) if node.inputs[0] is not None else None
    channels, spatial = (None, (None,)) if shape is None else (shape[1], shape[2:])
    if channels == 1 or set(spatial) == {1}:
        return Absorption(np.zeros(0, np.int64))
    if channels is None or None in spatial:
        return Refusal(problem="the number of features is not known", got=str(shape), hint="state the input's shape")
    count = channels * math.prod(n for n in spatial if n is not None)
    order = np.arange(count).reshape(channels, -1).T.ravel()
    parameters: list[tuple[ir.Node, int, int]] = []
    waiting = [node.outputs[0]]
    while waiting:
        value = waiting.pop()
        if value.is_graph_output():
            return Refusal(problem="the features are put out in their order", got=f"output '{value.name}'")
        for user, index in value.uses():
            found = _parameters(user, index, opsets)
            if found is None or user.graph is not node.graph:
                return Refusal(problem="the features are read in their order", got=label(user))
            parameters += [(user, place, axis) for place, axis in found]
            if user.op_type not in ("MatMul", "Gemm"):
                waiting += user.outputs
    return Absorption(order, tuple(parameters))


def permute(edit: Editor, absorption: Absorption, opsets: Mapping[str, int]) -> None:
    """Lays out the parameters in the new order."""
    made: dict[tuple[ir.Value, int], ir.Value] = {}
    for node, index, axis in absorption.parameters:
        value = node.inputs[index]
        if value is None:
            continue
        key = (value, axis)
        if key not in made:
            made[key] = _permuted(edit, node, value, axis, absorption.order, opsets)
        edit.rewire(node, index, made[key])


def _parameters(node: ir.Node, index: int, opsets: Mapping[str, int]) -> list[tuple[int, int]] | None:
    """The inputs that go along when the features come in another order, and their axis; None where it cannot be."""
    if any(a.is_ref() for a in node.attributes.values()):
        return None
    others = [i for i, v in enumerate(node.inputs) if i != index and v is not None]
    if node.domain == "" and node.op_type == "MatMul":
        return [(1, -2)] if index == 0 and rank_of(node.inputs[1]) == 2 else None
    if node.domain == "" and node.op_type == "Gemm":
        if index != 0 or node.attributes.get_int("transA", 0):
            return None
        return [(1, -1 if node.attributes.get_int("transB", 0) else -2)]
    if node.domain == "" and node.op_type == "BatchNormalization" and len(node.outputs) == 1:
        return [(i, -1) for i in others] if index == 0 else None
    if is_call(node, MULTI_THRESHOLD):
        return [(1, -2)] if index == 0 else None
    traits = traits_of(node, opsets)
    if not traits.elementwise:
        return None
    if not traits.broadcasting:
        return [] if index == 0 else None
    shapes = [shape_of(v) for v in node.inputs if v is not None]
    if any(s is None for s in shapes) or any(known_value(node.inputs[i], opsets) is None for i in others):
        return None
    return [(i, -1) for i in others]


def _permuted(
    edit: Editor, node: ir.Node, value: ir.Value, axis: int, order: _Order, opsets: Mapping[str, int]
) -> ir.Value:
    """The value with its features in the new order; made in front of `node` where it takes nodes."""
    shape = shape_of(value)
    if shape is not None and (len(shape) < -axis or shape[axis] == 1):
        return value  # the same for all features
    array, name = constant(value), f"{value.name}/channels_last"
    if array is not None:
        return edit.constant(name, array.take(order, axis), like=value)
    maker = value.producer()
    inputs = None if maker is None or known_value(value, opsets) is None else _inputs_by_feature(maker, axis, opsets)
    if maker is None or inputs is None:
        indices = edit.constant(f"{name}/order", order)
        attributes = {"axis": ir.AttrInt64("axis", axis + (len(shape) if shape is not None else 2))}
        made = edit.node("Gather", [value, indices], name, like=value, attributes=attributes)
    else:
        laid = [
            v if v is None or i not in inputs else _permuted(edit, node, v, inputs[i], order, opsets)
            for i, v in enumerate(maker.inputs)
        ]
        made = edit.node(maker.op_type, laid, name, like=value, domain=maker.domain, attributes=dict(maker.attributes))
        made.outputs[0].meta.update(value.meta)
    edit.insert(made, before=node)
    return made.outputs[0]


def _inputs_by_feature(maker: ir.Node, axis: int, opsets: Mapping[str, int]) -> dict[int, int] | None:
    """Which inputs of a weight's maker have the features, along which axis; None where that cannot be said."""
    rank = rank_of(maker.outputs[0])
    if rank is None or len(maker.outputs) > 1:
        return None
    if maker.domain == "" and maker.op_type == "Transpose":
        perm = maker.attributes.get_ints("perm", tuple(range(rank))[::-1])
        return {0: perm[axis] - rank}
    if maker.domain == "" and maker.op_type in ("QuantizeLinear", "DequantizeLinear"):
        by_row = maker.attributes.get_int("axis", 1) % rank == axis % rank
        parameters = {i: -1 for i, v in enumerate(maker.inputs) if i and by_row and rank_of(v) == 1}
        return None if maker.attributes.get_int("block_size", 0) else {0: axis, **parameters}
    traits = traits_of(maker, opsets)
    if not traits.elementwise:
        return None
    return {0: axis} if not traits.broadcasting else dict.fromkeys(range(len(maker.inputs)), axis)
