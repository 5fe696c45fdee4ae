"""Cache: models on disk in the form in which an engine runs them, found again by what they were made from.

The key of an entry is the BLAKE3 hash of all that decides what it holds: the model with every weight, wherever that
lies, the options of the session, what the processor's products of bytes do, the versions of the packages that take part
and the source of anybit itself. An entry is one file, written beside its place and then renamed, so that processes may
share a folder. It begins with the BLAKE3 hash of its own bytes, which is checked before any of them is looked at; a
file that does not fit is as good as none, and is written again. The hash tells a damaged file from a sound one: it does
not tell who wrote it.
"""

from __future__ import annotations

import os
import platform
import struct
import sys
import weakref
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from io import BufferedReader
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import msgspec
import numpy as np
import onnx_ir as ir
from blake3 import blake3

from anybit.arrays import Array
from anybit.engines.engine import Engine
from anybit.engines.native.backend import FloatNodes, NativeForm, is_fast
from anybit.engines.onnxruntime.lower import WEIGHTS_FILE, Lowered
from anybit.engines.onnxruntime.saturation import saturates
from anybit.engines.prepare import Facts
from anybit.errors import ModelFileError
from anybit.graph.tensors import tensors_of
from anybit.graph.walk import all_nodes
from anybit.io.files.external import ExternalTensor
from anybit.io.files.regular import open_regular
from anybit.io.files.whole import whole
from anybit.io.load import ModelSource, load
from anybit.ops.calls import operator_of
from anybit.ops.operator import Operator
from anybit.ops.registry import operators
from anybit.plan.files import from_bytes, to_bytes

_MAGIC = b"anybit lowered 3"
_LENGTHS = struct.Struct("<QQQ")  # of the header, what is read into memory, and the weights that are mapped
_START = len(_MAGIC) + blake3.digest_size + _LENGTHS.size
_BUFFER = 1 << 18  # that is filled again and again: new memory takes longer than hashing
_LARGEST_FILE = 1 << 26  # of a model that is known by its bytes
_SMALL = 1024  # weights below this many bytes are hashed with the graph
_KEPT = (Engine.AUTO, Engine.ONNXRUNTIME, Engine.NATIVE)
_PACKAGES = ("numpy", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "ml_dtypes")


