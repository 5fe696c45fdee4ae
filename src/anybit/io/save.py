"""save: a model to a file that appears whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import onnx
import onnx_ir as ir

from anybit.errors import ModelFileError
from anybit.io.whole import whole

_PROTOBUF_LIMIT = 2**31 - 2**20  # a message must stay below 2 GiB; the graph itself needs some room too
_PAGE = 4096  # where a tensor may be mapped
_BUFFER = 1 << 22
_SMALL = 1024  # tensors below this many bytes stay in the model: shape inference reads them


def save(model: ir.Model, path: str | os.PathLike[str], *, external_data: bool | None = None) -> None:
    """Writes the model; annotations, metadata and functions included. The model in memory stays as it is.

    Args:
        model: Model to write.
        path: Where to; an existing file is replaced, at once and only when all is written.
        external_data: Whether weights go into a second file, the path with ``.data`` appended. By default they do
            where they came from one, or where the model would pass the 2 GiB that a protobuf holds.

    Raises:
        ModelFileError: The file cannot be written.
    """
    target = Path(path)
    tensors = [v.const_value for v in model.graph.initializers.values() if v.const_value is not None]
    large = sum(t.nbytes for t in tensors) > _PROTOBUF_LIMIT
    came = any(isinstance(t, ir.ExternalTensor) and t.nbytes >= _SMALL for t in tensors)
    external = (large or came) if external_data is None else external_data
    try:
        if external:
            _save_external(model, target)
        else:
            with whole(target) as temporary:
                temporary.write_bytes(_serialize(model))
    except OSError as error:
        raise ModelFileError("cannot write the file", node=str(target), got=error.strerror or error) from error
    except ValueError as error:
        raise ModelFileError(
            "the model does not fit into one file", node=str(target), got=error, hint="save it with external_data=True"
        ) from error


def to_proto(model: ir.Model) -> onnx.ModelProto:
    """The model as an ``onnx.ModelProto``. Tensors in external files are read into it."""
    original = {v: v.const_value for v in model.graph.initializers.values()}
    try:
        for value, tensor in original.items():
            if isinstance(tensor, ir.ExternalTensor):
                value.const_value = ir.tensor(tensor.numpy(), name=value.name, dtype=tensor.dtype)
        return _clean(ir.to_proto(model))
    finally:
        for value, tensor in original.items():
            value.const_value = tensor


def _serialize(model: ir.Model) -> bytes:
    return to_proto(model).SerializeToString(deterministic=True)


def _clean(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Drops the copies of an initializer's metadata that onnx-ir adds at each save."""
    for tensor in proto.graph.initializer:
        entries = {e.key: e.value for e in tensor.metadata_props}
        if len(entries) < len(tensor.metadata_props):
            del tensor.metadata_props[:]
            for key, value in entries.items():
                tensor.metadata_props.add(key=key, value=value)
    return proto


def _save_external(model: ir.Model, target: Path) -> None:
    data = target.with_name(target.name + ".data")
    original = {v: v.const_value for v in model.graph.initializers.values()}
    large = [v for v, t in original.items() if t is not None and t.nbytes >= _SMALL and t.dtype != ir.DataType.STRING]
    try:
        with whole(data) as temporary, whole(target) as temporary_model:
            with temporary.open("wb") as file:
                for value in large:
                    tensor = original[value]
                    if tensor is not None:
                        value.const_value = _append(file, tensor, str(value.name), data)
            temporary_model.write_bytes(_clean(ir.to_proto(model)).SerializeToString(deterministic=True))
    finally:
        for value, tensor in original.items():
            value.const_value = tensor


def _append(file: BinaryIO, tensor: ir.TensorProtocol, name: str, data: Path) -> ir.ExternalTensor:
    """Writes a tensor at the next page, and describes where it is."""
    file.write(bytes(-file.tell() % _PAGE))
    offset = file.tell()
    if isinstance(tensor, ir.ExternalTensor):
        _copy(tensor, file)  # through a small buffer: a mapping would keep every page of it resident
    else:
        file.write(tensor.tobytes())
    shape = ir.Shape(tensor.shape.numpy())
    return ir.ExternalTensor(
        data.name, offset, file.tell() - offset, tensor.dtype, shape=shape, name=name, base_dir=data.parent
    )


def _copy(tensor: ir.ExternalTensor, file: BinaryIO) -> None:
    with Path(tensor.path).open("rb") as source:
        source.seek(tensor.offset or 0)
        left = tensor.nbytes
        while left:
            piece = source.read(min(left, _BUFFER))
            if not piece:
                raise ModelFileError("external data is truncated", node=f"initializer '{tensor.name}'")
            file.write(piece)
            left -= len(piece)
