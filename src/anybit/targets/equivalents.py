"""write_equivalents: operators that no hardware tool has, as others that all of them have and that mean the same.

Pad(0) and Conv = Conv;  GlobalMaxPool, ReduceMax over positions = MaxPool;  x + x = 2 x;  Concat(axis < 0) = Concat;
Slice, Split, Gather of channels = MatMul or Conv with zeros and ones
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from anybit.cleanup.remove_unused import RemoveUnused
from anybit.graph.constants import constant
from anybit.graph.editor import Editor
from anybit.graph.walk import label, shape_of
from anybit.ops.evaluate import known_value
from anybit.targets.handover import Rewrite
from anybit.targets.selections import write_selections

_IMAGE = 4


def write_equivalents(model: ir.Model) -> list[Rewrite]:
    """Replaces what has an exact equivalent, in place.

    Args:
        model: A hub model, with shapes.
    """
    rewrites: list[Rewrite] = []
    for rewrite in (_merge_pads, _pool_maxima, _double, _state_axes, _bring_constants_behind, write_selections):
        with Editor(model, rule="equivalents") as edit:
            rewrite(edit, rewrites)
    RemoveUnused()(model)
    return rewrites


def _merge_pads(edit: Editor, rewrites: list[Rewrite]) -> None:
    """Gives a convolution the zeros that a Pad in front of it adds around the image."""
    for node in edit.nodes("Conv"):
        x = node.inputs[0]
        pad = None if x is None else x.producer()
        sizes = None if pad is None or pad.op_type != "Pad" or pad.domain != "" else _zeros_around(pad, edit.model)
        if x is None or pad is None or sizes is None:
            continue
        if node.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
            continue
        given = node.attributes.get_ints("pads") or [0] * len(sizes)
        node.attributes.pop("auto_pad", None)
        node.attributes["pads"] = ir.AttrInt64s("pads", [a + b for a, b in zip(given, sizes, strict=True)])
        edit.rewire(node, 0, pad.inputs[0])
        rewrites.append(Rewrite(problem="its padding becomes the convolution's own", node=label(pad), got=str(sizes)))


def _zeros_around(pad: ir.Node, model: ir.Model) -> list[int] | None:
    """How many zeros a Pad adds before and behind each spatial axis; None where it does anything else."""
    inputs = [*pad.inputs, None, None, None]
    shape = None if inputs[0] is None else shape_of(inputs[0])
    if shape is None or pad.attributes.get_string("mode", "constant") != "constant":
        return None
    stated = pad.attributes.get_ints("pads")
    pads = np.asarray(stated, np.int64) if stated is not None else known_value(inputs[1], model.opset_imports)
    number = known_value(inputs[2], model.opset_imports)
    if pads is None or (inputs[2] is not None and number is None):
        return None
    filled = pad.attributes.get_float("value", 0.0) if number is None else float(number.reshape(-1)[0])
    axes = known_value(inputs[3], model.opset_imports)
    if inputs[3] is not None and axes is None:
        return None
    chosen = list(range(len(shape))) if axes is None else [int(a) % len(shape) for a in axes]
    before, behind = [0] * len(shape), [0] * len(shape)
    for axis, (first, last) in zip(chosen, pads.reshape(2, -1).T.tolist(), strict=True):
        before[axis], behind[axis] = int(first), int(last)
    outside = [*before[:2], *behind[:2]]
    return None if filled or any(outside) or min([*before, *behind]) < 0 else [*before[2:], *behind[2:]]


def _pool_maxima(edit: Editor, rewrites: list[Rewrite]) -> None:
    """Writes the largest element of each channel of an image as a MaxPool over all of it."""
    for node in edit.nodes("GlobalMaxPool", "ReduceMax"):
        x, made = node.inputs[0], node.outputs[0]
        shape = None if x is None else shape_of(x)
        if shape is None or len(shape) != _IMAGE or None in shape[1:] or x is None or x.dtype != ir.DataType.FLOAT:
            continue
        if node.op_type == "ReduceMax" and _axes(node, edit.model) != [2, 3]:
            continue
        size = [n or 1 for n in shape[2:]]
        attributes = {
            "kernel_shape": ir.AttrInt64s("kernel_shape", size),
            "strides": ir.AttrInt64s("strides", size),
        }
        pool = edit.node("MaxPool", [x], f"{made.name}/pooled", like=x, attributes=attributes)
        pool.outputs[0].shape = ir.Shape([*shape[:2], 1, 1])
        nodes = [pool]
        if node.op_type == "ReduceMax" and not node.attributes.get_int("keepdims", 1):
            axis = {"axis": ir.AttrInt64("axis", 1)}
            nodes.append(edit.node("Flatten", pool.outputs, f"{made.name}/flat", like=made, attributes=axis))
        rewrites.append(Rewrite(problem="a MaxPool over the whole image in its place", node=label(node)))
        edit.replace(made, nodes)


def _axes(node: ir.Node, model: ir.Model) -> list[int] | None:
    given = known_value(node.inputs[1], model.opset_imports) if len(node.inputs) > 1 else None
    listed = node.attributes.get_ints("axes") if given is None else given.tolist()
    return None if listed is None else sorted(int(a) % _IMAGE for a in listed)


def _double(edit: Editor, rewrites: list[Rewrite]) -> None:
    """Writes the sum of a tensor and itself as twice the tensor."""
    for node in edit.nodes("Add"):
        x, made = node.inputs[0], node.outputs[0]
        if x is None or x is not node.inputs[1] or x.dtype != ir.DataType.FLOAT or constant(x) is not None:
            continue
        two = edit.constant(f"{made.name}/two", np.asarray(2, np.float32))
        rewrites.append(Rewrite(problem="adds a tensor to itself: twice the tensor in its place", node=label(node)))
        edit.replace(made, edit.node("Mul", [x, two], f"{made.name}/doubled", like=made))


def _state_axes(edit: Editor, rewrites: list[Rewrite]) -> None:
    """Counts the axis of each Concat from the front."""
    for node in edit.nodes("Concat"):
        shape, axis = shape_of(node.outputs[0]), node.attributes.get_int("axis", 1)
        if shape is not None and -len(shape) <= axis < 0:
            edit.touch()
            node.attributes["axis"] = ir.AttrInt64("axis", axis + len(shape))
            rewrites.append(Rewrite(problem="its axis counted from the front", node=label(node), got=f"{axis}"))


def _bring_constants_behind(edit: Editor, rewrites: list[Rewrite]) -> None:
    """Makes a constant the second operand of a sum or a product of elements."""
    for node in edit.nodes("Add", "Mul"):
        first, second = node.inputs
        if constant(first) is None or second is None or constant(second) is not None:
            continue
        edit.touch()
        node.replace_input_with(0, second)
        node.replace_input_with(1, first)
        rewrites.append(Rewrite(problem="its constant becomes the second operand", node=label(node)))
