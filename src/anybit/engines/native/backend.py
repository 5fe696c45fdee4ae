"""The native engine: a plan run by the kernels, and the float parts around it by ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.cleanup.infer_shapes import InferShapes
from anybit.cleanup.set_batch import SetBatch
from anybit.engines.engine import Backend
from anybit.engines.native.compile import ISA, PLAIN_PATH, compiled, path
from anybit.engines.onnxruntime.backend import OrtBackend
from anybit.engines.onnxruntime.lower import lower
from anybit.errors import AnybitError, InputError, UnsupportedError
from anybit.formats.convert import to_hub
from anybit.passes.surgery.extract_submodel import extract_submodel
from anybit.plan.build import plan_of_prepared
from anybit.plan.plan import Plan

_BATCH = "batch"
_LEAST = 0.75  # share of the multiplications
_SMALL = 1 << 20  # multiplications of a plan that float parts, with a session each, take longer than
_PLAIN = ("C_CONTIGUOUS", "ALIGNED")


class NativeBackend:
    """A plan and its kernels, for inputs without NaN; the float form of the model, made when it is first needed.

    Args:
        plan: The plan.
        outputs: Names of what `run` returns.
        parts: The float parts in front of the plan and behind it.
        floats: What makes the float form.
        threads: Threads over groups of samples.
    """

    def __init__(
        self, plan: Plan, outputs: Sequence[str], parts: Parts, floats: Callable[[], Backend], *, threads: int
    ) -> None:
        self._net = compiled(plan, threads=threads)
        self._inputs = [p.name for p in plan.inputs]
        self._outputs = tuple(outputs)
        self._parts = parts
        self._floats = floats
        self._made: Backend | None = None
        self._lock = Lock()

    @property
    def short(self) -> Callable[[Any], Any] | None:
        """What takes a dict of arrays and gives one, or something else where it cannot; None where parts are float."""
        return None if self._parts.head or self._parts.tail else self._net.run

    def run(self, feeds: Mapping[str, Any]) -> Sequence[Any]:
        """The outputs for these inputs."""
        held = dict(feeds) | self._parts.before(feeds)
        given = {name: np.require(held[name], requirements=_PLAIN) for name in self._inputs}
        found = self._net.run(given)
        if found is None:
            return self._float_form().run(feeds)
        if found is NotImplemented:
            shapes = ", ".join(f"{n}: {a.dtype}{list(a.shape)}" for n, a in given.items())
            raise InputError("type or shape", got=shapes)
        held |= found
        held |= self._parts.behind(held)
        return [held[name] for name in self._outputs]

    def _float_form(self) -> Backend:
        with self._lock:
            if self._made is None:
                self._made = self._floats()
        return self._made


@dataclass(frozen=True)
class Part:
    """Float nodes that ONNX Runtime runs.

    Attributes:
        backend: The nodes.
        inputs: Names of what they read.
        outputs: Names of what they make.
    """

    backend: Backend
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def __call__(self, held: Mapping[str, Array]) -> dict[str, Array]:
        """What they make of what is held."""
        return dict(zip(self.outputs, self.backend.run({n: held[n] for n in self.inputs}), strict=True))


@dataclass(frozen=True)
class Parts:
    """What of a model is float.

    Attributes:
        head: In front of the plan.
        tail: Behind it.
    """

    head: Part | None = None
    tail: Part | None = None

    def before(self, held: Mapping[str, Array]) -> dict[str, Array]:
        """What the plan reads and no caller gives."""
        return {} if self.head is None else self.head(held)

    def behind(self, held: Mapping[str, Array]) -> dict[str, Array]:
        """What is asked for and the plan does not make."""
        return {} if self.tail is None else self.tail(held)


def native_backend(model: ir.Model, outputs: Sequence[str], *, threads: int | None, gainful: bool) -> NativeBackend:
    """The backend of a model whose shapes are known and whose batch is free; the model is not changed.

    Args:
        model: The model, in any dialect.
        outputs: Names of what is returned.
        threads: Threads over groups of samples; None for those of the processor.
        gainful: Whether a model is refused that ONNX Runtime alone is likely to run as fast: of whose multiplications
            float parts have a quarter or more, or which is small and has float parts.

    Raises:
        UnsupportedError: There are no kernels, or no plan, or too little of the model is one.
    """
    path()
    hub, _ = to_hub(model)
    InferShapes()(hub)
    SetBatch(_BATCH)(hub)
    plan = plan_of_prepared(hub, least=_LEAST if gainful else 0.0)
    made, read = {p.name for p in plan.outputs}, {p.name for p in plan.inputs}
    given = {str(v.name) for v in hub.graph.inputs}
    if gainful and plan.macs < _SMALL and not (read <= given and made >= set(outputs)):
        refusal = next(iter(plan.refusals), None)
        raise UnsupportedError("a small plan with float parts around it gains nothing", got=str(refusal or ""))
    parts = Parts(
        _part(hub, sorted(given), sorted(read - given), threads=threads),
        _part(hub, [*sorted(given), *sorted(made)], sorted(set(outputs) - made - given), threads=threads),
    )
    source = model.clone()

    def floats() -> Backend:
        return OrtBackend(lower(source.clone(), integer=False, layers=False), outputs, threads=threads)

    return NativeBackend(plan, outputs, parts, floats, threads=_threads(threads))


def _threads(threads: int | None) -> int:
    return threads or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def _part(hub: ir.Model, inputs: Sequence[str], outputs: Sequence[str], *, threads: int | None) -> Part | None:
    """The nodes between some tensors, None where nothing is asked for."""
    if not outputs:
        return None
    try:
        submodel = extract_submodel(hub, inputs=inputs, outputs=outputs)
    except AnybitError as error:
        raise UnsupportedError("the float part of the model stands in the way of a plan", got=str(error)) from error
    used = [str(v.name) for v in submodel.graph.inputs if v.uses() or v.is_graph_output()]
    if len(used) < len(inputs):
        submodel = extract_submodel(hub, inputs=used, outputs=outputs)
    lowered = lower(submodel, integer=False, layers=False)
    return Part(OrtBackend(lowered, outputs, threads=threads), tuple(used), tuple(outputs))


def described() -> str:
    """Which path runs, in one line."""
    try:
        return f"plans run by the native kernels, path {path()}"
    except UnsupportedError as error:
        return f"ONNX Runtime runs everything: {error}"


def is_fast() -> bool:
    """Whether there are kernels that were written for this processor, or a path is asked for by name."""
    try:
        return path() != PLAIN_PATH or ISA in os.environ
    except UnsupportedError:
        return False
