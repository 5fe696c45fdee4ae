"""write_kernels: convolutions with zeros in their kernels, where FINN takes no others.

Of several groups it has the depthwise kind alone; a kernel of one pixel loses its padding when it is lowered.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.graph.annotations import annotate_number_format
from anybit.graph.constants import constant
from anybit.graph.editor import Editor
from anybit.graph.walk import label, shape_of
from anybit.number_formats import BipolarFormat, IntFormat
from anybit.ops.sizes import refuse_bytes
from anybit.targets.finn.dialect_rules import format_of, is_hardware
from anybit.targets.finn.windows import is_padded_pixel
from anybit.targets.handover import Rewrite


def write_kernels(model: ir.Model) -> list[Rewrite]:
    """Writes groups as one, and gives padded kernels of one pixel a second one, in place: what is added is 0.

    Depthwise convolutions, of as many groups as input and output channels, keep their groups.

    Args:
        model: Written in the dialect.
    """
    rewrites: list[Rewrite] = []
    with Editor(model, rule="kernels") as edit:
        for node in edit.nodes("Conv"):
            array, group = constant(node.inputs[1]), node.attributes.get_int("group", 1)
            if array is None or not is_hardware(node):
                continue
            if group != 1 and array.shape[:2] != (group, 1):
                refuse_bytes(array.nbytes * group, label(node))
                array = _ungrouped(array, group)
                _replace(edit, node, array)
                node.attributes["group"] = ir.AttrInt64("group", 1)
                rewrites.append(Rewrite(problem="its groups become one, with zeros", node=label(node), got=str(group)))
            for axis in _single_axes(node):
                array = _cropped(edit, node, array, axis)
                rewrites.append(Rewrite(problem="the taps of its kernel that see padding alone go", node=label(node)))
            if is_padded_pixel(node):
                _widen(edit, node, array)
                rewrites.append(Rewrite(problem="a second pixel, of zeros, in its kernel", node=label(node)))
    return rewrites


def _single_axes(conv: ir.Node) -> list[int]:
    """The spatial axes along which there is one pixel before and behind, of which more than one tap or padding is."""
    x = conv.inputs[0]
    before, after = (None if v is None else shape_of(v) for v in (x, conv.outputs[0]))
    if before is None or after is None:
        return []
    kernel, pads = (list(conv.attributes.get_ints(name, ())) for name in ("kernel_shape", "pads"))
    dilations = conv.attributes.get_ints("dilations") or [1] * len(kernel)
    found: list[int] = []
    for axis, (n, m, k, d) in enumerate(zip(before[2:], after[2:], kernel, dilations, strict=True)):
        begin, end = pads[axis], pads[len(kernel) + axis]
        if n == m == 1 and (k != 1 or begin or end) and begin % d == 0 and begin // d < k:
            found.append(axis)
    return found


def _cropped(edit: Editor, node: ir.Node, array: Array, axis: int) -> Array:
    """Leaves the one tap along an axis that sees the one pixel there is; the others see zeros."""
    ints = {name: list(node.attributes.get_ints(name, ())) for name in ("kernel_shape", "pads", "strides", "dilations")}
    rank = len(ints["kernel_shape"])
    tap = ints["pads"][axis] // ints["dilations"][axis]
    array = np.take(array, [tap], axis=axis + 2)
    for name, number in (("kernel_shape", 1), ("strides", 1), ("dilations", 1)):
        ints[name][axis] = number
    ints["pads"][axis] = ints["pads"][axis + rank] = 0
    _replace(edit, node, array)
    for name, listed in ints.items():
        node.attributes[name] = ir.AttrInt64s(name, listed)
    return array


def _widen(edit: Editor, node: ir.Node, array: Array) -> None:
    x = node.inputs[0]
    sizes = [n or 1 for n in (() if x is None else (shape_of(x) or ())[2:])]
    axis = int(np.argmax(sizes))
    pads, kernel = list(node.attributes.get_ints("pads", ())), [1] * len(sizes)
    pads[len(sizes) + axis] += 1
    kernel[axis] = 2
    _replace(edit, node, np.concatenate([array, np.zeros_like(array)], axis=axis + 2))
    node.attributes["kernel_shape"] = ir.AttrInt64s("kernel_shape", kernel)
    node.attributes["pads"] = ir.AttrInt64s("pads", pads)


def _replace(edit: Editor, node: ir.Node, array: Array) -> None:
    """Gives a convolution other weights, 0 among them."""
    weights = node.inputs[1]
    made = edit.constant(f"{node.outputs[0].name}/kernel", array, like=weights)
    stated = format_of(weights)
    annotate_number_format(made, IntFormat(2, signed=True) if isinstance(stated, BipolarFormat) else stated)
    edit.rewire(node, 1, made)


def _ungrouped(array: Array, group: int) -> Array:
    """(M, C / group, k..) as (M, C, k..)."""
    outputs, inputs = array.shape[0] // group, array.shape[1]
    whole = np.zeros((array.shape[0], inputs * group, *array.shape[2:]), array.dtype)
    for g in range(group):
        rows = slice(g * outputs, (g + 1) * outputs)
        whole[rows, g * inputs : (g + 1) * inputs] = array[rows]
    return whole
