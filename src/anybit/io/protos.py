"""What a protobuf of a model holds: its graphs and nodes, wherever they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx


def scopes(proto: onnx.ModelProto) -> Iterator[onnx.GraphProto | onnx.FunctionProto]:
    """Everything with nodes: the graph of the model, its functions, and the graphs inside their nodes."""
    waiting: list[onnx.GraphProto | onnx.FunctionProto] = [*proto.functions, proto.graph]
    waiting += [graph for f in proto.functions for a in f.attribute_proto for graph in _graphs_of(a)]
    while waiting:
        scope = waiting.pop()
        yield scope
        for node in scope.node:
            waiting += bodies(node)


def graphs(proto: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """The graph of the model and those inside its nodes and functions."""
    return (scope for scope in scopes(proto) if isinstance(scope, onnx.GraphProto))


def nodes(proto: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """All nodes, in subgraphs and functions too."""
    return (node for scope in scopes(proto) for node in scope.node)


def bodies(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """The graphs inside a node."""
    return [graph for attribute in node.attribute for graph in _graphs_of(attribute)]


def node_label(node: onnx.NodeProto) -> str:
    """How messages name a node, as `anybit.graph.walk.label` does in a model."""
    return f"{node.op_type!s} '{node.name or next(iter(node.output), '')}'"


def _graphs_of(attribute: onnx.AttributeProto) -> Iterable[onnx.GraphProto]:
    """The graphs that an attribute holds, by its type."""
    kind = attribute.type
    if kind == onnx.AttributeProto.GRAPH:
        return (attribute.g,)
    return attribute.graphs if kind == onnx.AttributeProto.GRAPHS else ()
