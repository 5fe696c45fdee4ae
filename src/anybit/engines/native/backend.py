"""The native engine: a plan run by the kernels, and the float parts around it by ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.cleanup.set_batch import SetBatch
from anybit.engines.engine import Backend
from anybit.engines.native.compile import ISA, PLAIN_PATH, compiled, path
from anybit.engines.onnxruntime.backend import OrtBackend
from anybit.engines.onnxruntime.lower import Lowered, lower
from anybit.errors import AnybitError, InputError, UnsupportedError
from anybit.formats.convert import to_hub
from anybit.passes.surgery.extract_submodel import find_region, reads, submodel
from anybit.plan.build import plan_of_prepared
from anybit.plan.plan import Plan

_BATCH = "batch"
_LEAST = 0.75  # share of the multiplications
_SMALL = 1 << 20  # multiplications of a plan that float parts, with a session each, take longer than
_PLAIN = ("C_CONTIGUOUS", "ALIGNED")


@dataclass(frozen=True)
class FloatNodes:
    """Float nodes of a model, ready for ONNX Runtime.

    Attributes:
        lowered: The nodes.
        inputs: Names of what they read.
        outputs: Names of what they make.
    """

    lowered: Lowered
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class NativeForm:
    """A model as the native engine runs it, with nothing left of the graph it came from.

    Attributes:
        plan: Its integer layers.
        head: Float nodes in front of the plan, None where there are none.
        tail: Those behind it.
    """

    plan: Plan
    head: FloatNodes | None
    tail: FloatNodes | None


class NativeBackend:
    """A plan and its kernels, for inputs without NaN; the float form of the model, made when it is first needed.

    Args:
        form: The plan, and the float nodes around it.
        outputs: Names of what `run` returns.
        floats: What makes the float form.
        threads: Threads over groups of samples, and inside float nodes; None for those of the processor.
    """

    def __init__(
        self, form: NativeForm, outputs: Sequence[str], floats: Callable[[], Backend], *, threads: int | None
    ) -> None:
        self.form = form
        self._net = compiled(form.plan, threads=_threads(threads))
        self._inputs = [p.name for p in form.plan.inputs]
        self._outputs = tuple(outputs)
        self._head, self._tail = (_part(nodes, threads=threads) for nodes in (form.head, form.tail))
        self._floats = floats
        self._made: Backend | None = None
        self._lock = Lock()

    @property
    def short(self) -> Callable[[Any], Any] | None:
        """What takes a dict of arrays and gives one, or something else where it cannot; None where parts are float."""
        return None if self._head or self._tail else self._net.run

    def run(self, feeds: Mapping[str, Any]) -> Sequence[Any]:
        """The outputs for these inputs."""
        held = dict(feeds) | ({} if self._head is None else self._head(feeds))
        given = {name: np.require(held[name], requirements=_PLAIN) for name in self._inputs}
        found = self._net.run(given)
        if found is None:
            return self._float_form().run(feeds)
        if found is NotImplemented:
            shapes = ", ".join(f"{n}: {a.dtype}{list(a.shape)}" for n, a in given.items())
            raise InputError("type or shape", got=shapes)
        held |= found
        held |= {} if self._tail is None else self._tail(held)
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
        nodes: The nodes.
        backend: What runs them.
    """

    nodes: FloatNodes
    backend: Backend

    def __call__(self, held: Mapping[str, Array]) -> dict[str, Array]:
        """What they make of what is held."""
        made = self.backend.run({name: held[name] for name in self.nodes.inputs})
        return dict(zip(self.nodes.outputs, made, strict=True))


def _part(nodes: FloatNodes | None, *, threads: int | None) -> Part | None:
    return (
        None if nodes is None else Part(nodes, OrtBackend(nodes.lowered, nodes.outputs, threads=threads, alone=False))
    )


def native_form(model: ir.Model, outputs: Sequence[str], *, gainful: bool) -> NativeForm:
    """What the native engine runs of a model whose shapes are known and whose batch is free; it is not changed.

    Args:
        model: The model, in any dialect.
        outputs: Names of what is returned.
        gainful: Whether a model is refused that ONNX Runtime alone is likely to run as fast: of whose multiplications
            float parts have a quarter or more, or which is small and has float parts.

    Raises:
        UnsupportedError: There are no kernels, or no plan, or too little of the model is one.
    """
    path()
    hub, _ = to_hub(model)
    SetBatch(_BATCH)(hub)
    plan = plan_of_prepared(hub, least=_LEAST if gainful else 0.0)
    made, read = {p.name for p in plan.outputs}, {p.name for p in plan.inputs}
    given = {str(v.name) for v in hub.graph.inputs}
    if gainful and plan.macs < _SMALL and not (read <= given and made >= set(outputs)):
        refusal = next(iter(plan.refusals), None)
        raise UnsupportedError("a small plan with float parts around it gains nothing", got=str(refusal or ""))
    head = _nodes(hub, sorted(given), sorted(read - given))
    return NativeForm(plan, head, _nodes(hub, [*sorted(given), *sorted(made)], sorted(set(outputs) - made - given)))


def _threads(threads: int | None) -> int:
    return threads or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def _nodes(hub: ir.Model, inputs: Sequence[str], outputs: Sequence[str]) -> FloatNodes | None:
    """The nodes between some tensors, None where nothing is asked for."""
    if not outputs:
        return None
    try:
        region = find_region(hub.graph, inputs=inputs, outputs=outputs)
        needed = {v for node in region.nodes for v in reads(node)} | set(region.outputs)
        used = tuple(v for v in region.inputs if v in needed)
        part = submodel(hub, replace(region, inputs=used))
    except AnybitError as error:
        raise UnsupportedError("the float part of the model stands in the way of a plan", got=str(error)) from error
    return FloatNodes(lower(part, integer=False, layers=False), tuple(str(v.name) for v in used), tuple(outputs))


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
