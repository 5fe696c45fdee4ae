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
from anybit.graph.walk import label
from anybit.number_formats import BipolarFormat, IntFormat
from anybit.ops.sizes import refuse_bytes
from anybit.targets.finn.dialect_rules import format_of, is_hardware
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
            if is_padded_pixel(node):
                pads = list(node.attributes.get_ints("pads", ()))
                pads[len(pads) // 2] += 1
                _replace(edit, node, np.concatenate([array, np.zeros_like(array)], axis=2))
                node.attributes["kernel_shape"] = ir.AttrInt64s("kernel_shape", [2, *(1,) * (array.ndim - 3)])
                node.attributes["pads"] = ir.AttrInt64s("pads", pads)
                rewrites.append(Rewrite(problem="a second row, of zeros, in its kernel of a pixel", node=label(node)))
    return rewrites


def is_padded_pixel(conv: ir.Node) -> bool:
    """Whether the kernel of a convolution is one pixel, at every position of an image with padding."""
    ones = [n for name in ("kernel_shape", "strides") for n in conv.attributes.get_ints(name, ())]
    return all(n == 1 for n in ones) and any(conv.attributes.get_ints("pads", ()))


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
