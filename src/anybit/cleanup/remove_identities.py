"""RemoveIdentities: operators that give back what they were given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.graph.bypass import bypass
from anybit.graph.constants import constant
from anybit.graph.walk import all_nodes
from anybit.ops.zero_sign import is_negative_zero, tensors_of_told_zeros

_FIRST_INFERENCE_ONLY_DROPOUT = 12  # before it, Dropout had no training mode
_END = 2**31 - 1  # of an axis, as exporters spell it: this or more
_FIRST_UNBOUNDED_CLIP = 11  # before it, Clip without bounds made the largest finite number of infinity


@dataclass(frozen=True)
class RemoveIdentities(ir.passes.InPlacePass):
    """Removes operators that are exactly identities, for every input.

    Before: ``b = Mul(a, 1); c = Reshape(b, [-1, 4]); d = Identity(c)`` with ``float[N,4] a``; after: ``a``.
    Covered: Identity, Dropout in inference, Cast to the same type, Transpose, Reshape, Flatten, Squeeze, Unsqueeze,
    Expand and Slice that change nothing, Pad by nothing, Concat, Sum, Mean, Max and Min of one tensor, Add and Sub of
    0, Mul and Div by 1, Pow to 1, Clip without bounds. A constant that is merely close to 0 or 1 stays. So does an
    Add of 0, which makes +0 of -0, where a later operator tells them apart (1 / x, say).
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        opset = model.opset_imports.get("", 1)
        modified, told = False, tensors_of_told_zeros(model)
        for node in list(all_nodes(model.graph)):
            position = _same_input(node, opset) if node.domain == "" else None
            if position is not None and node.outputs[0] in told and _changes_zeros(node, 1 - position):
                continue
            modified |= position is not None and bypass(node, position)
        return ir.passes.PassResult(model, modified)


def _same_input(node: ir.Node, opset: int) -> int | None:
    """The input that the node's output is the same as, None if there is none."""
    rule = _RULES.get(node.op_type)
    if rule is None or not node.inputs or any(o.uses() or o.is_graph_output() for o in node.outputs[1:]):
        return None
    if node.inputs[0] is not None and rule(node, opset):
        return 0
    return 1 if node.op_type in _COMMUTATIVE and _is_neutral(node, _COMMUTATIVE[node.op_type], operand=0) else None


def _always(node: ir.Node, opset: int) -> bool:
    del node, opset
    return True


def _dropout(node: ir.Node, opset: int) -> bool:
    if opset < _FIRST_INFERENCE_ONLY_DROPOUT or len(node.inputs) < 3 or node.inputs[2] is None:
        return True
    training = constant(node.inputs[2])
    return training is not None and not training.any()


def _cast(node: ir.Node, opset: int) -> bool:
    del opset
    source = node.inputs[0]
    target = node.attributes.get("to")
    return source is not None and target is not None and source.dtype is not None and source.dtype == target.as_int()


def _single(node: ir.Node, opset: int) -> bool:
    del opset
    return len(node.inputs) == 1


def _clip(node: ir.Node, opset: int) -> bool:
    return opset >= _FIRST_UNBOUNDED_CLIP and not node.attributes and all(v is None for v in node.inputs[1:])


def _transpose(node: ir.Node, opset: int) -> bool:
    del opset
    permutation = node.attributes.get("perm")
    return permutation is not None and list(permutation.as_ints()) == sorted(permutation.as_ints())


def _same_shape(node: ir.Node, opset: int) -> bool:
    """Operators that only rename positions: they change nothing if they keep a shape that is known."""
    del opset
    before, after = node.inputs[0], node.outputs[0]
    if before is None or before.shape is None or after.shape is None:
        return False
    return before.shape == after.shape and _free_dimensions(before.shape) <= 1


def _free_dimensions(shape: ir.Shape) -> int:
    """Dimensions that are not known numbers; two of them could trade places, unnamed ones could be anything."""
    free = [d for d in shape if not isinstance(d, int)]
    return len(free) if all(d.value is not None for d in free) else 2


def _slice(node: ir.Node, opset: int) -> bool:
    """A slice with positive steps that keeps every extent, or takes all from first to last, keeps every element."""
    if _takes_all(node):
        return True
    steps = constant(node.inputs[4]) if len(node.inputs) > 4 else None
    forward = len(node.inputs) < 5 or node.inputs[4] is None or (steps is not None and bool((steps > 0).all()))
    before = node.inputs[0]
    known = before is not None and before.shape is not None and _free_dimensions(before.shape) == 0
    return forward and known and _same_shape(node, opset)


def _takes_all(node: ir.Node) -> bool:
    """Whether starts, ends and steps say: from 0 to the end of the axis, one by one."""
    starts, ends = (constant(v) for v in (*node.inputs, None, None)[1:3])
    steps = constant(node.inputs[4]) if len(node.inputs) > 4 else None
    unit = len(node.inputs) < 5 or node.inputs[4] is None or (steps is not None and bool((steps == 1).all()))
    if starts is None or ends is None or not unit:
        return False
    return bool((starts == 0).all() and (ends >= _END).all())


def _pad(node: ir.Node, opset: int) -> bool:
    del opset
    pads = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if pads is None and "pads" in node.attributes:
        pads = np.asarray(node.attributes["pads"].as_ints())
    return pads is not None and not pads.any()


def _neutral(number: int) -> Callable[[ir.Node, int], bool]:
    """A rule for arithmetic whose second operand is `number` in every element."""

    def rule(node: ir.Node, opset: int) -> bool:
        del opset
        return _is_neutral(node, number, operand=1)

    return rule


def _is_neutral(node: ir.Node, number: int, *, operand: int) -> bool:
    """Whether one operand is a constant of `number` in every element, and does not widen the other."""
    if len(node.inputs) != 2:
        return False
    other, array = node.inputs[1 - operand], constant(node.inputs[operand])
    return other is not None and array is not None and _keeps(other, array, number)


def _changes_zeros(node: ir.Node, operand: int) -> bool:
    """Whether adding or subtracting zeros makes +0 of -0: x + (-0) and x - (+0) do not."""
    array = constant(node.inputs[operand]) if node.op_type in ("Add", "Sub") else None
    return array is not None and bool((is_negative_zero(array) == (node.op_type == "Sub")).any())


def _keeps(value: ir.Value, operand: Array, number: int) -> bool:
    if value.shape is None or not (operand == number).all() or operand.ndim > value.shape.rank():
        return False
    trailing = list(value.shape)[value.shape.rank() - operand.ndim :]
    return all(d in (1, size) for d, size in zip(operand.shape, trailing, strict=True))


_COMMUTATIVE = {"Add": 0, "Mul": 1}
_RULES: Mapping[str, Callable[[ir.Node, int], bool]] = {
    "Identity": _always,
    "Dropout": _dropout,
    "Cast": _cast,
    "Concat": _single,
    "Sum": _single,
    "Mean": _single,
    "Max": _single,
    "Min": _single,
    "Clip": _clip,
    "Transpose": _transpose,
    "Reshape": _same_shape,
    "Flatten": _same_shape,
    "Squeeze": _same_shape,
    "Unsqueeze": _same_shape,
    "Expand": _same_shape,
    "Slice": _slice,
    "Pad": _pad,
    "Add": _neutral(0),
    "Sub": _neutral(0),
    "Mul": _neutral(1),
    "Div": _neutral(1),
    "Pow": _neutral(1),
}
