"""What the protobuf of a model must meet before anything is made of it: names are text, tensors have their data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import onnx
import onnx_ir as ir

from anybit.errors import ModelFileError


def check_proto(proto: onnx.ModelProto, where: str, *, elsewhere: Mapping[str, int]) -> None:
    """Refuses bytes where names should be, and tensors whose data does not fill their shape.

    Args:
        proto: Model as it was parsed.
        where: How messages name the model.
        elsewhere: Initializers whose data was left in the file, with its size in bytes.

    Raises:
        ModelFileError: With the node or tensor at fault.
    """
    for graph in graphs(proto):
        names = [v.name for v in (*graph.input, *graph.output, *graph.initializer)]
        if not _are_text(names):
            raise ModelFileError("a name is no text", node=where, expected="UTF-8")
    for node in nodes(proto):
        texts = (node.name, node.op_type, node.domain, *node.input, *node.output, *(a.name for a in node.attribute))
        if not _are_text(texts):
            raise ModelFileError(
                "a name is no text", node=f"a node of {where}", got=repr(node.op_type), expected="UTF-8"
            )
        if not node.op_type:
            raise ModelFileError("a node without an operator", node=where, got=repr(node.name))
    for tensor in tensors(proto):
        _check_tensor(tensor, elsewhere.get(tensor.name))


def _are_text(names: Iterable[object]) -> bool:
    """Protobuf hands over bytes where text was expected and is none."""
    return all(isinstance(name, str) for name in names)


def _check_tensor(tensor: onnx.TensorProto, size: int | None) -> None:
    label = f"tensor '{tensor.name}'"
    try:
        dtype = ir.DataType(tensor.data_type)
        bits = 0 if dtype == ir.DataType.STRING else round(dtype.itemsize * 8)
    except (ValueError, TypeError):
        raise ModelFileError("unknown element type", node=label, got=tensor.data_type) from None
    if any(d < 0 for d in tensor.dims):
        raise ModelFileError("a tensor of negative size", node=label, got=list(tensor.dims))
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        _check_place(tensor, label, bits)
        return
    if not bits:
        return
    elements = math.prod(tensor.dims)
    if size is not None or tensor.HasField("raw_data"):
        actual, wanted, unit = len(tensor.raw_data) if size is None else size, (elements * bits + 7) // 8, "bytes"
    else:
        typed = (tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data, tensor.uint64_data)
        per_entry = 8 // bits if bits < 8 else 1
        per_element = 2 if dtype in (ir.DataType.COMPLEX64, ir.DataType.COMPLEX128) else 1
        actual, wanted, unit = max(map(len, typed)), math.ceil(elements * per_element / per_entry), "values"
    if actual != wanted:
        raise ModelFileError(
            "data does not fill the shape",
            node=label,
            got=f"{actual} {unit}",
            expected=f"{wanted} for {list(tensor.dims)}",
        )


def _check_place(tensor: onnx.TensorProto, label: str, bits: int) -> None:
    """Refuses a place in another file that is none; whether the file has it is seen when it is opened."""
    entries = {e.key: e.value for e in tensor.external_data}
    if not bits:
        raise ModelFileError("text in another file", node=label, expected="strings in the model itself")
    try:
        numbers = [int(entries.get(key, 0)) for key in ("offset", "length")]
    except ValueError:
        numbers = [-1]
    if min(numbers) < 0:
        raise ModelFileError("external data has a broken offset or length", node=label, got=entries)


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
