"""clean_graph, describe_initializers: what `ModelWrapper.transform` leaves in order behind each transformation.

It works on the ``onnx.GraphProto`` itself: between the steps of a script a graph may be no sound one yet, with an
initializer still to come or an operator that no file may have.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import Any

import onnx
from onnx import helper

from anybit.graph.names import Names

_COMMUTATIVE = frozenset(("Add", "Mul", "And", "Or", "Xor", "Sum"))


def clean_graph(graph: onnx.GraphProto) -> None:
    """Removes tensors that nothing uses and inputs that are stored; sorts nodes; gives each use its own initializer.

    Nodes stay, also those that nothing reads: a script may be about to connect them.
    """
    stored = {t.name for t in graph.initializer}
    _keep(graph.input, lambda i: i.name not in stored)
    used = {name for node in graph.node for name in (*_reads(node), *node.output)}
    used |= {v.name for v in (*graph.input, *graph.output)}
    _keep(graph.initializer, lambda t: t.name in used)
    _keep(graph.value_info, lambda v: v.name in used)
    _keep(graph.quantization_annotation, lambda a: a.tensor_name in used)
    _sort_nodes(graph)
    for node in graph.node:
        if node.domain == "" and node.op_type in _COMMUTATIVE:
            node.input[:] = sorted(node.input, key=stored.__contains__)
    _separate_initializers(graph, used)
    describe_initializers(graph)


def describe_initializers(graph: onnx.GraphProto) -> None:
    """Gives each initializer that has none a ``ValueInfoProto``: the package runs nodes one by one with them."""
    known = {v.name for v in (*graph.input, *graph.output, *graph.value_info)}
    for stored in graph.initializer:
        if stored.name not in known:
            graph.value_info.append(helper.make_tensor_value_info(stored.name, stored.data_type, stored.dims))


def _keep(entries: Any, wanted: Callable[[Any], bool]) -> None:
    kept = [entry for entry in entries if wanted(entry)]
    if len(kept) < len(entries):
        del entries[:]
        entries.extend(kept)


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """Names that the node reads, those inside of its subgraphs too."""
    yield from node.input
    for attribute in node.attribute:
        for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
            yield from (value.name for value in inner.output)
            for each in inner.node:
                yield from _reads(each)


def _sort_nodes(graph: onnx.GraphProto) -> None:
    """Each node behind those that it reads, else in the order that there is; a graph with a cycle stays as it is."""
    makers = {name: place for place, node in enumerate(graph.node) for name in node.output if name}
    readers: list[list[int]] = [[] for _ in graph.node]
    waiting = [0] * len(graph.node)
    for place, node in enumerate(graph.node):
        for maker in {makers[name] for name in _reads(node) if name in makers}:
            readers[maker].append(place)
            waiting[place] += 1
    ready = [place for place, count in enumerate(waiting) if not count]
    order: list[int] = []
    while ready:
        order.append(heapq.heappop(ready))
        for reader in readers[order[-1]]:
            waiting[reader] -= 1
            if not waiting[reader]:
                heapq.heappush(ready, reader)
    if len(order) == len(graph.node) and order != sorted(order):
        nodes = [graph.node[place] for place in order]
        del graph.node[:]
        graph.node.extend(nodes)


def _separate_initializers(graph: onnx.GraphProto, taken: set[str]) -> None:
    """Each use of an initializer but the first gets a copy of it, with its annotation."""
    stored = {t.name: t for t in graph.initializer}
    stated = {a.tensor_name: a for a in graph.quantization_annotation}
    names, seen = Names(taken), set[str]()
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name not in stored:
                continue
            if name in seen:
                node.input[place] = names.fresh(name)
                graph.initializer.add().CopyFrom(stored[name])
                graph.initializer[-1].name = node.input[place]
                if name in stated:
                    graph.quantization_annotation.add().CopyFrom(stated[name])
                    graph.quantization_annotation[-1].tensor_name = node.input[place]
            seen.add(name)