class Cache:
    """A folder of models that are ready to run.

    Args:
        folder: Where they are; it is made, for the user alone, when the first one is written.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)

    def of(
        self, source: ModelSource, engine: Engine, *, tensors: Sequence[str] | str
    ) -> tuple[Slot | None, Callable[[], ir.Model]]:
        """The place of a model, and what loads it.

        A file that holds its weights itself is known by its bytes: it is not even parsed if the place is taken. There
        is no place for a model with operators that others registered: the key does not tell their code.

        Args:
            source: Model, in any form.
            engine: Engine that was asked for.
            tensors: Intermediate tensors that were asked for.
        """
        if engine not in _KEPT:
            return None, lambda: load(source)
        others = sorted(f"{o.domain} {o.name} {o.since}" for o in operators() if _is_of_others(o))
        packages = [version(name) for name in _PACKAGES]
        place = [platform.machine(), saturates(), is_fast(), sys.byteorder, sys.version, *packages, _own_source()]
        options = [engine.value, tensors if isinstance(tensors, str) else list(tensors), others]
        decided = msgspec.json.encode([place, options])
        held = _held(source)
        slot = None if held is None else self._slot_of(held.digest(decided))
        if held is not None and slot is not None and slot.path.exists():
            return slot, lambda: held.load(decided, slot.key)
        model = load(source)
        if any(_is_of_others(o) for o in _operators_of(model)):
            return None, lambda: model
        if slot is None or _has_external(model):
            slot = self._slot((decided, b"model", *_parts(model)))
        return slot, model.clone

    def _slot(self, parts: Iterable[bytes | memoryview]) -> Slot:
        return self._slot_of(_digest_of(parts))

    def _slot_of(self, digest: blake3) -> Slot:
        key = digest.hexdigest()
        return Slot(self._folder / f"{key}.lowered", key)


@dataclass(frozen=True)
class Slot:
    """The place of one model in a cache.

    Attributes:
        path: File that holds it, or will.
        key: Hash of all that decides what it holds.
    """

    path: Path
    key: str

    def read(self) -> tuple[Facts, Lowered | NativeForm] | None:
        """What the file holds, None if there is none or it is not as it was written."""
        try:
            with open_regular(self.path) as file:
                return _read(file, self.key)
        except (OSError, ValueError, KeyError, TypeError, ModelFileError):
            return None

    def write(self, facts: Facts, form: Lowered | NativeForm) -> None:
        """Writes the file, which appears whole or not at all; none where a plan has large float weights around it.

        Raises:
            ModelFileError: It cannot be written.
        """
        if isinstance(form, NativeForm) and any(n.lowered.folder for n in (form.head, form.tail) if n is not None):
            return
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with whole(self.path) as temporary, temporary.open("wb") as file:
                _write(file, self.key, facts, form)
        except OSError as error:
            raise ModelFileError(
                "cannot write to the cache", node=str(self.path.parent), got=error.strerror or error
            ) from error


@cache
def _own_source() -> str:
    """Hash of anybit itself: its version does not tell two states of a checkout apart."""
    root = Path(__file__).parent.parent
    paths = sorted(root.rglob("*.py"))
    parts = (part for path in paths for part in (path.relative_to(root).as_posix().encode(), path.read_bytes()))
    return _digest_of(parts).hexdigest()


def _digest_of(parts: Iterable[bytes | memoryview]) -> blake3:
    """Hash of a list of parts; each is preceded by its length, so that no two lists are the same bytes."""
    digest = blake3()
    for part in parts:
        digest.update(_length(len(part)))
        digest.update(part)
    return digest


def _length(size: int) -> bytes:
    return size.to_bytes(8, "little")


class _Held:
    """The bytes of a model, in memory or in a file that stays open: others may remove or replace it meanwhile."""

    def __init__(self, source: bytes | BufferedReader, folder: Path | None = None) -> None:
        self._source, self._folder = source, folder
        if not isinstance(source, bytes):
            weakref.finalize(self, source.close)

    def digest(self, decided: bytes) -> blake3:
        """Hash of the bytes and of what else decides what is made of them."""
        if isinstance(self._source, bytes):
            return _digest_of((decided, b"file", self._source))
        digest = _digest_of((decided, b"file"))
        digest.update(_length(os.fstat(self._source.fileno()).st_size))
        self._source.seek(0)
        for piece in _pieces_of(self._source):
            digest.update(piece)
        return digest

    def load(self, decided: bytes, key: str) -> ir.Model:
        """The model of these bytes.

        Raises:
            ModelFileError: The file was written to since its key was made.
        """
        data = self._source
        if not isinstance(data, bytes):
            data.seek(0)
            data = data.read()
            if _digest_of((decided, b"file", data)).hexdigest() != key:
                raise ModelFileError("a model has changed since its session was made", node=str(self._folder))
        return load(data, base_dir=self._folder)


def _held(source: ModelSource) -> _Held | None:
    """The bytes of a model that is in a file or in memory; None of large ones, and of what `load` will complain of."""
    if isinstance(source, bytes):
        return _Held(source)
    if not isinstance(source, str | os.PathLike):
        return None
    path = Path(source)
    try:
        if path.stat().st_size > _LARGEST_FILE:
            return None
        return _Held(open_regular(path), path.parent)
    except OSError:
        return None


def _operators_of(model: ir.Model) -> Generator[Operator]:
    graphs = (model.graph, *(f.graph for f in model.functions.values()))
    known = (operator_of(n, model.opset_imports) for graph in graphs for n in all_nodes(graph))
    yield from (o for o in known if o is not None)


def _is_of_others(operator: Operator) -> bool:
    return operator.reference.__module__.partition(".")[0] != "anybit"


def _has_external(model: ir.Model) -> bool:
    return any(isinstance(t, ExternalTensor) for t in tensors_of(model))


def _parts(model: ir.Model) -> Generator[bytes | memoryview]:
    """The graph, and the bytes of each initializer that is large; all else is in the graph's own bytes."""
    original = {
        v: v.const_value
        for graph in model.graphs()
        for v in graph.initializers.values()
        if v.const_value is not None and v.const_value.dtype is not ir.DataType.STRING and v.const_value.nbytes > _SMALL
    }
    for tensor in original.values():
        yield f"{tensor.name} {tensor.dtype} {tensor.shape}".encode()
        yield _bytes_of(tensor.numpy())
    try:
        for value, tensor in original.items():
            shape = ir.Shape(tensor.shape.numpy())
            value.const_value = ir.ExternalTensor("", 0, tensor.nbytes, tensor.dtype, shape=shape, name=str(value.name))
        yield ir.to_proto(model).SerializeToString(deterministic=True)
    finally:
        for value, tensor in original.items():
            value.const_value = tensor


