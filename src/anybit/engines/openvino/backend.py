"""OpenVINO as an engine: an optional package, of which no form is believed before it agreed with the reference."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.analysis.grid_step import grid_step
from anybit.arrays import Array
from anybit.engines.engine import Backend, FallbackWarning
from anybit.engines.finiteness import stays_finite
from anybit.engines.onnxruntime.backend import OrtBackend
from anybit.engines.onnxruntime.lower import lower
from anybit.engines.openvino.form import openvino_form
from anybit.engines.reference.backend import ReferenceBackend
from anybit.engines.sampling import random_inputs
from anybit.errors import AnybitError, InputError, UnsupportedError, visible
from anybit.formats.convert import to_hub
from anybit.graph.constants import has_default
from anybit.graph.walk import all_nodes, label
from anybit.io.save import to_proto

_SAMPLES = 2  # of each kind of input by which a form is judged
_EXTREME = 1e3
_TOLERANCE = 1e-5  # share of a tensor's largest magnitude: float32 summation in any order
_SHARE_OF_TIES = 1e-3  # of the elements of a tensor on a grid may be one step apart
_OPTIONS = {
    "INFERENCE_PRECISION_HINT": "f32",  # else bfloat16 on processors that have it
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",  # else activations of products with small weights are quantised
    "PERFORMANCE_HINT": "LATENCY",
}
_FORMS = {"integer products": True, "float emulation": False}

_LONGEST = 300  # characters of OpenVINO's own message

Feeds = Mapping[str, npt.NDArray[Any]]


class _Compile(Protocol):
    """Makes the backend of a form."""

    def __call__(self, *, integers: bool) -> OpenVinoBackend: ...


class OpenVinoBackend:
    """A model compiled by OpenVINO, and another backend for what it does not compute as the reference does.

    Args:
        compiled: OpenVINO's model.
        outputs: Names of the tensors that `run` returns.
        others: Backend for inputs without elements, and for those that are not finite, which bytes cannot say.
    """

    def __init__(self, compiled: Any, outputs: Sequence[str], others: Backend) -> None:
        self._compiled = compiled
        self._places = [_place(compiled.outputs, name) for name in outputs]
        self._others = others
        self._idle: list[Any] = []

    def run(self, feeds: Mapping[str, Any]) -> Sequence[Any]:
        """The outputs for these inputs."""
        if not all(v.size and np.isfinite(v).all() for v in feeds.values()):
            return self._others.run(feeds)
        try:
            request = self._idle.pop()
        except IndexError:  # as many requests as there were calls at the same time
            request = self._compiled.create_infer_request()
        try:
            results = request.infer({name: np.asarray(v, order="C") for name, v in feeds.items()}, share_inputs=True)
            return [results[place] for place in self._places]
        except RuntimeError as error:
            raise InputError("OpenVINO failed", got=" ".join(str(error).split())) from error
        finally:
            self._idle.append(request)


def openvino_backend(model: ir.Model, outputs: Sequence[str], *, threads: int | None) -> Backend:
    """OpenVINO with the first form that agrees with the reference, ONNX Runtime where none does.

    Forms are tried from the fastest on: products of bytes, float emulation. They are run on random inputs, on ties of
    the first quantiser, on corners of the range and far outside of it.

    Args:
        model: Normalised model without model-local functions; its inputs lose their defaults.
        outputs: Names of the tensors that `run` returns, outputs of the model's graph.
        threads: Threads inside an operator; None leaves the choice to OpenVINO.

    Raises:
        UnsupportedError: OpenVINO is not installed, or ONNX Runtime cannot run the model either.

    Warns:
        FallbackWarning: The fastest form is not used, and why.
    """
    try:
        import openvino  # pyright: ignore[reportMissingImports]  # an extra
    except ImportError as error:
        raise UnsupportedError("OpenVINO is not installed", hint="pip install 'anybit[openvino]'") from error
    defaults = _without_defaults(model)
    options = _OPTIONS if threads is None else {**_OPTIONS, "INFERENCE_NUM_THREADS": str(threads)}
    # Where it is not installed, pyright takes this very file for it.
    core: Any = openvino.Core()  # pyright: ignore[reportAttributeAccessIssue]

    def compiled(*, integers: bool) -> OpenVinoBackend:
        proto = to_proto(openvino_form(model, integers=integers)).SerializeToString()
        return OpenVinoBackend(core.compile_model(core.read_model(proto), "CPU", options), outputs, others)

    others = OrtBackend(lower(model.clone(), integer=False, layers=False), outputs, threads=threads)
    backend, reasons = _first_right(compiled, model, outputs, others)
    if reasons:
        name = "ONNX Runtime" if backend is others else "OpenVINO in float"
        warnings.warn(f"{name} computes the model: {visible('; '.join(reasons))}", FallbackWarning, stacklevel=2)
    return _Completed(backend, defaults) if defaults else backend


class _Completed:
    """A backend that is fed the defaults of inputs that a caller leaves out."""

    def __init__(self, backend: Backend, defaults: Feeds) -> None:
        self._backend, self._defaults = backend, defaults

    def run(self, feeds: Mapping[str, Any]) -> Sequence[Any]:
        """The outputs for these inputs."""
        return self._backend.run({**self._defaults, **feeds})


def _without_defaults(model: ir.Model) -> dict[str, npt.NDArray[Any]]:
    """Takes the defaults, which OpenVINO would make constants of, from the inputs of the model."""
    defaults: dict[str, npt.NDArray[Any]] = {}
    for value in model.graph.inputs:
        tensor = value.const_value
        if tensor is not None and has_default(value):
            defaults[str(value.name)] = tensor.numpy()
            del model.graph.initializers[str(value.name)]
            value.const_value = None
    return defaults


def _first_right(
    compiled: _Compile, model: ir.Model, outputs: Sequence[str], others: Backend
) -> tuple[Backend, list[str]]:
    """The backend of the first form that agrees with the reference, and what was wrong with the forms before it."""
    reason = _unfit(model)
    if reason is not None:
        return others, [reason]
    try:
        judge = _Judge(model, outputs, others)
    except AnybitError as error:
        return others, [f"there is nothing to compare with: {error}"]
    reasons: list[str] = []
    for name, integers in _FORMS.items():
        try:
            candidate = compiled(integers=integers)
            reason = judge.objection(candidate)
        except (AnybitError, RuntimeError, ValueError) as error:
            reasons.append(f"{name}: {' '.join(str(error).split())[:_LONGEST]}")
            continue
        if reason is None:
            return candidate, reasons
        reasons.append(f"{name}: {reason}")
    return others, reasons


def _place(ports: Sequence[Any], name: str) -> int:
    for place, port in enumerate(ports):
        if name in port.get_names():
            return place
    raise UnsupportedError("OpenVINO lost an output", got=repr(name))


def _unfit(model: ir.Model) -> str | None:
    """Why OpenVINO is not even asked: it would compute other numbers without saying so."""
    for value in model.graph.inputs:
        if value.dtype is not ir.DataType.FLOAT:  # indices out of range, and integers beyond 32 bits, go unnoticed
            return f"input '{value.name}' is not float32"
    for node in all_nodes(model.graph):
        if any(v.dtype in (ir.DataType.DOUBLE, ir.DataType.FLOAT16) for v in node.outputs):  # it takes them for float32
            return f"{label(node)} does not compute in float32"
    hub, _ = to_hub(model)
    if not stays_finite(hub):
        return "it has operators that may make NaN of finite numbers, which bytes cannot say"
    return None


class _Judge:
    """What the outputs are for a few inputs, and how far a backend is from that.

    Inputs on which float32 sums in another order already give another result say nothing, and are left out.
    """

    def __init__(self, model: ir.Model, outputs: Sequence[str], floats: Backend) -> None:
        known = {str(v.name): v for v in model.graph.outputs}
        self._names = outputs
        self._steps = [grid_step(known[name]) for name in outputs]
        reference = ReferenceBackend(model, [known[name] for name in outputs])
        cases = [(feeds, reference.run(feeds)) for feeds in _inputs(model)]
        self._cases = [case for case in cases if self._difference(floats, *case) is None]

    def objection(self, backend: Backend) -> str | None:
        """What of the backend's outputs is not the reference's, None if nothing."""
        if not self._cases:
            return "results depend on the order of float sums for every input that was tried"
        differences = (self._difference(backend, *case) for case in self._cases)
        return next((d for d in differences if d is not None), None)

    def _difference(self, backend: Backend, feeds: Feeds, expected: Sequence[Array]) -> str | None:
        for name, step, y, wanted in zip(self._names, self._steps, backend.run(feeds), expected, strict=True):
            if (y.dtype, y.shape) != (wanted.dtype, wanted.shape):
                return f"tensor '{name}' is {y.dtype}{list(y.shape)}, not {wanted.dtype}{list(wanted.shape)}"
            if departs(y, wanted, step):
                return f"tensor '{name}' is not what the reference computes"
        return None


def departs(actual: Array, expected: Array, step: npt.NDArray[np.floating[Any]] | None) -> bool:
    """Whether two tensors differ by more than the order of float sums explains.

    Elements are equal up to float32 summation or, where the tensor lies on a grid of this step, one step apart in at
    most one element of a thousand.
    """
    wanted = expected.astype(np.float64)
    gap = np.abs(actual.astype(np.float64) - wanted)
    far = ~(gap <= _TOLERANCE * np.abs(wanted).max(initial=0.0))  # so that NaN is far
    if step is not None and far.mean() <= _SHARE_OF_TIES:
        far &= ~(gap <= step * (1 + _TOLERANCE))
    return bool(far.any())


def _inputs(model: ir.Model) -> Iterator[Feeds]:
    """A few inputs: random, on ties, as pictures have it, corners of the range, far outside of it."""
    first = model.graph.inputs[0].shape
    size = first[0] if first is not None and first.rank() else None
    count = size if isinstance(size, int) else _SAMPLES
    drawn = [random_inputs(model, count, seed=seed) for seed in range(2)]
    yield from drawn
    limit = {name: float(np.abs(x).max(initial=0.0)) for name, x in drawn[0].items()}
    generator = np.random.default_rng(0)
    shapes = {name: x.shape for name, x in drawn[0].items()}
    makers: list[Callable[[str], npt.NDArray[Any]]] = [
        lambda n: generator.random(shapes[n]),
        lambda n: np.full(shapes[n], limit[n]),
        lambda n: np.full(shapes[n], -limit[n]),
        lambda n: generator.choice((-limit[n], limit[n]), shapes[n]),
        lambda n: generator.choice((-_EXTREME, _EXTREME), shapes[n]),
    ]
    for make in makers:
        yield {name: make(name).astype(np.float32) for name in shapes}
