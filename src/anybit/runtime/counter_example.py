"""find_counter_example: an input on which two models differ, looked for by the reference engine."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.arrays import as_float64
from anybit.engines.engine import Engine
from anybit.engines.sampling import finite, near_zero, random_inputs, within_stated_format
from anybit.errors import InputError, UnsupportedError
from anybit.exact.certificate import CounterExample
from anybit.graph.constants import fed_inputs, has_default
from anybit.ops.calls import call_of, is_call, operator_of
from anybit.ops.quant import QUANT
from anybit.runtime.compare import FLOAT_TOLERANCE
from anybit.runtime.session import Session

_MOST_COMBINATIONS = 1 << 14  # of the grid of the input's quantiser
_FACTORS = (0.1, 1e-3, 10.0, 100.0)
_CONSTANTS = (0.0, -0.0, 0.5, 1.0, -1.0, 255.0, -128.0, 1e9, -1e9)
_LARGEST = 2.0**1000
_FREE_SIZES = (4, 1, 8)  # of free dimensions besides the batch: the first that the model takes

_Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Search:
    """What came of running two models side by side.

    Attributes:
        samples: Number of samples that both were run on.
        found: An input on which they differ by more than float summation in another order explains; None if none was
            met.
    """

    samples: int
    found: CounterExample | None = None


def find_counter_example(
    first: ir.Model, second: ir.Model, *, samples: int, seed: int = 0, most: int | None = None
) -> Search:
    """Runs both models on the same inputs, until they differ or all are tried.

    These are all combinations of the levels of the input's quantiser, where they are few, then random samples at
    several magnitudes, constants, and samples half-way between levels; all of them within the number formats that
    the first model states for its inputs.

    Args:
        first: Model whose inputs are drawn for.
        second: Model with as many inputs and outputs, matched by position.
        samples: How many samples of each kind to draw.
        seed: Seed of the drawing.
        most: After how many samples to stop; None tries all of them.

    Raises:
        InputError: Inputs cannot be drawn, or a model does not take them.
        UnsupportedError: The reference engine does not run one of the models.
    """
    if len(first.graph.outputs) != len(second.graph.outputs) or len(first.graph.inputs) != len(second.graph.inputs):
        raise InputError("the models have different numbers of inputs or outputs")
    sessions = (Session(first, engine=Engine.REFERENCE), Session(second, engine=Engine.REFERENCE))
    pieces = [s.piece(1) for s in sessions]
    whole = max(p or 1 for p in pieces)
    free = _free_size(first, sessions[0], whole, seed)
    tried = 0
    for feeds in _feeds(first, max(samples, whole), seed, free):
        count = max((a.shape[0] for a in feeds.values() if a.ndim), default=1)
        together = None in pieces or len(feeds) != 1 or count < whole
        size = count if together else whole * max(min(16, most or 16) // whole, 1)
        for start in range(0, count if together else count - whole + 1, size):
            part = feeds if together else {n: a[start : start + size] for n, a in feeds.items()}
            found = _differ(*sessions, part)
            tried += min(size, count - start)
            if found is not None:
                return Search(tried, found if together else _smallest(*sessions, found, whole))
            if most is not None and tried >= most:
                return Search(tried)
    return Search(tried)


def _free_size(model: ir.Model, session: Session, samples: int, seed: int) -> int | None:
    """The size of free dimensions that the model takes; None where it has none besides the batch."""
    shapes = [v.shape for v in fed_inputs(model.graph) if v.shape is not None]
    if all(isinstance(d, int) for s in shapes for d in list(s)[1:]):
        return None
    for size in _FREE_SIZES:
        try:
            session.run(random_inputs(model, samples, seed=seed, free=size))
        except (InputError, UnsupportedError):
            continue
        return size
    return _FREE_SIZES[0]


def _smallest(first: Session, second: Session, found: CounterExample, whole: int) -> CounterExample:
    """The same with as few samples as the models take."""
    (array,) = found.inputs.values()
    for start in range(0, len(array) - whole + 1, whole):
        one = _differ(first, second, {n: a[start : start + whole] for n, a in found.inputs.items()})
        if one is not None:
            return one
    return found


def _differ(first: Session, second: Session, feeds: _Arrays) -> CounterExample | None:
    results = first.run(feeds)
    names = zip(second.inputs, first.inputs, strict=True)
    others = second.run({y.name: feeds[x.name] for y, x in names if x.name in feeds})
    for name, other in zip(first.outputs, second.outputs, strict=True):
        for x, y in _pairs(results[name], others[other]):
            largest = _departure(x, y) if (x.shape, x.dtype) == (y.shape, y.dtype) else float("inf")
            if largest > 0:
                return CounterExample(feeds, name, x, y, largest)
    return None


def _pairs(x: Any, y: Any) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Two tensors; of two sequences the tensors of each place, or their lengths where these differ."""
    if not isinstance(x, list) and not isinstance(y, list):
        yield np.asarray(x), np.asarray(y)
    elif isinstance(x, list) and isinstance(y, list) and len(cast("list[Any]", x)) == len(cast("list[Any]", y)):
        for one, other in zip(cast("list[Any]", x), cast("list[Any]", y), strict=True):
            yield from _pairs(one, other)
    else:
        lengths = [len(cast("list[Any]", v)) if isinstance(v, list) else -1 for v in (x, y)]
        yield np.asarray(lengths[0]), np.asarray(lengths[1])


