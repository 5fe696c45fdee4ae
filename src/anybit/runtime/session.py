"""Session: a model made ready once and run many times."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from anybit.arguments import checked
from anybit.engines.engine import Engine, ShortPath
from anybit.engines.prepare import TensorInfo, parse_engine, start
from anybit.errors import InputError, UsageError
from anybit.graph.walk import dimension_text
from anybit.io.load import ModelSource, load

Inputs = Mapping[str, npt.ArrayLike] | npt.NDArray[Any]


class Session:
    """A model made ready once and run many times, from any number of threads.

    A model that was exported for a fixed batch runs on any batch: at once where it is proven that no operator mixes
    samples, else in slices of the batch that it was made for.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model``.
        engine: What executes it, an `Engine` or its name.
        threads: Threads inside an operator; None leaves the choice to the engine.
        tensors: Intermediate tensors that `run` returns besides the outputs, by name, by the second name that a
            DebugMarker gives, or by a pattern such as "Quant*"; "all" for every one.
        cache: Folder to keep the model in as ONNX Runtime or the kernels take it, so that the next session of the same
            model with the same options starts quicker, in this or another process (see `anybit.engines.cache`); None
            keeps nothing. Whoever may write to the folder decides what is computed: use one of your own.

    Raises:
        ModelFileError: The model cannot be read, or the cache not be written.
        UnsupportedError: No engine has one of the operators.
        UsageError: An argument makes no sense, or a tensor is not in the model.

    Warns:
        FallbackWarning: The engine does not run the model in the form that is fastest, or at all, and why.

    Example:
        >>> session = Session("model.onnx")                                    # doctest: +SKIP
        >>> session.run(np.zeros((16, 64), np.float32))["logits"].shape        # doctest: +SKIP
        (16, 10)
    """

    def __init__(
        self,
        model: ModelSource,
        *,
        engine: Engine | str = Engine.AUTO,
        threads: int | None = None,
        tensors: Iterable[str] | str = (),
        cache: str | os.PathLike[str] | None = None,
    ) -> None:
        if threads is not None and threads < 1:
            raise UsageError("threads", got=threads, expected="a positive number, or None")
        asked = tensors if isinstance(tensors, str) else list(tensors)
        wanted = parse_engine(engine)
        if cache is None:
            self._facts, self._backend = start(lambda: load(model), wanted, tensors=asked, threads=threads)
        else:
            from anybit.engines.cache import Cache  # most sessions never need it

            store, read = Cache(cache).of(model, wanted, tensors=asked)
            self._facts, self._backend = start(read, wanted, tensors=asked, threads=threads, store=store)
        self.threads = threads
        self.engine = self._facts.engine
        self.inputs, self.outputs, self.tensors = self._facts.inputs, self._facts.outputs, self._facts.tensors
        self.required = tuple(i for i in self.inputs if not i.optional)
        self._names = list(self._facts.names)
        self._execute = self._backend.run
        self._short = self._backend.short if isinstance(self._backend, ShortPath) else None
        self._coupled = len(self.inputs) > 1 or self.engine is not Engine.ONNXRUNTIME

    def __repr__(self) -> str:
        inputs, outputs = ", ".join(i.name for i in self.inputs), ", ".join(self.outputs)
        return f"<Session by {self.engine.value}: {inputs} -> {outputs}>"

    def run(self, inputs: Inputs) -> dict[str, npt.NDArray[Any]]:
        """Runs the model once.

        Args:
            inputs: Arrays by input name, or one array where the model has a single input besides those with a
                default. An input with a default may be left out.

        Returns:
            The outputs by name, then the intermediate tensors that were asked for.

        Raises:
            InputError: A name, type or shape does not fit the model.
        """
        if self._short is not None:  # checks all by itself, and leaves to the rest what it does not take
            found = self._short(inputs)
            if type(found) is dict:
                return cast("dict[str, npt.NDArray[Any]]", found)
        feeds = inputs if type(inputs) is dict else self._feeds(inputs)
        if self._coupled:
            return self._checked(feeds)
        for value in feeds.values():  # small nets take ten microseconds: each step here shows
            if type(value) is not np.ndarray or not value.dtype.isnative:  # ONNX Runtime does not look at the order
                return self._checked(feeds)
        try:
            results = self._execute(feeds)
        except InputError:  # `_checked` says it better, runs it in slices, or raises the same again
            return self._checked(feeds)
        return {self._names[0]: results[0]} if len(results) == 1 else dict(zip(self._names, results, strict=True))

    def piece(self, batch_size: int) -> int | None:
        """How many samples, about `batch_size`, may be run at a time with `join` giving what one run gives.

        None where samples are not known to stay apart: all of them must be run at once.
        """
        if self._facts.free_batch:
            return batch_size if self._facts.separable else None
        size = _common_size(self.required)
        return None if size is None else max(batch_size // size, 1) * size

    def join(
        self, parts: Sequence[Mapping[str, npt.NDArray[Any]]], counts: Sequence[int]
    ) -> dict[str, npt.NDArray[Any]]:
        """The results of several pieces, of so many samples each, as those of one run; constants are taken once.

        Raises:
            InputError: A tensor depends on the inputs and has no batch axis.
        """
        return {name: self._joined(name, [part[name] for part in parts], counts) for name in self._names}

    @property
    def sample_bytes(self) -> int:
        """Bytes that one node reads and writes for one sample, at the largest; 0 if that is not known."""
        return self._facts.sample_bytes

    def _feeds(self, inputs: Inputs) -> Mapping[str, Any]:
        if isinstance(inputs, Mapping):
            return dict(inputs)
        return {self.only_input: inputs}

    @property
    def only_input(self) -> str:
        """Name of the input that one array is meant for.

        Raises:
            InputError: There are several, or none.
        """
        infos = self.inputs if len(self.inputs) == 1 else self.required
        if len(infos) != 1:
            names = ", ".join(repr(i.name) for i in self.inputs)
            raise InputError("one array given", expected=f"a mapping with {names}")
        return infos[0].name

    def part(self, feeds: Mapping[str, npt.NDArray[Any]], start: int, stop: int) -> dict[str, npt.NDArray[Any]]:
        """Some of the samples; inputs with a default are what all samples share."""
        shared = {i.name for i in self.inputs if i.optional}
        return {name: array if name in shared else array[start:stop] for name, array in feeds.items()}

    def samples(self, feeds: Mapping[str, npt.NDArray[Any]]) -> int | None:
        """How many samples these are; None where the inputs do not agree on that."""
        counts = {feeds[i.name].shape[0] if feeds[i.name].ndim else -1 for i in self.required if i.name in feeds}
        return next(iter(counts)) if len(counts) == 1 and -1 not in counts else None

    def _checked(self, feeds: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
        _check_names(self.inputs, feeds)
        given = [i for i in self.inputs if i.name in feeds]
        arrays = {i.name: _array(feeds[i.name], i) for i in given}
        slices = 1 if self._facts.free_batch else _slices(self.required, arrays)
        sizes: dict[str, int] = {}
        for info in given:
            _check_array(info, arrays[info.name], 1 if info.optional else slices, sizes)
        if slices == 1:
            return dict(zip(self._names, self._backend.run(arrays), strict=True))
        names = [i.name for i in self.required]
        pieces = zip(*(np.split(arrays[name], slices) for name in names), strict=True)
        parts = [self._backend.run(arrays | dict(zip(names, piece, strict=True))) for piece in pieces]
        counts = [len(arrays[names[0]]) // slices] * slices
        return self.join([dict(zip(self._names, part, strict=True)) for part in parts], counts)

    def _joined(self, name: str, parts: Sequence[npt.NDArray[Any]], counts: Sequence[int]) -> npt.NDArray[Any]:
        if name not in self._facts.varying:
            return parts[0]
        rest = {p.shape[1:] for p in parts}
        if len(rest) == 1 and all(p.ndim and p.shape[0] == count for p, count in zip(parts, counts, strict=True)):
            return np.concatenate(parts)
        raise InputError(
            "the tensor has no batch axis to join along", node=f"tensor '{name}'", hint="feed the batch of the model"
        )


@checked
def run(
    model: ModelSource,
    inputs: Inputs,
    *,
    engine: Engine | str = Engine.AUTO,
    threads: int | None = None,
    tensors: Iterable[str] | str = (),
    cache: str | os.PathLike[str] | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """Runs a model once; for more than one call keep a `Session`, whose arguments these are."""
    return Session(model, engine=engine, threads=threads, tensors=tensors, cache=cache).run(inputs)


def _common_size(infos: Sequence[TensorInfo]) -> int | None:
    """The first dimension of all inputs, where it is one positive number."""
    sizes = {info.shape[0] if info.shape else None for info in infos}
    size = sizes.pop() if len(sizes) == 1 else None
    return size if isinstance(size, int) and size > 0 else None


def _array(value: Any, info: TensorInfo) -> npt.NDArray[Any]:
    """Arrays as they are; lists and numbers in the type of the input."""
    if isinstance(value, np.ndarray):
        array = cast("npt.NDArray[Any]", value)
        return array.astype(np.object_) if array.dtype.kind == "U" and info.dtype == np.object_ else array
    try:
        return np.asarray(value, info.dtype)
    except (TypeError, ValueError) as error:
        raise InputError("no array", node=f"input '{info.name}'", got=error, expected=str(info)) from error


def _check_names(infos: Sequence[TensorInfo], arrays: Mapping[str, Any]) -> None:
    expected = {i.name for i in infos}
    names = ", ".join(repr(i.name) for i in infos)
    for name in arrays.keys() - expected:
        raise InputError("unknown input", got=repr(name), expected=names)
    for name in {i.name for i in infos if not i.optional} - arrays.keys():
        raise InputError("missing input", got=", ".join(map(repr, arrays)) or "nothing", expected=repr(name))


def _slices(infos: Sequence[TensorInfo], arrays: Mapping[str, npt.NDArray[Any]]) -> int:
    """Into how many batches of the model's own size the feeds divide; 1 if they are no multiple of it."""
    counts: set[int] = set()
    for info in infos:
        array = arrays[info.name]
        size = info.shape[0] if info.shape else None
        if not isinstance(size, int) or not size or not array.ndim or array.shape[0] % size:
            return 1
        counts.add(array.shape[0] // size)
    return counts.pop() if len(counts) == 1 and 0 not in counts else 1


def _check_array(info: TensorInfo, array: npt.NDArray[Any], slices: int, sizes: dict[str, int]) -> None:
    where = f"input '{info.name}'"
    if array.dtype != info.dtype:
        raise InputError(
            "element type", node=where, got=array.dtype, expected=info.dtype, hint="convert it with astype"
        )
    if info.shape is None:
        return
    good = array.ndim == len(info.shape)
    for axis, (size, wanted) in enumerate(zip(array.shape, info.shape, strict=False)):
        actual = size // slices if axis == 0 else size
        expected = sizes.setdefault(wanted, actual) if isinstance(wanted, str) and wanted != "?" else wanted
        good = good and (wanted == "?" or actual == expected)
    if not good:
        expected = f"[{', '.join(map(dimension_text, info.shape))}]"
        raise InputError("shape", node=where, got=list(array.shape), expected=expected)
