"""Session: a model made ready once and run many times."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from anybit.errors import InputError, InvalidModelError, Severity, UnsupportedError, UsageError
from anybit.io.load import ModelSource, load
from anybit.io.normalize import normalize
from anybit.io.shapes import discard_false_shapes
from anybit.ops.nodes import findings_of, is_undefined, label, operator_of
from anybit.passes.set_batch import SetBatch
from anybit.passes.sort_nodes import SortNodes
from anybit.runtime.engine import Backend, Engine
from anybit.runtime.ort import ready
from anybit.runtime.reference import ReferenceBackend

_BATCH = "batch"
_MANY_NODES = 1000  # from this size on a graph that is done with is worth collecting at once

Inputs = Mapping[str, npt.ArrayLike] | npt.NDArray[Any]


@dataclass(frozen=True)
class TensorInfo:
    """Name, element type and shape of an input; a dimension is a number, or a name where it is free."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | str, ...] | None

    def __str__(self) -> str:
        shape = "any shape" if self.shape is None else f"[{', '.join(map(str, self.shape))}]"
        return f"{self.dtype}{shape}"


class Session:
    """A model made ready once and run many times, from any number of threads.

    A model that was exported for a fixed batch runs on any batch: at once where it is proven that no operator mixes
    samples, else in slices of the batch that it was made for.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model``.
        engine: What executes it, an `Engine` or its name.
        threads: Threads inside an operator; None leaves the choice to the engine.
        tensors: Intermediate tensors that `run` returns besides the outputs, by name; "all" for every one.

    Raises:
        ModelFileError: The model cannot be read.
        UnsupportedError: No engine has one of the operators.
        UsageError: An argument makes no sense, or a tensor is not in the model.

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
    ) -> None:
        if threads is not None and threads < 1:
            raise UsageError("threads", got=threads, expected="a positive number, or None")
        prepared = load(model)
        _inline(prepared)
        _refuse_broken(prepared)
        SortNodes()(prepared)
        discard_false_shapes(prepared)
        self._free_batch = _free_batch(prepared)
        self.inputs = tuple(_info(v) for v in prepared.graph.inputs)
        self.outputs = tuple(str(v.name) for v in prepared.graph.outputs)
        values = _requested(prepared, tensors)
        self.tensors = tuple(str(v.name) for v in values)
        self._names = list(dict.fromkeys((*self.outputs, *self.tensors)))
        self._varying = _varying(prepared, shapes=self._free_batch).intersection(self._names)
        self._separable = self._free_batch and _begin_with_the_batch(prepared, values, self._varying)
        wanted = _engine(engine)
        self.engine = _chosen(wanted, prepared)
        make = _backend(self.engine, prepared, values, self._names, threads, layers=wanted is Engine.AUTO)
        large = prepared.graph.num_nodes() > _MANY_NODES
        del prepared, values
        if large:  # the graph would be resident beside the engine's own; its parts form cycles
            gc.collect()
        self._backend = make()
        self._coupled = len(self.inputs) > 1 or self.engine is Engine.REFERENCE

    def run(self, inputs: Inputs) -> dict[str, npt.NDArray[Any]]:
        """Runs the model once.

        Args:
            inputs: Arrays by input name, or one array where the model has a single input.

        Returns:
            The outputs by name, then the intermediate tensors that were asked for.

        Raises:
            InputError: A name, type or shape does not fit the model.
        """
        feeds = inputs if type(inputs) is dict else self._feeds(inputs)
        if self._coupled or not all(map(_is_native, feeds.values())):
            return self._checked(feeds)
        try:
            return dict(zip(self._names, self._backend.run(feeds), strict=True))
        except InputError:  # `_checked` says it better, runs it in slices, or raises the same again
            return self._checked(feeds)

    def piece(self, batch_size: int) -> int | None:
        """How many samples, about `batch_size`, may be run at a time with `join` giving what one run gives.

        None where samples are not known to stay apart: all of them must be run at once.
        """
        if self._free_batch:
            return batch_size if self._separable else None
        size = _common_size(self.inputs)
        return None if size is None else max(batch_size // size, 1) * size

    def join(
        self, parts: Sequence[Mapping[str, npt.NDArray[Any]]], counts: Sequence[int]
    ) -> dict[str, npt.NDArray[Any]]:
        """The results of several pieces, of so many samples each, as those of one run; constants are taken once.

        Raises:
            InputError: A tensor depends on the inputs and has no batch axis.
        """
        return {name: self._joined(name, [part[name] for part in parts], counts) for name in self._names}

    def _feeds(self, inputs: Inputs) -> Mapping[str, Any]:
        if isinstance(inputs, Mapping):
            return dict(inputs)
        if len(self.inputs) != 1:
            raise InputError(
                "one array given", expected="a mapping with " + ", ".join(repr(i.name) for i in self.inputs)
            )
        return {self.inputs[0].name: inputs}

    def _checked(self, feeds: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
        _check_names(self.inputs, feeds)
        arrays = {i.name: _array(feeds[i.name], i) for i in self.inputs}
        slices = 1 if self._free_batch else _slices(self.inputs, arrays)
        sizes: dict[str, int] = {}
        for info in self.inputs:
            _check_array(info, arrays[info.name], slices, sizes)
        if slices == 1:
            return dict(zip(self._names, self._backend.run(arrays), strict=True))
        pieces = [np.split(arrays[i.name], slices) for i in self.inputs]
        names = [i.name for i in self.inputs]
        parts = [self._backend.run(dict(zip(names, piece, strict=True))) for piece in zip(*pieces, strict=True)]
        counts = [len(piece[0]) for piece in zip(*pieces, strict=True)]
        return self.join([dict(zip(self._names, part, strict=True)) for part in parts], counts)

    def _joined(self, name: str, parts: Sequence[npt.NDArray[Any]], counts: Sequence[int]) -> npt.NDArray[Any]:
        if name not in self._varying:
            return parts[0]
        if all(p.ndim and p.shape[0] == count for p, count in zip(parts, counts, strict=True)):
            return np.concatenate(parts)
        raise InputError(
            "the tensor has no batch axis to join along", node=f"tensor '{name}'", hint="feed the batch of the model"
        )


def run(
    model: ModelSource,
    inputs: Inputs,
    *,
    engine: Engine | str = Engine.AUTO,
    threads: int | None = None,
    tensors: Iterable[str] | str = (),
) -> dict[str, npt.NDArray[Any]]:
    """Runs a model once; for more than one call keep a `Session`, whose arguments these are."""
    return Session(model, engine=engine, threads=threads, tensors=tensors).run(inputs)


def _engine(engine: Engine | str) -> Engine:
    try:
        return Engine(engine)
    except ValueError:
        raise UsageError("unknown engine", got=repr(engine), expected=", ".join(e.value for e in Engine)) from None


def _chosen(engine: Engine, model: ir.Model) -> Engine:
    if engine is not Engine.AUTO:
        return engine
    for node in model.graph.all_nodes():
        operator = operator_of(node, model.opset_imports)
        if operator is not None and operator.body is None:
            return Engine.REFERENCE
    return Engine.ONNXRUNTIME


def _backend(
    engine: Engine,
    model: ir.Model,
    values: Sequence[ir.Value],
    names: Sequence[str],
    threads: int | None,
    *,
    layers: bool,
) -> Callable[[], Backend]:
    """What makes the backend; for ONNX Runtime it holds nothing of the model's graph."""
    if engine is Engine.REFERENCE:
        known = {str(v.name): v for v in (*model.graph.outputs, *values)}
        backend = ReferenceBackend(model, [known[n] for n in names])
        return lambda: backend
    listed = set(model.graph.outputs)
    model.graph.outputs.extend(v for v in values if v not in listed)
    return ready(model, names, threads=threads, layers=layers)


