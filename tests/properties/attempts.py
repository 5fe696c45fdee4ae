"""What the properties of value analysis share: inputs that try to break it, and what must hold of each tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.accumulator import Accumulator, Bound, Interval
from anybit.analysis.values.interpreter import Values
from anybit.analysis.values.tensor_values import TensorValues
from tests.analysis.values.soundness import assert_holds
from tests.properties.mac import products_of
from tests.strategies import Array

_ROUNDINGS = 64
_OPERANDS = {"QLinearConv": (0, 3), "QLinearMatMul": (0, 3)}
_ZERO_POINTS = {"QLinearConv": (2, 5), "QLinearMatMul": (2, 5), "ConvInteger": (2, 3), "MatMulInteger": (2, 3)}


def inputs_within(rng: np.random.Generator, shape: Sequence[int], lo: float, hi: float, dtype: Any) -> Array:
    """Each sample at a corner of the range, at random vertices, near 0, on a grid full of ties, or anywhere."""
    samples = [_sample(rng, int(rng.integers(0, 6)), tuple(shape[1:]), lo, hi) for _ in range(shape[0])]
    x = np.stack(samples).astype(dtype)
    lo, hi = np.float64(lo), np.float64(hi)  # the ends themselves may be no numbers of the type
    x = np.where(x > hi, np.nextafter(x, dtype(-np.inf)), x)
    return np.where(x < lo, np.nextafter(x, dtype(np.inf)), x)


def _sample(rng: np.random.Generator, kind: int, shape: tuple[int, ...], lo: float, hi: float) -> Array:
    match kind:
        case 0:
            return np.full(shape, lo)
        case 1:
            return np.full(shape, hi)
        case 2:
            return rng.choice([lo, hi], shape)
        case 3:
            return np.clip(rng.choice([0.0, 1e-7, -1e-7], shape), lo, hi)
        case 4:
            return np.clip(np.round(rng.uniform(lo, hi, shape) * 8) / 8, lo, hi)
        case _:
            return rng.uniform(lo, hi, shape)


def assert_sound(values: Values, tensors: Mapping[str, Array]) -> None:
    """No element leaves its bounds, each integer is one and within its own, and so is what each node adds up.

    Integers are those of exact arithmetic. What float arithmetic made of them may be off by as many roundings of the
    largest number around as a small graph can have; where that could hide an error of one integer, they are not
    looked at.
    """
    noise = _noise(*tensors.values())
    assert_bounded(values, tensors, noise)
    known = {str(v.name): t for v, t in values.tensors.items()}
    rng = np.random.default_rng(0)
    for node, accumulator in values.accumulators.items():
        assert_nested(accumulator)
        sums = products(node, known, tensors, noise)
        if sums is not None:
            _assert_adds_up(accumulator, *sums, rng)


def assert_bounded(values: Values, tensors: Mapping[str, Array], noise: float | None = None) -> None:
    """No element leaves its bounds or its grid; without `noise`, float errors are those of the tensor's own numbers."""
    known = {str(v.name): t for v, t in values.tensors.items()}
    for name, array in tensors.items():
        if name in known and array.dtype.kind in "iubf":
            assert_holds(replace(known[name], grid=None), array, name)
            _assert_on_grid(known[name], array, _noise(array) if noise is None else noise, name)


def _noise(*arrays: Array) -> float:
    real = [a for a in arrays if a.dtype.kind == "f"]
    epsilon = max((float(np.finfo(a.dtype).eps) for a in real), default=0.0)
    return _ROUNDINGS * epsilon * max((float(np.abs(a[np.isfinite(a)]).max(initial=0)) for a in real), default=0.0)


def _assert_on_grid(values: TensorValues, array: Array, noise: float, name: str) -> None:
    grid = values.grid
    if grid is None:
        return
    real = array.astype(np.float64)
    error = np.broadcast_to(noise / grid.scale + 1e-6, real.shape)
    readable = np.isfinite(real) & (error < 0.25)
    with np.errstate(invalid="ignore"):
        exact = real / grid.scale + grid.zero_point
        integers = np.rint(exact)
        off = readable & (np.abs(exact - integers) > error)
        beyond = readable & ((integers < grid.lo) | (integers > grid.hi))
    assert not off.any(), f"{name}: {exact[off][:3]} are no integers, scale {grid.scale}"
    assert not beyond.any(), f"{name}: integers {integers[beyond][:3]} not in {grid.lo.ravel()} .. {grid.hi.ravel()}"


