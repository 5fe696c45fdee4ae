"""bypass: takes a node out of the graph, so that its first input stands for its output."""

from __future__ import annotations

import onnx_ir as ir


def bypass(node: ir.Node, position: int = 0) -> bool:
    """Removes `node`, whose output is the same as one of its inputs, and lets its users read that input.

    Names of graph outputs are kept: the input takes the output's name, if it has none to keep of its own.

    Args:
        node: Node to remove.
        position: Which of its inputs.

    Returns:
        False, with nothing changed, where the node has to stay: between an input and an output of the graph, or
        where the two tensors carry annotations that differ.
    """
    source, result, graph = node.inputs[position], node.outputs[0], node.graph
    if source is None or graph is None or _conflict(source, result):
        return False
    if result.is_graph_output() and not _can_be_renamed(source, node):
        return False
    name, exposed = result.name, result.is_graph_output()
    for key, value in result.meta.items():
        source.meta.setdefault(key, value)
    if source.shape is None:
        source.shape = result.shape
    result.replace_all_uses_with(source, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    if exposed:
        source.name = name
    return True


def _can_be_renamed(source: ir.Value, node: ir.Node) -> bool:
    producer = source.producer()
    return producer is not None and producer.graph is node.graph and not source.is_graph_output()


def _conflict(source: ir.Value, result: ir.Value) -> bool:
    return any(key in source.meta and source.meta[key] != value for key, value in result.meta.items())
