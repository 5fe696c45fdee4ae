"""save: a model to a file that appears whole or not at all."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import BinaryIO

import onnx
import onnx_ir as ir

from anybit.errors import ModelFileError
from anybit.io.external import ExternalFiles, ExternalTensor
from anybit.io.memory_checks import refuse_unwritable
from anybit.io.tensors import replace_initializers, replace_tensors, replaced, tensors_of
from anybit.io.whole import whole

_PROTOBUF_LIMIT = 2**31 - 2**20  # a message must stay below 2 GiB; the graph itself needs some room too
_PAGE = 4096  # where a tensor may be mapped
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
        InvalidModelError: A part of the model has no form in a file: a name that is no text, a tensor without values.
    """
    refuse_unwritable(model)
    target = Path(path)
    tensors = tensors_of(model)
    large = sum(t.nbytes for t in tensors) > _PROTOBUF_LIMIT
    came = any(isinstance(t, ExternalTensor | ir.ExternalTensor) and t.nbytes >= _SMALL for t in tensors)
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
    """The model as an ``onnx.ModelProto``. Tensors in external files are read into it.

    Raises:
        ModelFileError: External data that was not bound by `load` is missing, or in no known folder.
        InvalidModelError: A part of the model has no form in a file.
    """
    refuse_unwritable(model)
    with _bound(model):
        return _clean(ir.to_proto(model))


def _bound(model: ir.Model) -> AbstractContextManager[None]:
    """The model with what others than `load` left external bound to its files, and so serialised with its values."""
    return replaced(partial(replace_tensors, model), ExternalFiles(None).bound)


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
    """Large initializers go into the second file; attributes, and all of functions, stay: few tools look there."""
    data = target.with_name(target.name + ".data")
    with whole(data) as temporary, whole(target) as temporary_model, temporary.open("wb") as file:

        def append(_: str, tensor: ir.TensorProtocol) -> ir.TensorProtocol:
            keep = tensor.nbytes < _SMALL or tensor.dtype == ir.DataType.STRING
            return tensor if keep else _append(file, tensor, data)

        with _bound(model), replaced(partial(replace_initializers, model.graph), append):
            temporary_model.write_bytes(_clean(ir.to_proto(model)).SerializeToString(deterministic=True))


def _append(file: BinaryIO, tensor: ir.TensorProtocol, data: Path) -> ir.ExternalTensor:
    """Writes a tensor at the next page, and describes where it is."""
    file.write(bytes(-file.tell() % _PAGE))
    offset = file.tell()
    file.writelines(tensor.pieces() if isinstance(tensor, ExternalTensor) else (tensor.tobytes(),))
    return ir.ExternalTensor(
        data.name,
        offset,
        file.tell() - offset,
        tensor.dtype,
        shape=ir.Shape(tensor.shape.numpy()),
        name=str(tensor.name),
        doc_string=tensor.doc_string,
        metadata_props=dict(tensor.metadata_props),
        base_dir=data.parent,
    )
