"""Kernels without groups and dilations, which hls4ml does not have beside the depthwise one.

zeros take the place of what a group does not see, and of the gaps of a dilated kernel
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.graph.constants import constant
from anybit.ops.channels_last.layout import DOMAIN as CHANNELS_LAST
from anybit.ops.sizes import refuse_bytes
from anybit.targets.hls4ml.repairs import Repairs


def rewrite_kernels(repairs: Repairs) -> None:
    """Writes zeros into the weights of grouped and of dilated convolutions; hls4ml removes products with zero."""
    for node in repairs.nodes("Conv"):
        value, array = _weights(node)
        if node.domain != CHANNELS_LAST or value is None or array is None:
            continue
        group, dilations = node.attributes.get_int("group", 1), list(node.attributes.get_ints("dilations", ()))
        plain = array
        if any(d != 1 for d in dilations):
            plain = _dilated(plain, dilations)
            repairs.add(node, "the gaps of the dilated kernel become zeros", got=f"dilations {dilations}")
            node.attributes["dilations"] = ir.AttrInt64s("dilations", [1] * len(dilations))
            node.attributes["kernel_shape"] = ir.AttrInt64s("kernel_shape", list(plain.shape[1:-1]))
        if group != 1 and not (group == array.shape[0] and array.shape[-1] == 1):
            plain = _ungrouped(plain, group)
            repairs.add(node, "the groups become one, with zeros where a group does not look", got=f"{group} groups")
            node.attributes["group"] = ir.AttrInt64("group", 1)
        if plain is not array:
            _replace(repairs, node, value, plain)


def _weights(node: ir.Node) -> tuple[ir.Value | None, Array | None]:
    """The constant that the weights are, or that their quantiser reads."""
    value = node.inputs[1]
    quantize = None if value is None else value.producer()
    value = value if quantize is None else quantize.inputs[0]
    return value, constant(value)


def _replace(repairs: Repairs, node: ir.Node, value: ir.Value, array: Array) -> None:
    """Gives the convolution other values of its weights; its quantiser, which is its own, gets the new shape."""
    made = repairs.edit.constant(f"{node.outputs[0].name}/kernel", array)
    weights = node.inputs[1]
    quantize = None if weights is None else weights.producer()
    if quantize is None:
        node.replace_input_with(1, made)
    else:
        quantize.replace_input_with(0, made)
        quantize.outputs[0].shape = ir.Shape(array.shape)
    repairs.edit.discard(value)


def _dilated(array: Array, dilations: list[int]) -> Array:
    spatial = [(size - 1) * d + 1 for size, d in zip(array.shape[1:-1], dilations, strict=True)]
    shape = (array.shape[0], *spatial, array.shape[-1])
    refuse_bytes(math.prod(shape) * array.itemsize, f"a kernel with dilations {dilations} filled with zeros")
    wide = np.zeros(shape, array.dtype)
    wide[(slice(None), *(slice(None, None, d) for d in dilations))] = array
    return wide


def _ungrouped(array: Array, group: int) -> Array:
    """(M, k.., C / group) as (M, k.., C)."""
    outputs, inputs = array.shape[0] // group, array.shape[-1]
    refuse_bytes(array.nbytes * group, f"a convolution of {group} groups as one")
    whole = np.zeros((*array.shape[:-1], inputs * group), array.dtype)
    for g in range(group):
        rows = slice(g * outputs, (g + 1) * outputs)
        whole[rows, ..., g * inputs : (g + 1) * inputs] = array[rows]
    return whole
