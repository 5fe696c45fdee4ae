"""copied: a copy of a model in memory, sorted as onnx-ir needs it."""

from __future__ import annotations

import onnx_ir as ir

from anybit.graph.walk import all_graphs
from anybit.io.repair.normalize import ORDER, REPAIRS, note_order, repairs, sort_graphs


def copied(source: ir.Model) -> ir.Model | None:
    """A copy, None where onnx-ir cannot make one; it has no tensors that nothing makes, and no cycles."""
    try:
        copy: ir.Model | None = source.clone()
    except RuntimeError:
        copy = _copied_in_order(source)
    if copy is None:
        return None
    known = repairs(copy)
    copy.meta.update({key: value for key, value in source.meta.items() if key != ORDER})
    copy.meta[REPAIRS] = (*repairs(source), *known)
    return copy


def _copied_in_order(source: ir.Model) -> ir.Model | None:
    """A sorted copy; the nodes of the source are sorted for as long as it takes, and then as they were."""
    tops = [source.graph, *(f.graph for f in source.functions.values())]
    graphs = [graph for top in tops for graph in all_graphs(top)]
    nodes = [list(graph) for graph in graphs]
    try:
        early = sort_graphs(source)
        copy = source.clone()
    except RuntimeError:
        return None
    finally:
        for graph, order in zip(graphs, nodes, strict=True):
            graph.extend(order)  # which moves them
    note_order(copy, early)
    return copy
