"""Branches: what pools a tensor reads a quantised copy of it, and a gate that multiplies it reads it as it is."""

from __future__ import annotations

import onnx_ir as ir

from anybit.graph.names import Names
from anybit.ops.traits import MOVING
from anybit.quantization.placement import POOLS, read_through_quantizers


def branch_pooled(model: ir.Model) -> None:
    """Gives pooling a copy of each tensor that only gates and other element-wise operators read beside it.

    In a block of squeeze and excitation, ``Mul(x, gate(GlobalAveragePool(x)))``, the product gets a quantiser of its
    own behind it: with one on x as well, the way through the block would be rounded twice.
    """
    names = Names.of_tensors(model)
    for node in list(model.graph):
        for value in node.outputs:
            uses = list(value.uses())
            pools = [(reader, position) for reader, position in uses if _is_pool(reader)]
            others = [reader for reader, _ in uses if not _is_pool(reader)]
            if not pools or not others or any(_wants(reader, value) for reader in others):
                continue
            copy = ir.Node("", "Identity", [value])
            made = copy.outputs[0]
            made.name, made.type, made.shape = names.fresh(f"{value.name}/pooled"), value.type, value.shape
            copy.name = made.name
            model.graph.insert_after(node, copy)
            for reader, position in pools:
                reader.replace_input_with(position, made)


def branched_from(value: ir.Value) -> ir.Value | None:
    """The tensor of which a value is such a copy; None where it is none."""
    node = value.producer()
    return node.inputs[0] if node is not None and (node.domain, node.op_type) == ("", "Identity") else None


def _is_pool(node: ir.Node) -> bool:
    return node.domain == "" and node.op_type in POOLS


def _wants(node: ir.Node, value: ir.Value) -> bool:
    """Whether a node reads the tensor quantised, only moves its elements, or is of another domain."""
    return node.domain != "" or node.op_type in MOVING or value in read_through_quantizers(node)
