"""partition: the nodes of a graph as the boxes that are drawn: layers, each with what only works on its result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from anybit.analysis.roles import Role, roles_of
from anybit.graph.walk import reads
from anybit.ops.calls import is_call, traits_of
from anybit.ops.multi_threshold import MULTI_THRESHOLD
from anybit.ops.traits import standard

# Standard operators that are drawn in the box of what they work on.
_FOLLOWERS = standard(lambda t: t.elementwise or t.keeps_elements) | frozenset(
    ("BatchNormalization", "DequantizeLinear", "QuantizeLinear")
)
_LARGEST = 8  # nodes in one box: a longer chain goes on in the next one


@dataclass(frozen=True)
class Partition:
    """The drawn graph of a model.

    Attributes:
        boxes: Nodes of each box, in the order in which they work; boxes in the order of the graph.
        box_of: Index of the box of each node; the nodes behind a constant are in that of its first reader.
        roles: What each tensor is in its model.
        drawn: The nodes that depend on an input, or make an output of the model.
    """

    boxes: tuple[tuple[ir.Node, ...], ...]
    box_of: Mapping[ir.Node, int]
    roles: Mapping[ir.Value, Role]
    drawn: Container[ir.Node]

    def moving(self, node: ir.Node) -> tuple[ir.Value, ...]:
        """The tensors of its graph that a node, or a subgraph of it, reads and that depend on an input, each once."""
        return tuple(v for v in dict.fromkeys(reads(node)) if v.graph is node.graph and _moves(v, self.roles))


def partition(model: ir.Model, products: Container[ir.Node]) -> Partition:
    """Boxes of the top-level graph, in one walk; a box is entered at its first node and left at its last one.

    Args:
        model: A model whose nodes are sorted.
        products: Nodes that begin a box of their own: those that multiply.
    """
    roles = roles_of(model)
    drawn = {n: None for n in model.graph if any(_moves(o, roles) for o in n.outputs)}
    readers = Counter(s for n in drawn for s in _sources(n, roles))
    boxes: list[list[ir.Node]] = []
    box_of: dict[ir.Node, int] = {}
    for node in drawn:
        follows = node not in products and _is_follower(node, model)
        before = _sole_source(node, roles, readers) if follows else None
        index = None if before is None else box_of[before]
        if index is not None and boxes[index][-1] is before and len(boxes[index]) < _LARGEST:
            boxes[index].append(node)
            box_of[node] = index
        else:
            box_of[node] = len(boxes)
            boxes.append([node])
    _fold(model, box_of)
    return Partition(tuple(map(tuple, boxes)), box_of, roles, drawn)


def _moves(value: ir.Value, roles: Mapping[ir.Value, Role]) -> bool:
    return value in roles and roles[value].depends_on_data


def _is_follower(node: ir.Node, model: ir.Model) -> bool:
    if node.domain == "":
        return node.op_type in _FOLLOWERS
    return traits_of(node, model.opset_imports).elementwise or is_call(node, MULTI_THRESHOLD)


def _sources(node: ir.Node, roles: Mapping[ir.Value, Role]) -> set[ir.Node]:
    """The nodes whose results it reads, itself or in a subgraph."""
    return {s for v in reads(node) if _moves(v, roles) and (s := v.producer()) is not None and s.graph is node.graph}


def _sole_source(node: ir.Node, roles: Mapping[ir.Value, Role], readers: Mapping[ir.Node, int]) -> ir.Node | None:
    """The node whose result it works on, where nothing else that is drawn reads that."""
    moving = [v for v in node.inputs if v is not None and _moves(v, roles)]
    source = moving[0].producer() if len(moving) == 1 else None
    if source is None or readers[source] != 1 or any(o.is_graph_output() for o in source.outputs):
        return None
    return source


def _fold(model: ir.Model, box_of: dict[ir.Node, int]) -> None:
    """Puts what computes constants and shapes into the box of a reader; backwards, so that chains go along."""
    for node in reversed(model.graph):
        if node in box_of:
            continue
        readers = (box_of[u] for o in node.outputs for u, _ in o.uses() if u in box_of)
        index = min(readers, default=None)
        if index is not None:
            box_of[node] = index
