"""compiled: a plan as the kernels take it, numbers and arrays; they look through all of it themselves."""

from __future__ import annotations

import os
import warnings
from functools import cache, singledispatch
from typing import Any

import numpy as np

from anybit.arrays import Array
from anybit.engines.engine import FallbackWarning
from anybit.errors import UnsupportedError, UsageError
from anybit.plan.plan import (
    Arithmetic,
    Compare,
    Dequantize,
    Element,
    Epilogue,
    FloatStep,
    Join,
    LookUp,
    Move,
    PairTable,
    Plan,
    Pool,
    PoolKind,
    Product,
    Quantize,
    Requantize,
    Softmax,
    Table,
    Window,
)

VERSION = "0.3.0"
"""Of the kernels that this engine is written for."""
ISA = "ANYBIT_ISA"
"""Environment variable that picks a path of the kernels; `none` does without them."""
NO_PATH = "none"
PLAIN_PATH = "scalar"
"""The path that every processor has, in plain C++: slower than ONNX Runtime."""

_Parts = tuple[list[int], list[Array]]
_ELEMENTS = {Element.BYTE: 0, Element.SUM: 1, Element.REAL: 2}
_OPERATIONS = {operation: number for number, operation in enumerate(Arithmetic)}
_KINDS = {
    kind: number
    for number, kind in enumerate(
        (Quantize, Compare, Product, Requantize, Table, PairTable, Pool, Move, Join, Dequantize, LookUp, Softmax)
    )
}


def kernels() -> Any:
    """The package of kernels.

    Raises:
        UnsupportedError: It is not installed, or of another version.
    """
    try:
        import anybit_kernels  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UnsupportedError(
            "the native engine needs the package anybit-kernels", got=str(error), hint="pip install anybit-kernels"
        ) from error
    if anybit_kernels.version != VERSION:
        raise UnsupportedError(
            "another version of anybit-kernels", got=anybit_kernels.version, expected=VERSION, hint="install that one"
        )
    return anybit_kernels


def path() -> str:
    """The path of the kernels that runs: the one that `ANYBIT_ISA` asks for, else the best of the processor.

    Raises:
        UnsupportedError: There are no kernels, or none are wanted.
        UsageError: The processor has no such path, or its results are wrong.

    Warns:
        FallbackWarning: A path of the processor is not used, for on a few layers it gave other results than plain C++.
    """
    wanted = os.environ.get(ISA, "")
    if wanted == NO_PATH:
        raise UnsupportedError("the native engine is switched off", got=f"{ISA}={NO_PATH}")
    package = kernels()
    departing = tuple(package.departing())
    if wanted in departing:
        raise UsageError(f"{ISA}: on this processor the path gives wrong results", got=wanted)
    if departing:
        _warn_of(departing)
    if wanted and wanted not in package.isas():
        raise UsageError(f"{ISA}: the processor has no such path", got=wanted, expected=", ".join(package.isas()))
    return wanted or str(package.isa())


@cache
def _warn_of(departing: tuple[str, ...]) -> None:
    """Says once which paths are not used."""
    names = ", ".join(departing)
    warnings.warn(f"native kernels: on this processor {names} gives wrong results, and is not used", FallbackWarning, 3)


def compiled(plan: Plan, *, threads: int = 1) -> Any:
    """The plan as the kernels run it; see `kernels` and `path` for the errors."""
    tensors = [(t.elements, _ELEMENTS[t.element], t.zero, t.lo, t.hi, t.offset) for t in plan.tensors]
    steps = [(_KINDS[type(s)], *map(tuple, _parts(s, plan))) for s in plan.steps]
    inputs, outputs = ([(p.name, p.tensor, p.shape) for p in ports] for ports in (plan.inputs, plan.outputs))
    return kernels().Net(tensors, steps, inputs, outputs, plan.arena, np.empty, np.dtype(np.float32), path(), threads)


@singledispatch
def _parts(step: Any, plan: Plan) -> _Parts:
    """The numbers and the arrays of a step, in the order in which the kernels read them."""
    raise TypeError(f"no step of a plan: {type(step).__name__}, of {len(plan.steps)}")


