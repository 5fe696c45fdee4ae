"""The order of nodes: each behind those that make its inputs."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import onnx_ir as ir

from anybit.errors import InvalidModelError
from anybit.graph.walk import all_graphs, all_nodes, is_undefined, label, reads, subgraphs

_GRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


def read_too_early(graph: ir.Graph) -> list[tuple[ir.Node, ir.Value]]:
    """The nodes, in subgraphs too, that stand before the node that makes one of their inputs, with that input."""
    found: list[tuple[ir.Node, ir.Value]] = []
    _visit(graph, set(), found)
    return found


def sort(graph: ir.Graph) -> None:
    """Sorts a graph and its subgraphs topologically; what is sorted keeps its order.

    Raises:
        InvalidModelError: The graph has a cycle; a node of it is named.
    """
    try:
        with _without_references(graph):
            graph.sort()
    except ValueError as error:
        cycle = [label(n) for n in cycle_of(graph)] or [f"graph '{graph.name}'"]
        way = " -> ".join([*cycle, cycle[0]])
        raise InvalidModelError("the graph has a cycle", node=cycle[0], got=way) from error


@contextmanager
def _without_references(graph: ir.Graph) -> Generator[None]:
    """Takes graphs that a function gets from its caller from the nodes meanwhile: onnx-ir takes them for graphs."""
    kept = {
        node: tuple(node.attributes.values())
        for node in all_nodes(graph)
        if any(a.is_ref() and a.type in _GRAPHS for a in node.attributes.values())
    }
    for node, attributes in kept.items():
        for attribute in attributes:
            if attribute.is_ref():
                del node.attributes[attribute.name]
    try:
        yield
    finally:
        for node, attributes in kept.items():
            node.attributes.clear()
            node.attributes.update({a.name: a for a in attributes})


def refuse_undefined(graph: ir.Graph) -> None:
    """Raises for the first tensor, in subgraphs too, that is read and that nothing makes.

    Raises:
        InvalidModelError: With the node that reads it, or the output that it is.
    """
    for node in all_nodes(graph):
        for value in node.inputs:
            if value is not None and is_undefined(value):
                raise InvalidModelError(f"input '{value.name}' comes from nowhere", node=label(node))
    for part in all_graphs(graph):
        for value in part.outputs:
            if is_undefined(value):
                raise InvalidModelError("a graph output comes from nowhere", node=f"output '{value.name}'")


def cycle_of(graph: ir.Graph) -> list[ir.Node]:
    """Nodes that each read what the one before makes, the first what the last makes; empty if there are none."""
    for part in all_graphs(graph):
        before = _before(part)
        left = _not_sortable(before)
        if left:
            return _around(left[0], set(left), before)
    return []


def _visit(graph: ir.Graph, seen: set[ir.Node], found: list[tuple[ir.Node, ir.Value]]) -> None:
    for node in graph:
        for value in node.inputs:
            maker = None if value is None else value.producer()
            if value is not None and maker is not None and maker not in seen:
                found.append((node, value))
        for inner in subgraphs(node):
            _visit(inner, seen, found)
        seen.add(node)


def _before(graph: ir.Graph) -> dict[ir.Node, list[ir.Node]]:
    """For each node of a graph the nodes of the same graph that must stand before it."""
    return {
        node: [maker for v in reads(node) if (maker := v.producer()) is not None and maker.graph is graph]
        for node in graph
    }


def _not_sortable(before: dict[ir.Node, list[ir.Node]]) -> list[ir.Node]:
    """The nodes of cycles and those that come after them, in the order of the graph."""
    waiting = {node: len(makers) for node, makers in before.items()}
    readers: dict[ir.Node, list[ir.Node]] = {node: [] for node in before}
    for node, makers in before.items():
        for maker in makers:
            readers[maker].append(node)
    ready = [node for node, count in waiting.items() if not count]
    while ready:
        node = ready.pop()
        del waiting[node]
        for reader in readers[node]:
            waiting[reader] -= 1
            if not waiting[reader]:
                ready.append(reader)
    return [node for node in before if node in waiting]


def _around(start: ir.Node, left: set[ir.Node], before: dict[ir.Node, list[ir.Node]]) -> list[ir.Node]:
    """Walks from reader to maker until a node comes again; what was walked since then is the cycle."""
    walked: dict[ir.Node, None] = {}
    node = start
    while node not in walked:
        walked[node] = None
        node = next(maker for maker in before[node] if maker in left)
    path = list(walked)
    return path[path.index(node) :][::-1]
