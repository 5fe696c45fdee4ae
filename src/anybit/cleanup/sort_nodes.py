"""SortNodes: every node behind the nodes that make its inputs."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from anybit.graph.order import sort
from anybit.graph.walk import all_nodes


@dataclass(frozen=True)
class SortNodes(ir.passes.InPlacePass):
    """Sorts the nodes of a graph, its subgraphs and the functions topologically; a sorted graph keeps its order.

    Before: ``y = Neg(a); a = Abs(x)``; after: ``a = Abs(x); y = Neg(a)``.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Applies the pass.

        Raises:
            InvalidModelError: The graph has a cycle.
        """
        modified = False
        for graph in (model.graph, *(f.graph for f in model.functions.values())):
            before = list(all_nodes(graph))
            sort(graph)
            modified |= before != list(all_nodes(graph))
        return ir.passes.PassResult(model, modified)
