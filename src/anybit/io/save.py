"""save: a model to a file that appears whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

import onnx
import onnx_ir as ir

from anybit.arguments import checked
from anybit.errors import ModelFileError
from anybit.graph.tensors import replace_initializers, replace_tensors, replaced, tensors_of
from anybit.io.checks.in_memory import refuse_unwritable
from anybit.io.files.data_file import data_name, switch
from anybit.io.files.external import ExternalFiles, ExternalTensor
from anybit.io.files.temporary import file_beside
from anybit.io.files.whole import destination, whole
from anybit.io.load import ModelSource, load

_PROTOBUF_LIMIT = 2**31 - 2**20  # a message must stay below 2 GiB; the graph itself needs some room too
_PAGE = 4096  # where a tensor may be mapped
_SMALL = 1024  # tensors below this many bytes stay in the model: shape inference reads them


@runtime_checkable
class HoldsModel(Protocol):
    """What a function returns that makes a model: a conversion, an import, applied passes."""

    @property
    def model(self) -> ir.Model:
        """The model that was made."""
        ...


@checked
def save(model: ModelSource | HoldsModel, path: str | os.PathLike[str], *, external_data: bool | None = None) -> None:
    """Writes the model; annotations, metadata and functions included. The model in memory stays as it is.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model``; or what holds one, as the result of `convert` and
            of the readers of frameworks does.
        path: Where to; an existing file is replaced, at once and only when all is written. Links are followed; into a
            pipe or a character device the model is written in one piece.
        external_data: Whether weights go into a second file beside it, which is named by its content as
            ``model.onnx.0123456789ab.data``; that of the replaced model is removed. By default they do where they came
            from one, or where the model would pass the 2 GiB that a protobuf holds.

    Raises:
        ModelFileError: The file cannot be written.
        InvalidModelError: A part of the model has no form in a file: a name that is no text, a tensor without values.
    """
    model = _writable(model.model if isinstance(model, HoldsModel) else model)
    target = Path(path)
    tensors = tensors_of(model)
    large = sum(t.nbytes for t in tensors) > _PROTOBUF_LIMIT
    came = any(isinstance(t, ExternalTensor | ir.ExternalTensor) and t.nbytes >= _SMALL for t in tensors)
    external = (large or came) if external_data is None else external_data
    try:
        place = destination(target)
        if external_data or (external and place is not None):
            _save_external(model, _with_folder(target, place))
        else:
            with whole(target, put=switch) as temporary:
                temporary.write_bytes(_serialize(model))
    except OSError as error:
        raise ModelFileError("cannot write the file", node=str(target), got=error.strerror or error) from error
    except ValueError as error:
        raise ModelFileError(
            "the model does not fit into one file", node=str(target), got=error, hint="save it with external_data=True"
        ) from error


@checked
def to_proto(model: ModelSource) -> onnx.ModelProto:
    """The model as an ``onnx.ModelProto``. Tensors in external files are read into it.

    Raises:
        ModelFileError: External data that was not bound by `load` is missing, or in no known folder.
        InvalidModelError: A part of the model has no form in a file.
    """
    model = _writable(model)
    with _bound(model):
        return _clean(ir.to_proto(model))


def _writable(source: ModelSource) -> ir.Model:
    """The model itself if it is one in memory, else what was read."""
    model = source if isinstance(source, ir.Model) else load(source)
    refuse_unwritable(model)
    return model


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


def _with_folder(target: Path, place: Path | None) -> Path:
    """The place, if the data that will lie beside it are found by way of the target as well."""
    if place is None:
        raise OSError(errno.EINVAL, "external data need a file to lie beside")
    if place.parent != Path(os.path.realpath(target.parent)):
        raise OSError(errno.EINVAL, f"a link to {place}, whose external data would not be beside the link")
    return place


def _save_external(model: ir.Model, place: Path) -> None:
    """Large initializers go into a second file; attributes, and all of functions, stay: few tools look there."""
    with file_beside(place) as data, file_beside(place) as temporary, _bound(model):
        with data.open("wb") as file:
            writer = _DataWriter(file)
            replace_initializers(model.graph, writer.append)
        name = data_name(place.name, writer.digest.hexdigest())

        def described(_: str, tensor: ir.TensorProtocol) -> ir.TensorProtocol:
            found = writer.places.get(id(tensor))
            return tensor if found is None else _external(tensor, place.with_name(name), *found)

        with replaced(partial(replace_initializers, model.graph), described):
            temporary.write_bytes(_clean(ir.to_proto(model)).SerializeToString(deterministic=True))
        if writer.places:
            switch(temporary, place, data, name)
        else:
            switch(temporary, place)


class _DataWriter:
    """Writes tensors one after the other.

    Attributes:
        digest: Hash of all that was written.
        places: Offset and length of each tensor, by its id.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.places: dict[int, tuple[int, int]] = {}

    def append(self, _: str, tensor: ir.TensorProtocol) -> ir.TensorProtocol:
        """Writes a large tensor at the next page, once; returns it."""
        small = tensor.nbytes < _SMALL or tensor.dtype == ir.DataType.STRING
        if small or id(tensor) in self.places:
            return tensor
        self._write(bytes(-self._file.tell() % _PAGE))
        offset = self._file.tell()
        for piece in tensor.pieces() if isinstance(tensor, ExternalTensor) else (tensor.tobytes(),):
            self._write(piece)
        self.places[id(tensor)] = (offset, self._file.tell() - offset)
        return tensor

    def _write(self, piece: bytes) -> None:
        self.digest.update(piece)
        self._file.write(piece)


def _external(tensor: ir.TensorProtocol, data: Path, offset: int, length: int) -> ir.ExternalTensor:
    return ir.ExternalTensor(
        data.name,
        offset,
        length,
        tensor.dtype,
        shape=ir.Shape(tensor.shape.numpy()),
        name=str(tensor.name),
        doc_string=tensor.doc_string,
        metadata_props=dict(tensor.metadata_props),
        base_dir=data.parent,
    )
