"""What a protobuf of a model holds: its graphs, nodes, attributes and tensors, wherever they are."""

from __future__ import annotations

from collections.abc import Iterator

import onnx


def graphs(proto: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """The graph of the model and those inside its nodes and functions."""
    yield proto.graph
    for attribute in attributes(proto):
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def nodes(proto: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """All nodes, in subgraphs and functions too."""
    yield from proto.graph.node
    for function in proto.functions:
        yield from function.node
    for attribute in attributes(proto):
        yield from attribute.g.node
        for graph in attribute.graphs:
            yield from graph.node


def attributes(proto: onnx.ModelProto) -> Iterator[onnx.AttributeProto]:
    """All attributes of nodes, and the defaults of those of functions."""
    stack = [a for f in proto.functions for a in f.attribute_proto]
    stack += [a for n in (*proto.graph.node, *(n for f in proto.functions for n in f.node)) for a in n.attribute]
    while stack:
        attribute = stack.pop()
        yield attribute
        for graph in (attribute.g, *attribute.graphs):
            stack.extend(a for n in graph.node for a in n.attribute)


def tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """All tensors: initializers, and attributes of nodes."""
    for graph in graphs(proto):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for attribute in attributes(proto):
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            if sparse.HasField("values"):
                yield from (sparse.values, sparse.indices)
