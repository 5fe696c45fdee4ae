"""start: a loaded model made ready for an engine, from the graph or from a cache, and what is known of it."""

from __future__ import annotations

import fnmatch
import gc
import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import onnx_ir as ir

from anybit.cleanup.flatten import flatten
from anybit.cleanup.set_batch import set_batch
from anybit.engines.engine import Backend, Engine, FallbackWarning
from anybit.engines.onnxruntime.backend import OrtBackend, Ready, backend, ready
from anybit.engines.onnxruntime.lower import Lowered, lower
from anybit.engines.reference.backend import ReferenceBackend
from anybit.errors import AnybitError, InvalidModelError, UnsupportedError, UsageError
from anybit.graph.constants import fed_inputs, has_default
from anybit.graph.walk import all_nodes, dimension_text
from anybit.io.shapes import Inference, infer_shapes
from anybit.ops.broken import refuse_broken
from anybit.ops.calls import is_call, operator_of
from anybit.ops.finn.debug_marker import DEBUG_MARKER
from anybit.ops.operator import DOMAIN
from anybit.ops.sizes import refuse_large

if TYPE_CHECKING:  # most sessions never need it
    from anybit.engines.native.backend import NativeBackend, NativeForm

_BATCH = "batch"
_CALLER = 4  # frames from the warning to whoever makes a session
_MANY_NODES = 1000  # from this size on a graph that is done with is worth collecting at once


