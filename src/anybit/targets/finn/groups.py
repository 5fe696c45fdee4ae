"""write_groups: convolutions of several groups as one with zeros, of which FINN has the depthwise kind alone."""

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


def write_groups(model: ir.Model) -> list[Rewrite]:
    """Gives convolutions of integers one group, in place: zeros are the weights of what a group does not look at.

    Depthwise ones, of as many groups as input and output channels, stay.

    Args:
        model: Written in the dialect.
    """
    rewrites: list[Rewrite] = []
    with Editor(model, rule="groups") as edit:
        for node in edit.nodes("Conv"):
            group, weights, stated = node.attributes.get_int("group", 1), node.inputs[1], format_of(node.inputs[1])
            array = constant(weights)
            if group == 1 or array is None or weights is None or stated is None or not is_hardware(node):
                continue
            if array.shape[:2] == (group, 1):
                continue
            refuse_bytes(array.nbytes * group, label(node))
            whole = edit.constant(f"{weights.name}/whole", _ungrouped(array, group), like=weights)
            annotate_number_format(whole, IntFormat(2, signed=True) if isinstance(stated, BipolarFormat) else stated)
            edit.rewire(node, 1, whole)
            node.attributes["group"] = ir.AttrInt64("group", 1)
            rewrites.append(Rewrite(problem="its groups become one, with zeros", node=label(node), got=str(group)))
    return rewrites


def _ungrouped(array: Array, group: int) -> Array:
    """(M, C / group, k..) as (M, C, k..)."""
    outputs, inputs = array.shape[0] // group, array.shape[1]
    whole = np.zeros((array.shape[0], inputs * group, *array.shape[2:]), array.dtype)
    for g in range(group):
        rows = slice(g * outputs, (g + 1) * outputs)
        whole[rows, g * inputs : (g + 1) * inputs] = array[rows]
    return whole
