"""Large .onnx files without copies of their weights: initializers stay where they are until they are used.

A protobuf parser holds the file's bytes and the message made of them at once. Here the file is walked by the wire
format instead (protobuf.dev, "Encoding"): the bytes of large initializers are left out of what is parsed. They stay in
the file (`OpenFile`), or in its bytes (`InMemory`).
"""

from __future__ import annotations

import mmap
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
import onnx_ir as ir

from anybit.errors import ModelFileError
from anybit.io.files.regular import open_regular

# Field numbers of onnx.proto3: ModelProto.graph, GraphProto.initializer, TensorProto.raw_data.
_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LARGE = 1 << 12


@dataclass(frozen=True)
class Payload:
    """Bytes of one initializer in a file.

    Attributes:
        index: Position of the initializer in the graph.
        offset: First byte in the file.
        length: Number of bytes.
    """

    index: int
    offset: int
    length: int


def without_payloads(data: bytes | mmap.mmap) -> tuple[bytes, tuple[Payload, ...]]:
    """The serialised model without the raw data of large initializers, and where that data is.

    Raises:
        ValueError: The bytes are not in protobuf's wire format.
    """
    parts: list[bytes] = []
    payloads: list[Payload] = []
    count = 0  # a graph may come in several fields, which are one after the other
    for number, kind, start, begin, end in _fields(data, 0, len(data)):
        if number == _GRAPH and kind == _BYTES:
            graph, count = _slim_graph(data, begin, end, count, payloads)
            parts += [_tag(_GRAPH), _varint(len(graph)), graph]
        else:
            parts.append(data[start:end])
    return b"".join(parts), tuple(payloads)


def _slim_graph(
    data: bytes | mmap.mmap, begin: int, end: int, index: int, payloads: list[Payload]
) -> tuple[bytes, int]:
    """The field without large data, and the number of initializers up to its end; `index` is that before it."""
    parts: list[bytes] = []
    for number, kind, start, first, last in _fields(data, begin, end):
        if number != _INITIALIZER or kind != _BYTES:
            parts.append(data[start:last])
            continue
        tensor = _slim_tensor(data, first, last, index, payloads)
        parts += [_tag(_INITIALIZER), _varint(len(tensor)), tensor]
        index += 1
    return b"".join(parts), index


def _slim_tensor(data: bytes | mmap.mmap, begin: int, end: int, index: int, payloads: list[Payload]) -> bytes:
    parts: list[bytes] = []
    raw: tuple[int, int, int] | None = None  # of several, the last one holds
    for number, kind, start, first, last in _fields(data, begin, end):
        if number == _RAW_DATA and kind == _BYTES:
            raw = start, first, last
        else:
            parts.append(data[start:last])
    if raw is not None:
        start, first, last = raw
        if last - first >= _LARGE:
            payloads.append(Payload(index, first, last - first))
        else:
            parts.append(data[start:last])
    return b"".join(parts)


def _fields(data: bytes | mmap.mmap, begin: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Fields of one message: number, wire type, start of the field, begin and end of its content."""
    position = begin
    while position < end:
        start = position
        tag, position = _read_varint(data, position, end)
        kind = tag & 7
        match kind:
            case _ if kind == _VARINT:
                first = position
                _, position = _read_varint(data, position, end)
            case _ if kind == _BYTES:
                length, first = _read_varint(data, position, end)
                position = first + length
            case _ if kind in (_FIXED32, _FIXED64):
                first, position = position, position + (4 if kind == _FIXED32 else 8)
            case _:
                raise ValueError("groups are not used by ONNX")
        if position > end:
            raise ValueError("a field is longer than its message")
        yield tag >> 3, kind, start, first, position


def _read_varint(data: bytes | mmap.mmap, position: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while position < end and shift < 64:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if not byte & 0x80:
            return value, position
    raise ValueError("a number is cut off")


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _tag(number: int) -> bytes:
    return _varint(number << 3 | _BYTES)


class InMemory:
    """The bytes of a file, which are held as long as a tensor may read some of them."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, payload: Payload) -> bytes:
        """The data of one initializer."""
        return self._data[payload.offset : payload.offset + payload.length]


class OpenFile:
    """A file that stays open for reading: replacing it under the same name changes nothing for its tensors."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = open_regular(path)
        weakref.finalize(self, self._file.close)
        self._lock = Lock()

    def read(self, payload: Payload) -> bytes:
        """The data of one initializer.

        Raises:
            ModelFileError: The file was cut short since it was scanned.
        """
        with self._lock:
            self._file.seek(payload.offset)
            content = self._file.read(payload.length)
        if len(content) < payload.length:
            raise ModelFileError("the file was cut short after it was loaded", node=str(self._path))
        return content


def tensor_of(
    source: InMemory | OpenFile, payload: Payload, name: str, dtype: ir.DataType, shape: ir.Shape
) -> ir.LazyTensor:
    """A tensor whose data is read from its source each time its values are asked for, into aligned memory."""

    def read() -> ir.TensorProtocol:
        array = np.frombuffer(source.read(payload), np.uint8).view(dtype.numpy()).reshape(shape.numpy())
        return ir.Tensor(array, dtype=dtype, name=name)

    return ir.LazyTensor(read, dtype=dtype, shape=shape, name=name)