def _departure(x: npt.NDArray[Any], y: npt.NDArray[Any]) -> float:
    """The largest difference, if it is more than float summation in another order explains, else 0.

    Where the first array is not a number, nothing is asked of the second.
    """
    if x.dtype.kind in "OUS":
        return 0.0 if np.array_equal(x, y) else float("inf")
    left, right = as_float64(x), as_float64(y)
    comparable = ~np.isnan(left) & (left != right)
    gap = np.nan_to_num(np.abs(left[comparable] - right[comparable]), nan=np.inf, posinf=np.inf)
    finite = np.abs(left[np.isfinite(left)])
    largest = float(gap.max(initial=0.0))
    return largest if largest > FLOAT_TOLERANCE * float(finite.max(initial=0.0)) else 0.0


def _feeds(model: ir.Model, samples: int, seed: int, free: int | None) -> Iterator[_Arrays]:
    """Inputs worth trying: all levels, random ones by size, zeros of both signs, constants, and other defaults."""
    inputs = {str(v.name): v for v in model.graph.inputs}
    drawn = random_inputs(model, samples, seed=seed, free=free)
    every = _every_level(model)
    if every is not None:
        yield every
    floats = {n for n, a in drawn.items() if a.dtype.kind == "f"}

    def stated(arrays: _Arrays) -> _Arrays:
        return {n: within_stated_format(a, inputs[n]) for n, a in arrays.items()}

    def scaled(factor: float) -> _Arrays:
        return stated({n: finite(_wide(a) * factor, a.dtype) if n in floats else a for n, a in drawn.items()})

    yield scaled(1.0)
    if floats:
        yield stated(near_zero(drawn, seed=seed))
    others = random_inputs(model, samples, seed=seed + 1, free=free)
    for name in sorted(floats):
        halves = finite(np.rint(_wide(others[name]) * 4) / 2, others[name].dtype)
        yield stated(drawn | {name: halves})
    if len(floats) < len(drawn):
        yield others
    yield from (drawn | other for other in _other_defaults(model, seed))
    if not floats:
        return
    for level in _CONSTANTS:
        constant = stated({n: _filled(a, level) if n in floats else a for n, a in drawn.items()})
        yield {n: a[:1] if len(drawn) == 1 and a.ndim and _is_free(model) else a for n, a in constant.items()}
    for factor in _FACTORS:
        yield scaled(factor)


def _wide(array: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """An array in float64, so far from its end that a hundredfold is a number as well."""
    return np.clip(array.astype(np.float64), -_LARGEST, _LARGEST)


def _filled(array: npt.NDArray[Any], level: float) -> npt.NDArray[Any]:
    """An array of one number, or of the largest of its type that is nearer to 0."""
    limits = ml_dtypes.finfo(array.dtype)
    return np.full_like(array, np.clip(level, float(limits.min), float(limits.max)))


def _other_defaults(model: ir.Model, seed: int) -> Iterator[_Arrays]:
    """For each input with a default of real numbers, others near it."""
    generator = np.random.default_rng(seed)
    for value in model.graph.inputs:
        if value.const_value is not None and has_default(value) and value.const_value.dtype.is_floating_point():
            default = value.const_value.numpy()
            near = as_float64(default) + generator.normal(size=default.shape)
            limits = ml_dtypes.finfo(default.dtype)
            yield {str(value.name): np.clip(near, float(limits.min), float(limits.max)).astype(default.dtype)}


def _is_free(model: ir.Model) -> bool:
    shapes = [v.shape for v in fed_inputs(model.graph)]
    return all(s is not None and s.rank() and s[0] in (1, None) for s in shapes)


def _every_level(model: ir.Model) -> _Arrays | None:
    """All combinations of the levels of the one input's quantiser, with ties and beyond as far as they are not many."""
    inputs = fed_inputs(model.graph)
    if len(inputs) != 1 or inputs[0].shape is None or inputs[0].dtype != ir.DataType.FLOAT:
        return None
    (value,) = inputs
    rest = [d for d in list(value.shape or ())[1:] if isinstance(d, int)]
    size = int(np.prod(rest, dtype=np.int64))
    if len(rest) != len(list(value.shape or ())) - 1:
        return None
    levels = _levels(value, model)
    if levels is None or not len(levels):
        return None
    step = levels[1] - levels[0] if len(levels) > 1 else 0.0
    halves = np.append(levels - step / 2, levels[-1] + step * np.array([0.5, 1.0]))
    more = np.sort(np.concatenate([levels, halves, levels[:1] - step]))
    levels = next((n for n in (more, levels) if len(n) ** size <= _MOST_COMBINATIONS), None)
    if levels is None:
        return None
    levels = finite(levels, np.dtype(np.float32))
    combinations = np.array(list(itertools.product(levels, repeat=size)), np.float32).reshape(-1, *rest)
    first = next(iter(value.shape or (1,)))
    repeat = first if isinstance(first, int) else 1
    return {str(value.name): np.concatenate([combinations, combinations[: -len(combinations) % repeat]])}


def _levels(value: ir.Value, model: ir.Model) -> npt.NDArray[np.float64] | None:
    for node, position in value.uses():
        operator = operator_of(node, model.opset_imports)
        if operator is None or not is_call(node, QUANT) or position != 0:
            continue
        parameters = [call_of(node, operator).constants.get(n) for n in ("scale", "zeropt", "bitwidth")]
        if any(p is None or p.size != 1 for p in parameters):
            continue
        scale, zero_point, bits = (float(p.reshape(())) for p in parameters if p is not None)
        if bits > math.log2(_MOST_COMBINATIONS):
            return None
        signed = bool(call_of(node, operator).attributes["signed"])
        low = -(2 ** (bits - 1)) if signed else 0.0
        return (np.arange(low, low + 2**bits) - zero_point) * scale
    return None