def _bytes_of(array: Array) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


@dataclass(frozen=True)
class _Weight:
    """One large weight, whose bytes follow those of the one before it.

    Attributes:
        name: Its name.
        dtype: Its element type.
        shape: Its shape.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class _Model:
    """A lowered model, whose bytes are those of its graph and of its weights.

    Attributes:
        size: Bytes of the graph.
        integer: Whether it holds integer products.
        weights: The weights that are handed over in memory.
        inputs: Names of what it reads, where it is a part of a model.
        outputs: Names of what it makes, likewise.
    """

    size: int
    integer: bool
    weights: tuple[_Weight, ...]
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Header:
    """What an entry holds beside models, plan and weights; `msgspec` writes it as JSON, and checks what it reads.

    Attributes:
        key: That of the entry.
        facts: What the session knows of the model.
        is_in_file: Whether the weights are mapped from a file.
        plan: Bytes of the plan, 0 where there is none.
        whole: The model where it is no plan.
        head: Float nodes in front of the plan.
        tail: Float nodes behind it.
    """

    key: str
    facts: Facts
    is_in_file: bool
    plan: int = 0
    whole: _Model | None = None
    head: _Model | None = None
    tail: _Model | None = None


def _write(file: BinaryIO, key: str, facts: Facts, form: Lowered | NativeForm) -> None:
    path: Path | None = None
    body: list[bytes | memoryview] = []
    if isinstance(form, Lowered):
        path = None if form.folder is None else Path(form.folder.name) / WEIGHTS_FILE
        held = _Header(key, facts, path is not None, whole=_model(form, body))
    else:
        body.append(to_bytes(form.plan))
        head, tail = (None if n is None else _model(n.lowered, body, n) for n in (form.head, form.tail))
        held = _Header(key, facts, is_in_file=False, plan=len(body[0]), head=head, tail=tail)
    header = msgspec.json.encode(held, enc_hook=_name_of, order="deterministic")
    lengths = _LENGTHS.pack(len(header), sum(map(len, body)), 0 if path is None else path.stat().st_size)
    digest = blake3()
    file.write(bytes(_START - len(lengths)))
    with nullcontext() if path is None else path.open("rb") as weights:
        for part in chain((lengths, header), body, () if weights is None else _pieces_of(weights)):
            digest.update(part)
            file.write(part)
    file.seek(0)
    file.write(_MAGIC + digest.digest())


def _model(lowered: Lowered, body: list[bytes | memoryview], nodes: FloatNodes | None = None) -> _Model:
    """What the header says of a model, whose bytes go to the body."""
    weights = tuple(_Weight(name, array.dtype, array.shape) for name, array in lowered.weights.items())
    body += (lowered.proto, *map(_bytes_of, lowered.weights.values()))
    inputs, outputs = ((), ()) if nodes is None else (nodes.inputs, nodes.outputs)
    return _Model(len(lowered.proto), lowered.integer, weights, inputs, outputs)


def _pieces_of(file: BufferedReader) -> Generator[memoryview]:
    """What is left of a file, piece by piece, each in the memory of the one before."""
    buffer = memoryview(bytearray(_BUFFER))
    while count := file.readinto(buffer):
        yield buffer[:count]


def _read(file: BufferedReader, key: str) -> tuple[Facts, Lowered | NativeForm]:
    """The content of an entry.

    Raises:
        ValueError: It is not what was written, or not for this key.
    """
    size = os.fstat(file.fileno()).st_size
    magic, expected = file.read(len(_MAGIC)), file.read(blake3.digest_size)
    lengths = file.read(_LENGTHS.size)
    if magic != _MAGIC or len(lengths) != _LENGTHS.size or _START + sum(_LENGTHS.unpack(lengths)) != size:
        raise ValueError("no entry, or a truncated one")
    mapped = _LENGTHS.unpack(lengths)[-1]
    folder = TemporaryDirectory(ignore_cleanup_errors=True) if mapped else None
    try:
        return _sound(file, key, lengths, expected, folder)
    except BaseException:
        if folder is not None:
            folder.cleanup()
        raise


def _sound(
    file: BufferedReader, key: str, lengths: bytes, expected: bytes, folder: TemporaryDirectory[str] | None
) -> tuple[Facts, Lowered | NativeForm]:
    header_size, body_size, _ = _LENGTHS.unpack(lengths)
    digest = blake3(lengths)
    header, body = file.read(header_size), file.read(body_size)
    digest.update(header)
    digest.update(body)
    if folder is not None:  # what is checked is what ONNX Runtime will map
        with (Path(folder.name) / WEIGHTS_FILE).open("wb") as target:
            for piece in _pieces_of(file):
                digest.update(piece)
                target.write(piece)
    if digest.digest() != expected:
        raise ValueError("damaged")
    held = msgspec.json.decode(header, type=_Header, dec_hook=_of_name)
    if held.key != key or held.is_in_file != (folder is not None):
        raise ValueError("the entry of another model")
    return held.facts, _form(held, _Body(body), folder)


def _form(held: _Header, body: _Body, folder: TemporaryDirectory[str] | None) -> Lowered | NativeForm:
    if held.whole is not None:
        return body.lowered(held.whole, folder)
    plan = from_bytes(body.take(held.plan))
    head, tail = (
        None if m is None else FloatNodes(body.lowered(m, None), m.inputs, m.outputs) for m in (held.head, held.tail)
    )
    return NativeForm(plan, head, tail)


class _Body:
    """The bytes of an entry that are read into memory, taken one part after the other.

    Args:
        data: All of them.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._taken = data, 0

    def take(self, size: int) -> bytes:
        """So many bytes of the entry, from where the last part that was taken ends."""
        self._taken += size
        return self._data[self._taken - size : self._taken]

    def lowered(self, model: _Model, folder: TemporaryDirectory[str] | None) -> Lowered:
        """The lowered model whose graph and weights come next in the entry."""
        proto = self.take(model.size)
        return Lowered(proto, {w.name: self._weight(w) for w in model.weights}, folder, model.integer)

    def _weight(self, weight: _Weight) -> Array:
        count = int(np.prod(weight.shape, dtype=np.int64))
        array = np.frombuffer(self._data, weight.dtype, count, self._taken).reshape(weight.shape)
        self._taken += array.nbytes
        return array


def _name_of(dtype: np.dtype[Any]) -> str:
    return ir.DataType.from_numpy(dtype).name


def _of_name(kind: type, name: str) -> np.dtype[Any]:
    """An element type, which is all that `msgspec` does not know among what an entry holds."""
    del kind
    return ir.DataType[name].numpy()