@dataclass(frozen=True)
class TensorInfo:
    """An input of a model.

    Attributes:
        name: Its name.
        dtype: Element type.
        shape: A dimension is a number, or a name where it is free; None for any shape.
        optional: Whether it has a default, and need not be fed. All samples of a run share it.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | str, ...] | None
    optional: bool = False

    def __str__(self) -> str:
        shape = "any shape" if self.shape is None else f"[{', '.join(map(dimension_text, self.shape))}]"
        return f"{self.dtype}{shape}"


@dataclass(frozen=True)
class Facts:
    """What a session knows of its model when nothing of the graph is left.

    Attributes:
        engine: What executes it.
        inputs: Its inputs.
        outputs: Names of its outputs.
        tensors: Names of the intermediate tensors that were asked for.
        varying: Those of the outputs and tensors that depend on the inputs.
        free_batch: Whether any number of samples may be run at once.
        separable: Whether so many samples at a time as one likes give what one run gives.
        sample_bytes: Size of the inputs and outputs of one node for one sample, at the largest; 0 if not known.
    """

    engine: Engine
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[str, ...]
    tensors: tuple[str, ...]
    varying: frozenset[str]
    free_batch: bool
    separable: bool
    sample_bytes: int

    @property
    def names(self) -> tuple[str, ...]:
        """Names of what a run returns, in order."""
        return tuple(dict.fromkeys((*self.outputs, *self.tensors)))


class Store(Protocol):
    """Keeps models in the form in which an engine runs them."""

    def read(self) -> tuple[Facts, Lowered | NativeForm] | None:
        """What was kept of this model, None if nothing was, or not as it was."""
        ...

    def write(self, facts: Facts, form: Lowered | NativeForm) -> None:
        """Keeps it."""
        ...


def start(
    read: Callable[[], ir.Model],
    wanted: Engine,
    *,
    tensors: Sequence[str] | str,
    threads: int | None,
    store: Store | None = None,
) -> tuple[Facts, Backend]:
    """What is known of a model, and its backend, which for ONNX Runtime holds nothing of the graph.

    Args:
        read: What loads the model, each time anew.
        wanted: Engine that was asked for.
        tensors: Names of intermediate tensors to return, second names that a DebugMarker gives them, or patterns; "all"
            for every one.
        threads: Threads inside an operator.
        store: Where the lowered model may be found, and is kept.

    Raises:
        UnsupportedError: The engine does not run the model; for `Engine.AUTO`, none does.

    Warns:
        FallbackWarning: The reference runs what ONNX Runtime does not, and why.
    """
    try:
        return _by_engine(read, wanted, tensors=tensors, threads=threads, store=store)
    except UnsupportedError as error:
        if wanted is not Engine.AUTO:
            raise
        refusal = error
    return _by_reference(read(), tensors, refusal)


def _by_reference(model: ir.Model, tensors: Sequence[str] | str, refusal: UnsupportedError) -> tuple[Facts, Backend]:
    """The reference, slow as it is, for a model that no other engine runs."""
    reason = replace(refusal.diagnosis, hint="")
    try:
        facts, values = _prepare(model, Engine.REFERENCE, tensors)
        backend = _reference(model, facts, values)
    except UnsupportedError as error:
        if error.diagnosis == refusal.diagnosis:
            raise
        known = error.diagnosis
        raise UnsupportedError(
            f"no engine runs the model: {known.problem}",
            node=known.node,
            got=f"{known.got}; {reason}" if known.got else reason,
            expected=known.expected,
            hint=known.hint,
        ) from error
    warnings.warn(f"the reference engine, which is slow, runs the model: {reason}", FallbackWarning, _CALLER)
    return facts, backend


def _reference(model: ir.Model, facts: Facts, values: Iterable[ir.Value]) -> Backend:
    known = {str(v.name): v for v in (*model.graph.outputs, *values)}
    return ReferenceBackend(model, [known[n] for n in facts.names])


def _by_engine(
    read: Callable[[], ir.Model],
    wanted: Engine,
    *,
    tensors: Sequence[str] | str,
    threads: int | None,
    store: Store | None,
) -> tuple[Facts, Backend]:
    found = None if store is None else store.read()
    if found is not None:
        facts, form = found

        def floats() -> Lowered:
            return _float_form(read(), wanted, tensors)

        if not isinstance(form, Lowered):
            return facts, _native_backend(form, facts, floats, threads)
        return facts, backend(Ready(form, floats if form.integer else None), facts.names, threads=threads)
    model = read()
    facts, values = _prepare(model, wanted, tensors)
    if facts.engine is Engine.REFERENCE:
        return facts, _reference(model, facts, values)
    native = _native(model, facts, wanted, threads)
    if native is not None:
        facts = replace(facts, engine=Engine.NATIVE)
        if store is not None:
            store.write(facts, native.form)
        return facts, native
    large = model.graph.num_nodes() > _MANY_NODES
    _expose(model, values)
    if facts.engine is Engine.OPENVINO:
        from anybit.engines.openvino.backend import openvino_backend  # most sessions never need it

        return facts, openvino_backend(model, facts.names, threads=threads)
    made = ready(model, layers=wanted is Engine.AUTO)
    del model, values
    if large:  # the graph would be resident beside the engine's own; its parts form cycles
        gc.collect()
    if store is not None:
        store.write(facts, made.lowered)
    return facts, backend(made, facts.names, threads=threads)


def _native(model: ir.Model, facts: Facts, wanted: Engine, threads: int | None) -> NativeBackend | None:
    """The model run by kernels: if it is asked for, and where it is left to us and most of the model is a plan."""
    if wanted not in (Engine.AUTO, Engine.NATIVE):
        return None
    from anybit.engines.native.backend import is_fast, native_form  # most sessions never need it

    asked = wanted is Engine.NATIVE
    if facts.tensors and asked:
        raise UsageError("the native engine makes no intermediate tensors", got=", ".join(facts.tensors))
    if not asked and (facts.tensors or not facts.separable or not is_fast() or not _has_quantizers(model)):
        return None
    try:
        if not facts.separable:
            raise UnsupportedError("samples are not known to stay apart, which a plan takes for granted")
        form, source = native_form(model, facts.names, gainful=not asked), model.clone()
        return _native_backend(form, facts, lambda: lower(source.clone(), integer=False, layers=False), threads)
    except AnybitError:
        if asked:
            raise
        return None  # ONNX Runtime runs it, or says what is wrong with it


def _native_backend(
    form: NativeForm, facts: Facts, floats: Callable[[], Lowered], threads: int | None
) -> NativeBackend:
    from anybit.engines.native.backend import NativeBackend

    names = facts.names
    return NativeBackend(form, names, lambda: OrtBackend(floats(), names, threads=threads), threads=threads)


def _has_quantizers(model: ir.Model) -> bool:
    """Whether some node quantises: else there is no plan to look for."""
    return any(n.domain == DOMAIN or "Quant" in n.op_type or n.op_type.startswith("QLinear") for n in model.graph)


def _float_form(model: ir.Model, wanted: Engine, tensors: Sequence[str] | str) -> Lowered:
    """The model without integer products, whose integer form came from a store."""
    _, values = _prepare(model, wanted, tensors)
    _expose(model, values)
    return lower(model, integer=False, layers=False)


def _prepare(model: ir.Model, wanted: Engine, tensors: Sequence[str] | str) -> tuple[Facts, list[ir.Value]]:
    """Makes the batch free where it is proven that it may be; the values are those that were asked for by name."""
    flatten(model)
    inference = infer_shapes(model, data_propagation=True)
    refuse_broken(model)
    refuse_large(model)
    free = _free_batch(model, inference)
    values = _requested(model, tensors)
    moving = _varying(model, shapes=free)
    named = {str(v.name) for v in (*model.graph.outputs, *values)}
    inputs = tuple(input_info(v) for v in model.graph.inputs)
    facts = Facts(
        engine=_chosen(wanted, model),
        inputs=inputs,
        outputs=tuple(str(v.name) for v in model.graph.outputs),
        tensors=tuple(str(v.name) for v in values),
        varying=frozenset(moving & named),
        free_batch=free,
        separable=free and _begin_with_the_batch(model, values, moving & named),
        sample_bytes=_sample_bytes(model, moving),
    )
    return facts, values


def _expose(model: ir.Model, values: Iterable[ir.Value]) -> None:
    listed = set(model.graph.outputs)
    model.graph.outputs.extend(v for v in values if v not in listed)


def _sample_bytes(model: ir.Model, varying: set[str]) -> int:
    """Bytes of what a node reads and writes of a sample, at the largest; free dimensions count as 1."""
    shapes = [v.shape for v in fed_inputs(model.graph) if v.shape is not None and v.shape.rank()]
    batch = next((d for s in shapes if isinstance(d := s[0], int) and d > 0), 1)
    sizes = (sum(_bytes({v for v in (*n.inputs, *n.outputs) if v is not None}, varying)) for n in model.graph)
    return max(sizes, default=0) // batch


def _bytes(values: Iterable[ir.Value], varying: set[str]) -> Iterable[int]:
    for value in values:
        if value.name in varying and value.shape is not None and value.dtype is not None:
            elements = math.prod(d for d in value.shape if isinstance(d, int))
            yield int(elements * (0 if value.dtype is ir.DataType.STRING else value.dtype.itemsize))


def parse_engine(engine: Engine | str) -> Engine:
    """An engine, by itself or by its name.

    Raises:
        UsageError: There is no such engine.
    """
    try:
        return Engine(engine)
    except ValueError:
        raise UsageError("unknown engine", got=repr(engine), expected=", ".join(e.value for e in Engine)) from None


def _chosen(engine: Engine, model: ir.Model) -> Engine:
    if engine is not Engine.AUTO:
        return engine
    for node in all_nodes(model.graph):
        operator = operator_of(node, model.opset_imports)
        if operator is not None and operator.body is None:
            return Engine.REFERENCE
    return Engine.ONNXRUNTIME


def _free_batch(model: ir.Model, inference: Inference) -> bool:
    taken = {str(d) for v in model.graph.inputs if v.shape is not None for d in list(v.shape)[1:]}
    name = _BATCH
    while name in taken:  # as in (sequence, batch, features): the two are free of each other
        name += "_"
    try:
        set_batch(model, name, inference)
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
    batch = {v.shape[0] for v in fed_inputs(model.graph) if v.shape is not None and v.shape.rank()}
    return all(v.shape is not None and v.shape.rank() and v.shape[0] in batch for v in values if v.name in varying)


def _requested(model: ir.Model, tensors: Iterable[str] | str) -> list[ir.Value]:
    known = {str(o.name): o for node in model.graph for o in node.outputs if o.name}
    if tensors == "all":
        return list(known.values())
    computed = list(known)
    # Weights, and tensors that turned out to be constant; patterns leave them out.
    known |= {name: v for name, v in model.graph.initializers.items() if not v.is_graph_input()}
    markers = [n for n in model.graph if is_call(n, DEBUG_MARKER)]
    known = {n.attributes.get_string("export_debug_name", ""): n.outputs[0] for n in markers} | known
    values: dict[ir.Value, None] = {}
    for name in (tensors,) if isinstance(tensors, str) else tensors:
        matching = [name] if name in known else fnmatch.filter(computed, name)
        if not matching:
            expected = "a tensor of the outermost graph, or a pattern of such"
            raise UsageError("no such tensor", got=repr(name), expected=expected)
        values |= dict.fromkeys(known[m] for m in matching)
    return list(values)


def input_info(value: ir.Value) -> TensorInfo:
    """What a caller has to know of an input."""
    shape = None
    if value.shape is not None:
        shape = tuple(d if isinstance(d, int) else str(d.value or "?") for d in value.shape)
    if value.dtype is None:
        raise InvalidModelError("an input has no tensor type", node=f"input '{value.name}'")
    return TensorInfo(str(value.name), value.dtype.numpy(), shape, has_default(value))
