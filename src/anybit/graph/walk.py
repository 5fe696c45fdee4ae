"""Nodes and tensors of a graph as messages and rules see them: labels, types, shapes, what a node reads."""

from __future__ import annotations

import re
from collections.abc import Iterator

import onnx_ir as ir

_OPERATOR = "anybit/operator"  # key of a node's `meta`
_HOLD_GRAPHS = frozenset((ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS))
# Names that onnx's and ONNX Runtime's shape inference give to dimensions: a count, or a node with output and axis.
_MADE_UP = re.compile(r"unk__\d+|.*_o\d+__d\d+", re.DOTALL)
_NUMBERS = frozenset(int(t) for t in ir.DataType)


def label(node: ir.Node) -> str:
    """How messages name a node: operator and name, or the name of its first output where it has none of its own."""
    name = node.name or (node.outputs[0].name if node.outputs else "")
    return f"{node.meta.get(_OPERATOR, node.op_type)} '{name}'"


def name_in_messages(node: ir.Node, operator: str | None) -> None:
    """Says what `label` calls the operator of a node that stands for another one for a while; None ends that."""
    if operator is None:
        node.meta.pop(_OPERATOR, None)
    else:
        node.meta[_OPERATOR] = operator


def element_name(dtype: ir.DataType) -> str:
    """An element type as schemas spell it, such as ``float8e4m3fn``."""
    return dtype.name.lower()


def numbered_type(number: int) -> ir.DataType | None:
    """The element type that an attribute names by its number, None where there is none of this number."""
    return ir.DataType(number) if number in _NUMBERS else None


def element_type(value: ir.Value) -> str | None:
    """The element type of a tensor as schemas spell it, None where it is not known or the value is no tensor."""
    if value.type is not None:
        known = isinstance(value.type, ir.TensorType) and value.type.dtype != ir.DataType.UNDEFINED
        return element_name(value.type.dtype) if known else None
    return None if value.const_value is None else element_name(value.const_value.dtype)


def reads(node: ir.Node) -> Iterator[ir.Value]:
    """The tensors that a node reads, those that its subgraphs capture or make included."""
    yield from (v for v in node.inputs if v is not None)
    for body in subgraphs(node):
        for inner in all_nodes(body):
            yield from (v for v in inner.inputs if v is not None)
        yield from body.outputs


def last_reads(graph: ir.Graph) -> list[list[ir.Value]]:
    """For each node of a graph, the tensors that it reads or makes and that no later node reads."""
    last: dict[ir.Value, int] = {}
    for position, node in enumerate(graph):
        for value in (*reads(node), *node.outputs):
            last[value] = position
    released: list[list[ir.Value]] = [[] for _ in graph]
    for value, position in last.items():
        released[position].append(value)
    return released


def is_undefined(value: ir.Value) -> bool:
    """Whether nothing makes the value: no node, no input, no initializer."""
    return value.producer() is None and not value.is_graph_input() and not value.is_initializer()


def shape_of(value: ir.Value) -> tuple[int | None, ...] | None:
    """The shape as integers, None for a free dimension; None where the rank is not known."""
    if value.shape is None:
        tensor = value.const_value
        return None if tensor is None else tuple(tensor.shape.numpy())
    return tuple(d if isinstance(d, int) else None for d in value.shape)


def is_made_up(name: str) -> bool:
    """Whether the name of a free dimension is one that shape inference gave it, which says nothing to a reader.

    Example:
        >>> is_made_up("unk__12"), is_made_up("Reshape_7_o0__d1"), is_made_up("batch")
        (True, True, False)
    """
    return _MADE_UP.fullmatch(name) is not None


def dimension_text(size: int | str | ir.SymbolicDim | None) -> str:
    """How people read one dimension: its size, its name where it is free, "?" where it has none or one made up."""
    if isinstance(size, int):
        return str(size)
    name = size.value if isinstance(size, ir.SymbolicDim) else size
    return "?" if not name or is_made_up(name) else name


def graphs_of(attribute: ir.Attr) -> tuple[ir.Graph, ...]:
    """The graphs that an attribute holds; none if it refers to an attribute of a function."""
    kind = attribute.type
    if kind not in _HOLD_GRAPHS or attribute.is_ref():
        return ()
    return (attribute.as_graph(),) if kind == ir.AttributeType.GRAPH else tuple(attribute.as_graphs())


def subgraphs(node: ir.Node) -> Iterator[ir.Graph]:
    """The graphs that are attributes of the node."""
    for attribute in node.attributes.data.values():
        if attribute.type in _HOLD_GRAPHS:
            yield from graphs_of(attribute)


def all_nodes(graph: ir.Graph | ir.Function) -> Iterator[ir.Node]:
    """The nodes of a graph, each followed by those of the graphs inside it; several times as fast as onnx-ir's own."""
    for node in graph:
        yield node
        for attribute in node.attributes.data.values():
            if attribute.type in _HOLD_GRAPHS:
                for inner in graphs_of(attribute):
                    yield from all_nodes(inner)


def all_graphs(graph: ir.Graph) -> Iterator[ir.Graph]:
    """The graph and those inside its nodes."""
    yield graph
    yield from inner_graphs(graph)


def inner_graphs(graph: ir.Graph) -> Iterator[ir.Graph]:
    """The graphs inside the nodes of a graph; onnx-ir's own way to them ends where an attribute is a reference."""
    for node in graph:
        if node.attributes.data:
            for inner in subgraphs(node):
                yield from all_graphs(inner)
