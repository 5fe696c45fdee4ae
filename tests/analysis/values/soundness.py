"""check_sound: tries to break the analysis of a model by running it on corners of its ranges and random points."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import onnx

import anybit
from anybit.analysis.values.input_range import InputRanges
from anybit.analysis.values.interpreter import Values, analyse
from anybit.analysis.values.tensor_values import TensorValues, limited
from tests.strategies import Array

FREE_DIMENSION = 2


def check_sound(
    model: onnx.ModelProto,
    input_ranges: InputRanges | None = None,
    count: int = 12,
    seed: int = 0,
    *,
    engines: Sequence[str] = ("reference",),
) -> Values:
    """The values of the model, after `count` runs in which no tensor left its bounds or its grid.

    Args:
        model: Inputs of numbers or booleans; free dimensions are taken as 2.
        input_ranges: As `analyse` takes them.
        count: Runs; the first ones are at the corners of the ranges.
        seed: Of the random inputs.
        engines: What runs the model; "onnxruntime" runs it both whole, where it fuses nodes, and tensor by tensor.
    """
    values = analyse(model, input_ranges=input_ranges)
    known = {str(v.name): t for v, t in values.tensors.items()}
    data = anybit.to_proto(model).SerializeToString(deterministic=True)
    sessions = [_session(data, e, "all") for e in engines]
    sessions += [_session(data, e, "") for e in engines if e != "reference"]
    rng = np.random.default_rng(seed)
    for run in range(count):
        feeds = {str(v.name): points(rng, _shape(v), v.dtype.numpy(), known[str(v.name)], run) for v in _inputs(values)}
        for session in sessions:
            for name, array in session.run(feeds).items():
                if name in known and array.dtype.kind in "iubfV":
                    assert_holds(known[name], array, f"{name} ({session.engine.value}, run {run})")
    return values


@lru_cache(maxsize=64)  # all that one test goes through for each range
def _session(data: bytes, engine: str, tensors: str) -> anybit.Session:
    """A session, kept for the next ranges of the same model: making one takes longer than all of its runs."""
    return anybit.Session(data, engine=engine, tensors=tensors or ())


def bounds_of(values: Values, name: str) -> TensorValues:
    """What the tensor of this name can hold."""
    return next(t for v, t in values.tensors.items() if v.name == name)


def assert_holds(values: TensorValues, array: Array, name: str = "tensor") -> None:
    """Every element that is not NaN is within the bounds and on the grid; both broadcast to the tensor."""
    assert np.broadcast_shapes(values.lo.shape, values.hi.shape, array.shape) == array.shape, name
    real = array.astype(np.float64)
    outside = (real < values.lo) | (real > values.hi)
    lo, hi = (np.broadcast_to(b, real.shape) for b in (values.lo, values.hi))
    assert not outside.any(), f"{name}: {real[outside][:3]} not in {lo[outside][:3]} .. {hi[outside][:3]}"
    grid = values.grid
    if grid is None or not array.size:
        return
    assert limited(values, array.shape).grid is not None, f"{name}: grid does not broadcast"
    finite = np.isfinite(real)
    with np.errstate(invalid="ignore", over="ignore"):
        exact = real / grid.scale + grid.zero_point
        nearest = np.rint(exact)
        epsilon = max(float(np.finfo(array.dtype).eps), 2.0**-23) if array.dtype.kind == "f" else 0.0
        error = 16 * epsilon * (np.abs(real) / grid.scale + np.abs(grid.zero_point)) + 1e-9
        if array.dtype.kind == "f":  # where numbers are next to 0
            error = error + float(np.finfo(array.dtype).smallest_subnormal) / grid.scale
        finite &= error < 0.25  # else float arithmetic cannot tell neighbours apart
        off = finite & (np.abs(exact - nearest) > error)
    assert not off.any(), f"{name}: {exact[off][:3]} are no integers"
    beyond = finite & ((nearest < grid.lo) | (nearest > grid.hi))
    assert not beyond.any(), f"{name}: integers {nearest[beyond][:3]} not in {grid.lo.ravel()} .. {grid.hi.ravel()}"


def points(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any, values: TensorValues, run: int) -> Array:
    """An input within its bounds and on its grid: its ends, numbers near 0, uniform and of any magnitude."""
    if values.grid is not None:
        g = values.grid
        lo, hi = (np.broadcast_to(b, shape) for b in (g.lo, g.hi))
        q = (lo, hi, rng.choice([lo, hi]), rng.integers(lo, hi, endpoint=True))[min(run, 3)]
        return np.asarray((q - g.zero_point) * g.scale).astype(dtype)
    lo, hi = (np.broadcast_to(np.clip(b, *_finite(dtype)), shape) for b in (values.lo, values.hi))
    part = rng.random(shape)
    uniform = lo * (1 - part) + hi * part
    with np.errstate(over="ignore"):
        spread = np.exp2(rng.uniform(-30, 14 if dtype == np.float16 else 90, shape)) * rng.choice([-1.0, 1.0], shape)
    small = rng.normal(size=shape) * rng.choice([0, 1e-3, 1, 8], shape)
    corners = np.where(rng.random(shape) < 0.5, lo, hi)
    mixed = np.choose(rng.integers(0, 4, shape), [uniform, spread, small, corners])
    chosen = (lo, hi, corners, small, spread, mixed)[min(run, 5)]
    with np.errstate(over="ignore"):
        result = np.asarray(np.clip(chosen, lo, hi)).astype(dtype)
    if dtype.kind in "iub":
        return result
    with np.errstate(over="ignore"):  # beside the largest number, which is not chosen
        below, above = (np.nextafter(result, dtype.type(side)) for side in (-np.inf, np.inf))
    result = np.where(result > hi, below, result)
    return np.asarray(np.where(result < lo, above, result), dtype)


def _finite(dtype: np.dtype[Any]) -> tuple[float, float]:
    info = np.iinfo(dtype) if dtype.kind in "iu" else None if dtype.kind == "b" else np.finfo(dtype)
    return (0.0, 1.0) if info is None else (float(info.min), float(info.max))


def _inputs(values: Values) -> list[Any]:
    return [v for v in values.model.graph.inputs if not v.is_initializer()]


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(d if isinstance(d, int) else FREE_DIMENSION for d in value.shape)
