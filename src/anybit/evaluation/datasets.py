"""Data sets as blocks of samples: arrays, files that are never loaded whole, folders of images, loaders."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from anybit.arrays import Array
from anybit.engines.prepare import TensorInfo
from anybit.errors import InputError, UsageError
from anybit.evaluation.images import ImageFolder
from anybit.io.files.arrays import Header, archive_of, map_array, members, read_elements, read_header, reading

Data = str | os.PathLike[str] | ImageFolder | npt.NDArray[Any] | Mapping[str, npt.ArrayLike] | Iterable[tuple[Any, Any]]
"""What `anybit.evaluate` takes: a path, an `ImageFolder`, arrays, or an iterable of batches (inputs, labels)."""

Labels = str | os.PathLike[str] | npt.ArrayLike
"""Labels of a data set: an array, the path of an .npy file, or the key of an array of the .npz file."""

Wanted = Callable[[int], bool]
"""Whether the block of this number is wanted."""


@dataclass(frozen=True)
class Block:
    """Some samples, in order: inputs by name, and their labels."""

    feeds: Mapping[str, Array]
    labels: Array


@dataclass(frozen=True)
class DataSet:
    """Samples that can be gone through.

    Attributes:
        samples: How many there are, None if that is not known before the end.
        read: Makes the blocks, see `blocks`.
    """

    samples: int | None
    read: Callable[[int | None, Wanted], Iterator[Block]]

    def blocks(self, size: int | None, wanted: Wanted = lambda _: True) -> Iterator[Block]:
        """The samples, so many at a time; all at once for None. Batches of an iterable come as they are.

        Only the wanted blocks come: of the others as little is read as can be.
        """
        return self.read(size, wanted)


@dataclass(frozen=True)
class _Column:
    """One array of a data set, read from its beginning."""

    where: str
    shape: tuple[int, ...]
    pieces: Callable[[int, Wanted], Iterator[Array]]


def open_data(inputs: Sequence[TensorInfo], data: Data, labels: Labels | None) -> DataSet:
    """A data set for a model with these inputs.

    Args:
        inputs: Inputs of the model.
        data: See `Data`; of an .npz file, the arrays named as the inputs are fed, or the only one beside the labels.
        labels: See `Labels`; without any, the one array of an .npz file that is no input. None for images, whose
            folders are their labels, and for an iterable, which yields them.

    Raises:
        InputError: The data cannot be read, are empty, or do not belong together.
        UsageError: Labels are given for data that have their own.
    """
    if isinstance(data, str | os.PathLike) and Path(data).is_dir():
        data = ImageFolder(data)
    if isinstance(data, ImageFolder):
        _no_labels(labels, "a folder for each class")
        return _of_images(data, inputs)
    if isinstance(data, str | os.PathLike | Mapping | np.ndarray):
        return _of_columns(*_assigned(inputs, cast("Any", data), labels))
    _no_labels(labels, "pairs of inputs and labels")
    batches = _iterated(data)
    return DataSet(None, lambda _, wanted: _of_iterable(inputs, batches, wanted))


def open_inputs(inputs: Sequence[TensorInfo], data: Data | Iterable[Any]) -> DataSet:
    """A data set without labels: those that the data have are left out.

    Args:
        inputs: Inputs of the model.
        data: See `Data`; an iterable may also yield inputs alone. Of an .npz file or a mapping, the arrays named as the
            inputs are fed; for one input, the only array, or the only one of as many axes as the input.

    Raises:
        InputError: The data cannot be read, are empty, or do not belong together.
        UsageError: They are no data.
    """
    if isinstance(data, str | os.PathLike) and Path(data).is_dir():
        data = ImageFolder(data)
    if isinstance(data, ImageFolder):
        return _of_images(data, inputs)
    if isinstance(data, str | os.PathLike | Mapping | np.ndarray):
        columns = _columns(inputs, cast("Any", data))
        keys = _unlabelled(inputs, {name: column.shape for name, column in columns.items()})
        feeds = {name: columns[key] for name, key in keys.items()}
        samples = _samples(list(feeds.values()))
        unlabelled = _in_memory("labels", np.zeros(samples, np.int8))
        return _of_columns(feeds, unlabelled)
    batches = _iterated(data)
    return DataSet(None, lambda _, wanted: _of_unlabelled(inputs, batches, wanted))


def _iterated(data: object) -> Iterable[Any]:
    if not isinstance(data, Iterable):
        raise UsageError("data", got=type(data).__name__, expected="files, arrays, a folder of images or an iterable")
    return cast("Iterable[Any]", data)


def array_by_input(inputs: Sequence[TensorInfo], arrays: Mapping[str, Array]) -> dict[str, str]:
    """For each input that is fed the name of its array; arrays that are no inputs, such as labels, are not among them.

    Args:
        inputs: Inputs of the model.
        arrays: As `open_inputs` takes them.

    Raises:
        InputError: Nothing tells which arrays the inputs are.
    """
    found = _unlabelled([i for i in inputs if not i.optional], {name: array.shape for name, array in arrays.items()})
    return found | {i.name: i.name for i in inputs if i.optional and i.name in arrays}


def _unlabelled(inputs: Sequence[TensorInfo], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """For each input the name of its array."""
    names = [i.name for i in inputs]
    if all(name in shapes for name in names):
        return {name: name for name in names}
    shape = inputs[0].shape
    fitting = [k for k, s in shapes.items() if len(shapes) == 1 or shape is None or len(s) == len(shape)]
    if len(inputs) == 1 and len(fitting) == 1:
        return {names[0]: fitting[0]}
    raise InputError(
        "which arrays are the inputs?",
        got=", ".join(map(repr, shapes)) or "nothing",
        expected=", ".join(map(repr, names)),
        hint="name them as the inputs",
    )


def _of_unlabelled(inputs: Sequence[TensorInfo], data: Iterable[Any], wanted: Wanted) -> Iterator[Block]:
    count = 0
    for count, item in enumerate(data, 1):
        pair = isinstance(item, tuple | list) and len(cast("Sequence[Any]", item)) == 2
        feeds = _named(inputs, cast("Any", item)[0] if pair else item)
        missing = [i.name for i in inputs if i.name not in feeds]
        if missing:
            raise InputError("missing input", node=f"batch {count - 1}", got=", ".join(feeds), expected=missing[0])
        _samples([_in_memory(name, array) for name, array in feeds.items()])
        if wanted(count - 1):
            yield Block(feeds, np.zeros(0, np.int8))
    if not count:
        raise InputError("no samples", got="an iterable without batches", expected="at least one")


def _no_labels(labels: Labels | None, expected: str) -> None:
    if labels is not None:
        raise UsageError("labels", got="labels beside data that have their own", expected=expected)


def _of_images(folder: ImageFolder, inputs: Sequence[TensorInfo]) -> DataSet:
    if len(inputs) != 1:
        raise InputError("images for a model of several inputs", got=len(inputs), expected="one input")
    files = folder.files()

    def blocks(size: int | None, wanted: Wanted) -> Iterator[Block]:
        step = size or len(files)
        for start in (n * step for n in range(-(-len(files) // step)) if wanted(n)):
            part = files[start : start + step]
            pixels = np.stack([folder.read(file, inputs[0]) for file, _ in part])
            yield Block({inputs[0].name: pixels}, np.array([label for _, label in part]))

    return DataSet(len(files), blocks)


def _of_iterable(inputs: Sequence[TensorInfo], data: Iterable[Any], wanted: Wanted) -> Iterator[Block]:
    count = 0
    for count, item in enumerate(data, 1):
        if not isinstance(item, tuple | list) or len(cast("Sequence[Any]", item)) != 2:
            raise InputError("no pair", node=f"batch {count - 1}", got=type(item).__name__, expected="(inputs, labels)")
        given, target = cast("tuple[Any, Any]", item)
        feeds = _named(inputs, given)
        columns = [_in_memory(name, array) for name, array in feeds.items()]
        _samples([*columns, _in_memory(f"labels of batch {count - 1}", np.asarray(target))])
        if wanted(count - 1):
            yield Block(feeds, np.asarray(target))
    if not count:
        raise InputError("no samples", got="an iterable without batches", expected="at least one")


def _named(inputs: Sequence[TensorInfo], given: Any) -> dict[str, Array]:
    if isinstance(given, Mapping):
        return {str(name): np.asarray(array) for name, array in cast("Mapping[Any, Any]", given).items()}
    if len(inputs) != 1:
        raise InputError("one array given", expected="a mapping with " + ", ".join(repr(i.name) for i in inputs))
    return {inputs[0].name: np.asarray(given)}


def _of_columns(feeds: Mapping[str, _Column], labels: _Column) -> DataSet:
    samples = _samples([*feeds.values(), labels])

    def blocks(size: int | None, wanted: Wanted) -> Iterator[Block]:
        step = size or samples
        columns = [column.pieces(step, wanted) for column in (*feeds.values(), labels)]
        for *arrays, target in zip(*columns, strict=True):
            yield Block(dict(zip(feeds, arrays, strict=True)), target)

    return DataSet(samples, blocks)


def _samples(columns: Sequence[_Column]) -> int:
    """How many samples all of the columns have."""
    for column in columns:
        if not column.shape:
            raise InputError("a single number", node=column.where, expected="samples along the first axis")
    counts = {c.where: c.shape[0] for c in columns}
    if len(set(counts.values())) != 1:
        listed = ", ".join(f"{where} {count:,}" for where, count in counts.items())
        raise InputError("numbers of samples differ", got=listed, expected="the same for all")
    samples = next(iter(counts.values()))
    if not samples:
        raise InputError("no samples", node=next(iter(counts)), expected="at least one along the first axis")
    return samples


def _assigned(
    inputs: Sequence[TensorInfo], data: Mapping[str, Any] | Array | str | os.PathLike[str], labels: Labels | None
) -> tuple[dict[str, _Column], _Column]:
    """The columns of the inputs, and that of the labels."""
    columns = _columns(inputs, data)
    names = [i.name for i in inputs]
    if labels is None:
        others = [name for name in columns if name not in names]
        if len(others) != 1 and not (len(names) == 1 and names[0] not in columns and len(columns) == 2):
            raise InputError(
                "which array are the labels?", got=", ".join(columns), expected="one beside the inputs", hint="name it"
            )
        key = others[0] if len(others) == 1 else ""
        if not key:
            raise InputError("which array are the labels?", got=", ".join(columns), hint="name it")
        target = columns.pop(key)
    elif isinstance(labels, str) and labels in columns and labels not in names:
        target = columns.pop(labels)
    elif isinstance(labels, str | os.PathLike):
        target = _label_file(labels, columns)
    else:
        target = _in_memory("labels", np.asarray(labels))
    if len(names) == 1 and names[0] not in columns and len(columns) == 1:
        return {names[0]: next(iter(columns.values()))}, target
    missing = [name for name in names if name not in columns]
    if missing:
        raise InputError(
            "missing input", got=", ".join(map(repr, columns)) or "nothing", expected=", ".join(map(repr, missing))
        )
    return {name: columns[name] for name in names}, target


def _label_file(labels: str | os.PathLike[str], columns: Mapping[str, _Column]) -> _Column:
    if Path(labels).suffix != ".npy":
        raise InputError("no such labels", got=repr(str(labels)), expected=", ".join(columns) or "an .npy file")
    return _npy(Path(labels))


def _columns(
    inputs: Sequence[TensorInfo], data: Mapping[str, Any] | Array | str | os.PathLike[str]
) -> dict[str, _Column]:
    if isinstance(data, str | os.PathLike):
        path = Path(data)
        return _npz(path) if path.suffix == ".npz" else {_only(inputs): _npy(path)}
    if isinstance(data, Mapping):
        return {name: _in_memory(f"'{name}'", np.asarray(array)) for name, array in data.items()}
    return {_only(inputs): _in_memory("data", data)}


def _only(inputs: Sequence[TensorInfo]) -> str:
    if len(inputs) != 1:
        raise InputError("one array given", expected=", ".join(repr(i.name) for i in inputs))
    return inputs[0].name


def _in_memory(where: str, array: Array) -> _Column:
    def pieces(size: int, wanted: Wanted) -> Iterator[Array]:
        for start in (n * size for n in range(-(-len(array) // size)) if wanted(n)):
            yield np.ascontiguousarray(array[start : start + size])

    return _Column(where, array.shape, pieces)


def _npy(path: Path) -> _Column:
    """A file that is mapped, and of which each block is read when its turn comes."""
    return _in_memory(str(path), map_array(path))


def _npz(path: Path) -> dict[str, _Column]:
    with archive_of(path) as archive:
        return {name: _member(archive, path, name, info) for name, info in members(archive, str(path)).items()}


def _member(archive: zipfile.ZipFile, path: Path, name: str, info: zipfile.ZipInfo) -> _Column:
    where = f"'{name}' of {path}"
    with reading(where), archive.open(info) as file:
        header = read_header(file, info.file_size, where)

    def pieces(size: int, wanted: Wanted) -> Iterator[Array]:
        with archive_of(path) as source, reading(where), source.open(info.filename) as file:
            if read_header(file, info.file_size, where) != header:
                raise InputError("the file was changed while it was read", node=where)
            yield from _pieces_of(file, header, where, size, wanted)

    return _Column(where, header.shape, pieces)


def _pieces_of(file: IO[bytes], header: Header, where: str, size: int, wanted: Wanted) -> Iterator[Array]:
    if header.by_column and len(header.shape) > 1:  # a sample of it is strewn over the whole array
        yield from _in_memory(where, read_elements(file, header, where)).pieces(size, wanted)
        return
    samples, *rest = list(header.shape)
    row = header.dtype.itemsize * math.prod(rest)
    for number, start in enumerate(range(0, samples, size)):
        count = min(size, samples - start)
        data = file.read(count * row)
        if len(data) != count * row:
            raise InputError("the array is truncated", node=where, got=f"{start + len(data) // max(row, 1)} samples")
        if wanted(number):
            yield np.ndarray((count, *rest), header.dtype, data)
    if file.read(1):  # the sum over the member is checked at its end
        raise InputError("bytes behind the array", node=where)
