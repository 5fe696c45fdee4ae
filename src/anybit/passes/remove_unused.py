"""RemoveUnused: nodes, initializers and functions that no output depends on."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedFunctionsPass, RemoveUnusedNodesPass


@dataclass(frozen=True)
class RemoveUnused(ir.passes.InPlacePass):
    """Removes dead nodes, initializers that nothing reads, and model-local functions that nothing calls.

    Before: ``a = Abs(x); b = Neg(x)`` with output ``a``; after: ``a = Abs(x)``. What a subgraph captures is used.
    Inputs stay, used or not: they are the model's interface.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        _release_captures(model.graph)
        modified = RemoveUnusedNodesPass()(model).modified
        modified |= RemoveUnusedFunctionsPass()(model).modified
        modified |= _remove_from_subgraphs(model)
        return ir.passes.PassResult(model, modified)


def _release_captures(graph: ir.Graph) -> None:
    """Lets go of what the subgraphs of dead nodes capture: removing such a node leaves their uses behind."""
    for node in reversed(list(graph)):
        if any(o.uses() or o.is_graph_output() for o in node.outputs):
            continue
        for attribute in node.attributes.values():
            if attribute.type != ir.AttributeType.GRAPH:
                continue
            for inner in attribute.as_graph().all_nodes():
                for position in range(len(inner.inputs)):
                    inner.replace_input_with(position, None)


def _remove_from_subgraphs(model: ir.Model) -> bool:
    """Initializers of subgraphs, which onnx-ir's pass leaves."""
    modified = False
    for graph in model.graph.subgraphs():
        unused = [
            name
            for name, value in graph.initializers.items()
            if not value.uses() and not value.is_graph_output() and not value.is_graph_input()
        ]
        for name in unused:
            del graph.initializers[name]
            modified = True
    return modified
