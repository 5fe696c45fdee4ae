"""External data: weights in files beside the model. No path that a model names leaves the model's folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx

from anybit.errors import ModelFileError


def check_external_data(proto: onnx.ModelProto, folder: Path | None) -> bool:
    """Whether the model has external tensors; each of them lies whole inside `folder`.

    Raises:
        ModelFileError: There is no folder, a path leaves it, or a file is missing or too short.
    """
    found = False
    for tensor in _tensors(proto):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        found = True
        if folder is None:
            raise ModelFileError(
                "a tensor's data is in another file",
                node=f"initializer '{tensor.name}'",
                hint="load the model from its path, or give base_dir",
            )
        _check_tensor(tensor, folder)
    return found


def _check_tensor(tensor: onnx.TensorProto, folder: Path) -> None:
    entries = {e.key: e.value for e in tensor.external_data}
    location = entries.get("location", "")
    where = f"initializer '{tensor.name}'"
    root = folder.resolve()
    path = (root / location).resolve()
    if not location or "\0" in location or Path(location).is_absolute() or not path.is_relative_to(root):
        raise ModelFileError(
            "external data outside of the model's folder is refused",
            node=where,
            got=repr(location),
            expected="a file beside the model",
        )
    if not path.is_file():
        raise ModelFileError(
            "external data is missing", node=where, got=repr(location), hint="put the file beside the model"
        )
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", 0))
    except ValueError:
        raise ModelFileError("external data has a broken offset or length", node=where, got=dict(entries)) from None
    size = path.stat().st_size
    if offset < 0 or length < 0 or offset + length > size:
        raise ModelFileError(
            "external data is truncated", node=where, got=f"{size} bytes", expected=f"at least {offset + length}"
        )


def _tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from _graph_tensors(proto.graph)
    for function in proto.functions:
        for node in function.node:
            yield from _node_tensors(node)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    for node in graph.node:
        yield from _node_tensors(node)


def _node_tensors(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        if attribute.HasField("g"):
            yield from _graph_tensors(attribute.g)
        for graph in attribute.graphs:
            yield from _graph_tensors(graph)