@_parts.register
def _quantize(step: Quantize, _: Plan) -> _Parts:
    operations, numbers = _arithmetic(step.steps)
    ints = [step.y, step.x, step.channels, int(step.channels_first), step.lo, step.hi, *operations]
    return ints, [_f32(step.scale), _f32(step.zero_point), *numbers]


@_parts.register
def _compare(step: Compare, _: Plan) -> _Parts:
    ints = [step.y, step.x, step.channels, int(step.channels_first), step.thresholds.shape[1]]
    return ints, [_i32(step.base), _i32(step.step), _f32(step.thresholds)]


@_parts.register
def _product(step: Product, _: Plan) -> _Parts:
    kind, arrays = _epilogue(step.epilogue)
    size = step.weights.shape
    ints = [step.y, step.x, step.channels, step.group, size[3], size[0], *_window(step.window), *kind]
    return ints, [np.ascontiguousarray(step.weights, np.int8), _i32(step.offset), *arrays]


@_parts.register
def _requantize(step: Requantize, _: Plan) -> _Parts:
    kind, arrays = _epilogue(step.epilogue)
    selector = -1 if step.selector is None else step.selector
    return [step.y, step.x, step.channels, selector, *kind], arrays


@_parts.register
def _table(step: Table, _: Plan) -> _Parts:
    return [step.y, step.x, step.channels], [np.ascontiguousarray(step.table, np.uint8)]


@_parts.register
def _pair_table(step: PairTable, _: Plan) -> _Parts:
    rows, columns = step.table.shape[1:]
    return [step.y, step.a, step.b, step.channels, rows, columns], [np.ascontiguousarray(step.table, np.uint8)]


@_parts.register
def _pool(step: Pool, _: Plan) -> _Parts:
    return [step.y, step.x, step.channels, int(step.kind is PoolKind.MAX), *_window(step.window)], []


@_parts.register
def _move(step: Move, _: Plan) -> _Parts:
    return [step.y, step.x, 1], [_i32(step.index)]


@_parts.register
def _join(step: Join, _: Plan) -> _Parts:
    return [step.y, len(step.xs), *step.xs, *step.lengths, *step.shifts], []


@_parts.register
def _dequantize(step: Dequantize, _: Plan) -> _Parts:
    operations, numbers = _arithmetic(step.steps)
    wide = [np.ascontiguousarray(a, np.float64) for a in (step.scale, step.bias, [step.divisor])]
    return [step.y, step.x, step.channels, int(step.channels_first), *operations], [*wide, *numbers]


@_parts.register
def _look_up(step: LookUp, _: Plan) -> _Parts:
    ints = [step.y, step.x, step.channels, int(step.channels_first), step.lo, step.table.shape[1]]
    return ints, [_f32(step.table)]


@_parts.register
def _softmax(step: Softmax, _: Plan) -> _Parts:
    return [step.y, step.x, step.length], []


def _arithmetic(steps: tuple[FloatStep, ...]) -> _Parts:
    return [len(steps), *(_OPERATIONS[s.operation] for s in steps)], [_f32(s.numbers) for s in steps]


def _window(window: Window) -> list[int]:
    pairs = (window.size, window.kernel, window.strides, window.dilations, window.pads, window.output)
    return [int(n) for pair in pairs for n in pair]


def _epilogue(epilogue: Epilogue | None) -> _Parts:
    if epilogue is None:
        return [0], []
    found, by = epilogue.thresholds, epilogue.multiplier
    if found is not None:
        selected, _, count = found.values.shape
        return [1, selected, count], [_i32(found.base), _i32(found.step), _i32(found.values)]
    if by is not None:
        return [2, by.zero, by.lo, by.hi], [_i32(by.factor), _i32(by.bias), _f32(by.multiplier)]
    raise ValueError("an epilogue of no kind")


def _i32(array: Any) -> Array:
    return np.ascontiguousarray(array, np.int32)


def _f32(array: Any) -> Array:
    return np.ascontiguousarray(array, np.float32)