def _inline(model: ir.Model) -> None:
    if not model.functions:
        return
    try:
        InlinePass()(model)
        normalize(model)  # attributes that a call gives to the nodes of a function are known only now
    except (ir.passes.PassError, ir.passes.PreconditionError) as error:
        raise UnsupportedError(
            "a model-local function cannot be inlined", got=" ".join(str(error.__cause__ or error).split())
        ) from error


def _refuse_broken(model: ir.Model) -> None:
    """Raises the first error by which a node has no meaning; `check` lists them all."""
    for node in model.graph.all_nodes():
        for value in node.inputs:
            if value is not None and is_undefined(value):
                raise InvalidModelError(f"input '{value.name}' comes from nowhere", node=label(node))
        operator = operator_of(node, model.opset_imports)
        for finding in () if operator is None else findings_of(node, operator):
            if finding.severity is Severity.ERROR:
                raise InvalidModelError(
                    finding.problem,
                    node=finding.node,
                    got=finding.got,
                    expected=finding.expected,
                    hint=finding.hint or "run `anybit check` for all findings",
                )
    for value in model.graph.outputs:
        if is_undefined(value):
            raise InvalidModelError("a graph output comes from nowhere", node=f"output '{value.name}'")


def _free_batch(model: ir.Model) -> bool:
    taken = {str(d) for v in model.graph.inputs if v.shape is not None for d in list(v.shape)[1:]}
    name = _BATCH
    while name in taken:  # as in (sequence, batch, features): the two are free of each other
        name += "_"
    try:
        SetBatch(name)(model)
    except InvalidModelError:
        return False
    return True