def assert_nested(accumulator: Accumulator) -> None:
    """Knowing more never gives a wider interval."""
    order = (Bound.DATA_TYPE, Bound.WEIGHTS, Bound.VALUES)
    known = [accumulator.intervals[b] for b in order if b in accumulator.intervals]
    for wide, tight in pairwise(known):
        assert wide.lo <= tight.lo <= tight.hi <= wide.hi, accumulator
        assert wide.partial_lo <= tight.partial_lo <= 0 <= tight.partial_hi <= wide.partial_hi, accumulator
    assert int(accumulator.lo.min()) >= accumulator.proven.lo
    assert int(accumulator.hi.max()) <= accumulator.proven.hi


def _assert_adds_up(accumulator: Accumulator, terms: Array, shape: tuple[int, ...], rng: np.random.Generator) -> None:
    sums = terms.sum(axis=1).reshape(shape)
    assert (sums >= accumulator.lo).all(), accumulator
    assert (sums <= accumulator.hi).all(), accumulator
    assert np.count_nonzero(terms, axis=1).max(initial=0) <= accumulator.terms, accumulator
    partial = np.cumsum(rng.permuted(terms, axis=1), axis=1)
    for interval in accumulator.intervals.values():
        assert_within(interval, sums, partial, accumulator)


def assert_within(interval: Interval, sums: Array, partial: Array, what: object) -> None:
    assert interval.lo <= sums.min() <= sums.max() <= interval.hi, what
    assert interval.partial_lo <= partial.min(initial=0) <= partial.max(initial=0) <= interval.partial_hi, what


def products(
    node: ir.Node, known: Mapping[str, TensorValues], tensors: Mapping[str, Array], noise: float = 1e-9
) -> tuple[Array, tuple[int, ...]] | None:
    """The exact products of integers that the node adds up, and the output's shape; None where float arithmetic
    cannot tell the integers."""
    integers: list[Array] = []
    for position, index in enumerate(_OPERANDS.get(node.op_type, (0, 1))):
        name = str(node.inputs[index].name)
        if name not in tensors:
            return None
        if node.op_type in _ZERO_POINTS:
            offset = _zero_point(node, _ZERO_POINTS[node.op_type][position], tensors, position, tensors[name].ndim)
            integers.append(tensors[name].astype(np.int64) - offset)
            continue
        grid = known[name].grid
        if grid is None or not _is_common(grid.scale, node, position, tensors[name].ndim):
            return None
        if (noise / grid.scale > 0.25).any():
            return None
        exact = np.rint(tensors[name].astype(np.float64) / grid.scale + grid.zero_point) - grid.zero_point
        integers.append(exact.astype(np.int64))
    attributes = {a.name: a.value for a in node.attributes.values()}
    found = products_of(node.op_type, attributes, *(a.shape for a in integers))
    return found.of(*integers), found.shape


def _is_common(scale: Array, node: ir.Node, position: int, rank: int) -> bool:
    """Whether all integers that are added up have one scale; else those of the node are on a finer one."""
    transposed = node.attributes.get_int("transB", 0)
    outputs = {
        "Conv": (None, 0),
        "ConvTranspose": (None, 1),
        "MatMul": (-2, -1),
        "Gemm": (None, -2 if transposed else -1),
    }
    axis = outputs.get(node.op_type, (None, None))[position]
    kept = None if axis is None or rank == 1 else axis % rank
    return all(size == 1 or a == kept for a, size in enumerate(scale.shape, rank - scale.ndim))


def _zero_point(node: ir.Node, index: int, tensors: Mapping[str, Array], position: int, rank: int) -> Array:
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        return np.zeros((), np.int64)
    array = tensors[str(value.name)].astype(np.int64)
    return (
        array.reshape(-1, *(1,) * (rank - 1)) if array.size > 1 and position == 1 and "Conv" in node.op_type else array
    )
