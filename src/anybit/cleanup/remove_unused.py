"""RemoveUnused: nodes, initializers and functions that no output depends on."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedFunctionsPass, RemoveUnusedNodesPass

from anybit.graph.annotations import ANNOTATIONS
from anybit.graph.names import all_values
from anybit.graph.walk import all_nodes, inner_graphs, subgraphs


@dataclass(frozen=True)
class RemoveUnused(ir.passes.InPlacePass):
    """Removes dead nodes, initializers that nothing reads, and model-local functions that nothing calls.

    Before: ``a = Abs(x); b = Neg(x)`` with output ``a``; after: ``a = Abs(x)``. What a subgraph captures is used, and
    so are initializers that an annotation of a tensor names.
    Inputs stay, used or not: they are the model's interface.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = any([_remove_dead(model.graph), *map(_remove_dead, model.functions.values())])
        named = _only_named(model.graph)
        for value in named:
            del model.graph.initializers[str(value.name)]
        modified |= RemoveUnusedNodesPass()(model).modified  # initializers, and outputs that nobody wants
        for value in named:
            model.graph.register_initializer(value)
        modified |= RemoveUnusedFunctionsPass()(model).modified
        modified |= _remove_from_subgraphs(model)
        return ir.passes.PassResult(model, modified)


def _only_named(graph: ir.Graph) -> list[ir.Value]:
    """Initializers that no node reads, but that an annotation names, as the standard's SCALE_TENSOR does."""
    entries = [e for v in all_values(graph) for e in (v.meta.get(ANNOTATIONS) or {}).items()]
    names = {text for key, text in entries if key.endswith("_TENSOR")}
    initializers = [v for name, v in graph.initializers.items() if name in names]
    return [v for v in initializers if not (v.uses() or v.is_graph_input() or v.is_graph_output())]


def _remove_dead(graph: ir.Graph | ir.Function) -> bool:
    """Removes nodes whose outputs nothing reads, and then those before them; in any order of the nodes."""
    pending = list(all_nodes(graph))
    modified = False
    while pending:
        node = pending.pop()
        if node.graph is None or any(o.uses() or o.is_graph_output() for o in node.outputs):
            continue
        # onnx-ir leaves what the subgraphs of a removed node capture as used, and these nodes in their graphs.
        inner = [node, *(n for g in subgraphs(node) for n in all_nodes(g))]
        pending += [p for n in inner for v in n.inputs if v is not None and (p := v.producer()) is not None]
        for one in inner[1:]:
            one.resize_inputs(0)
        for g in subgraphs(node):
            g.outputs.clear()
        node.graph.remove(node, safe=True)
        modified = True
    return modified


def _remove_from_subgraphs(model: ir.Model) -> bool:
    """Initializers of subgraphs, which onnx-ir's pass leaves."""
    modified = False
    for graph in inner_graphs(model.graph):
        unused = [
            name
            for name, value in graph.initializers.items()
            if not value.uses() and not value.is_graph_output() and not value.is_graph_input()
        ]
        for name in unused:
            del graph.initializers[name]
            modified = True
    return modified