def _varying(model: ir.Model, *, shapes: bool) -> set[str]:
    """Names of the tensors that depend on an input; those that depend on its shape alone only if `shapes`."""
    varying = set(model.graph.inputs)
    for node in model.graph:
        if not shapes and node.domain == "" and node.op_type in ("Shape", "Size"):
            continue
        captures = any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in node.attributes.values())
        if captures or any(v in varying for v in node.inputs):
            varying.update(node.outputs)
    return {str(v.name) for v in varying}


def _begin_with_the_batch(model: ir.Model, values: Iterable[ir.Value], varying: set[str]) -> bool:
    """Whether all of the values that depend on the inputs carry the batch, which is free, on their first axis."""
    batch = {v.shape[0] for v in model.graph.inputs if v.shape is not None}
    return all(v.shape is not None and v.shape.rank() and v.shape[0] in batch for v in values if v.name in varying)


def _common_size(infos: Sequence[TensorInfo]) -> int | None:
    """The first dimension of all inputs, where it is one positive number."""
    sizes = {info.shape[0] if info.shape else None for info in infos}
    size = sizes.pop() if len(sizes) == 1 else None
    return size if isinstance(size, int) and size > 0 else None


def _requested(model: ir.Model, tensors: Iterable[str] | str) -> list[ir.Value]:
    known = {str(o.name): o for node in model.graph for o in node.outputs if o.name}
    if tensors == "all":
        return list(known.values())
    known |= model.graph.initializers  # weights, and tensors that turned out to be constant
    values: list[ir.Value] = []
    for name in (tensors,) if isinstance(tensors, str) else tensors:
        if name not in known:
            raise UsageError("no such tensor", got=repr(name), expected="a tensor of the outermost graph")
        values.append(known[name])
    return values


def _info(value: ir.Value) -> TensorInfo:
    shape = None
    if value.shape is not None:
        shape = tuple(d if isinstance(d, int) else str(d.value or "?") for d in value.shape)
    if value.dtype is None:
        raise InvalidModelError("an input has no tensor type", node=f"input '{value.name}'")
    return TensorInfo(str(value.name), value.dtype.numpy(), shape)


def _is_native(value: Any) -> bool:
    """Whether the bytes of an array are in the machine's order; ONNX Runtime does not look."""
    return not isinstance(value, np.ndarray) or cast("npt.NDArray[Any]", value).dtype.isnative


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
    for name in expected - arrays.keys():
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
        expected = f"[{', '.join(map(str, info.shape))}]"
        raise InputError("shape", node=where, got=list(array.shape), expected=expected)
