"""MergeEqualNodes: what is computed twice from the same tensors is computed once."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import onnx_ir as ir

from anybit.arrays import content
from anybit.graph.annotations import ANNOTATIONS
from anybit.graph.constants import constant
from anybit.graph.editor import Editor
from anybit.graph.walk import all_nodes, subgraphs
from anybit.ops.traits import NO_TRAITS, STANDARD

_SMALL = 1024  # bytes of constants that are compared by their elements
_KEPT = frozenset(("Constant", "DequantizeLinear", "QuantizeLinear"))


@dataclass(frozen=True)
class MergeEqualNodes(ir.passes.InPlacePass):
    """Merges standard nodes that do the same to the same tensors: common subexpressions.

    Before: ``a = Shape(x); b = Shape(x)``; after: ``a = Shape(x)``, which also takes the uses of b. They must stand in
    the same graph and have the same annotations. Random operators, nodes with subgraphs and quantisers stay, as each
    of these says the number format of one tensor; so do two outputs of the model, which keep their two names.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        with Editor(model, rule="merge-equal-nodes") as edit:
            first: dict[Hashable, ir.Node] = {}
            for node in list(all_nodes(model.graph)):
                if not _is_comparable(node):
                    continue
                kept = first.setdefault(_key(node), node)
                if kept is not node and not any(o.is_graph_output() for o in node.outputs):
                    for old, new in zip(node.outputs, kept.outputs, strict=True):
                        edit.redirect(old, new)
                    edit.remove(node)
        return edit.result()


def _is_comparable(node: ir.Node) -> bool:
    if node.domain != "" or node.op_type in _KEPT or STANDARD.get(node.op_type, NO_TRAITS).random:
        return False
    is_plain = not any(True for _ in subgraphs(node)) and not any(a.is_ref() for a in node.attributes.values())
    training = node.attributes.get_int("training_mode", 0) or (node.op_type == "Dropout" and len(node.inputs) > 2)
    return is_plain and bool(node.inputs) and not training


def _key(node: ir.Node) -> Hashable:
    """Equal for nodes whose outputs are equal."""
    attributes = tuple(sorted((name, _attribute(a)) for name, a in node.attributes.items()))
    stated = tuple(repr(sorted((o.meta.get(ANNOTATIONS) or {}).items())) for o in node.outputs)
    outputs = tuple(bool(o.name) for o in node.outputs)
    return node.graph, node.op_type, tuple(map(_input, node.inputs)), attributes, stated, outputs


def _attribute(attribute: ir.Attr) -> str:
    if attribute.type == ir.AttributeType.TENSOR:
        tensor = attribute.as_tensor()
        return f"{tensor.dtype} {tensor.shape} {content(tensor.numpy()).hex()}"
    return f"{attribute.type} {attribute.value!r}"


def _input(value: ir.Value | None) -> Hashable:
    array = constant(value)
    if array is None or array.nbytes > _SMALL or value is None or value.meta.get(ANNOTATIONS):
        return value
    return str(array.dtype), array.shape, content(array)
