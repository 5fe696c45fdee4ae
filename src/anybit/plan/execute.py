"""execute: a plan run by numpy, step by step. It is what a plan means; kernels are compared with it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import singledispatch
from typing import Any

import numpy as np

from anybit.arrays import Array
from anybit.errors import InputError
from anybit.plan.plan import (
    Arithmetic,
    Compare,
    Dequantize,
    Element,
    Epilogue,
    Float32s,
    FloatStep,
    Join,
    LookUp,
    Move,
    PairTable,
    Plan,
    Pool,
    PoolKind,
    Port,
    Product,
    Quantize,
    Requantize,
    Softmax,
    Table,
    Window,
)

_Held = dict[int, Array]


def execute(plan: Plan, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The outputs of a plan.

    Args:
        plan: The plan.
        inputs: By name, float32 (n, shape...), shape being that of its port.

    Raises:
        InputError: An input is missing, of another type or shape, or holds NaN where levels are asked for.
    """
    held = execute_tensors(plan, inputs)
    return {p.name: held[p.tensor].reshape(-1, *p.shape) for p in plan.outputs}


def execute_tensors(plan: Plan, inputs: Mapping[str, Array]) -> dict[int, Array]:
    """All tensors of a plan by index, (n, elements), as the plan lays them.

    Args:
        plan: The plan.
        inputs: As `execute` takes them.

    Raises:
        InputError: As `execute` does.
    """
    held: _Held = {p.tensor: _samples(p, inputs) for p in plan.inputs}
    counts = {len(a) for a in held.values()}
    if len(counts) > 1:
        raise InputError("inputs of several numbers of samples", got=str(sorted(counts)))
    for step in plan.steps:
        held[step.y] = _run(step, plan, held)
    return held


def _samples(port: Port, inputs: Mapping[str, Array]) -> Array:
    array = inputs.get(port.name)
    if array is None:
        raise InputError("missing input", node=f"input '{port.name}'")
    if array.dtype != np.float32 or array.shape[1:] != port.shape:
        got = f"{array.dtype}{list(array.shape)}"
        raise InputError("type or shape", node=f"input '{port.name}'", got=got, expected=f"float32[n, {port.shape}]")
    return array.reshape(len(array), -1)


@singledispatch
def _run(step: Any, _: Plan, held: _Held) -> Array:
    """The tensor that a step makes, (n, elements), of those that are held."""
    raise TypeError(f"no step of a plan: {type(step).__name__}, behind {len(held)} tensors")


@_run.register
def _quantize(step: Quantize, plan: Plan, held: _Held) -> Array:
    x = _in_channels(held[step.x], step.channels, first=step.channels_first)
    with np.errstate(all="ignore"):
        v = _after(x, step.steps) / step.scale + step.zero_point
    _refuse_nan(v, plan, step.x)
    stored = np.rint(np.clip(v, np.float32(step.lo), np.float32(step.hi))) - step.lo
    return stored.astype(np.uint8).reshape(len(v), -1)


@_run.register
def _compare(step: Compare, plan: Plan, held: _Held) -> Array:
    x = _in_channels(held[step.x], step.channels, first=step.channels_first)
    _refuse_nan(x, plan, step.x)
    reached = np.zeros(x.shape, np.int32)
    for column in step.thresholds.T:
        reached += x >= column
    return (step.base + step.step * reached).astype(np.uint8).reshape(len(x), -1)


@_run.register
def _product(step: Product, plan: Plan, held: _Held) -> Array:
    window, zero = step.window, plan.tensors[step.x].zero
    x = _padded(held[step.x], step.channels, window, zero).astype(np.int64)
    outputs, size = len(step.weights) // step.group, step.weights.shape[3]
    sums = np.zeros((len(x), *window.output, step.group, outputs), np.int64)
    weights = step.weights.astype(np.int64).reshape(step.group, outputs, *window.kernel, size)
    for row in range(window.kernel[0]):
        for column in range(window.kernel[1]):
            seen = _seen(x, window, row, column).reshape(len(x), *window.output, step.group, size)
            # numpy adds up integers without a library: of float64, which is exact here, it asks one
            tap = np.matmul(
                seen.astype(np.float64).transpose(3, 0, 1, 2, 4).reshape(step.group, -1, size),
                weights[:, :, row, column].astype(np.float64).transpose(0, 2, 1),
            )
            sums += np.rint(tap).astype(np.int64).reshape(step.group, *seen.shape[:3], outputs).transpose(1, 2, 3, 0, 4)
    total = sums.reshape(len(x), -1, len(step.weights)) + step.offset
    if step.epilogue is None:
        return total.astype(np.int32).reshape(len(x), -1)
    return _after_sums(total, step.epilogue, None)


@_run.register
def _requantize(step: Requantize, _: Plan, held: _Held) -> Array:
    sums = held[step.x].astype(np.int64).reshape(len(held[step.x]), -1, step.channels)
    selected = None if step.selector is None else held[step.selector].reshape(sums.shape)
    return _after_sums(sums, step.epilogue, selected)


def _after_sums(sums: Array, epilogue: Epilogue, selected: Array | None) -> Array:
    """Bytes of (n, positions, channels) sums."""
    found, by = epilogue.thresholds, epilogue.multiplier
    if found is not None:
        row = np.zeros((), np.intp) if selected is None else selected.astype(np.intp)
        channel = np.arange(sums.shape[-1])
        reached = np.zeros(sums.shape, np.int64)
        for place in range(found.values.shape[2]):
            reached += sums >= found.values[row, channel, place]
        stored = found.base[row, channel] + found.step[row, channel] * reached
    elif by is not None:
        total = (by.factor.astype(np.int64) * sums + by.bias).astype(np.float32)
        stored = np.clip(np.rint(total * by.multiplier) + by.zero, by.lo, by.hi)
    else:
        raise ValueError("an epilogue of no kind")
    return stored.astype(np.uint8).reshape(len(sums), -1)


@_run.register
def _table(step: Table, _: Plan, held: _Held) -> Array:
    x = held[step.x].reshape(len(held[step.x]), -1, step.channels)
    return step.table[_channel(step.table, step.channels), x].reshape(len(x), -1)


@_run.register
def _pair_table(step: PairTable, _: Plan, held: _Held) -> Array:
    a, b = (held[i].reshape(len(held[i]), -1, step.channels) for i in (step.a, step.b))
    return step.table[_channel(step.table, step.channels), a, b].reshape(len(a), -1)


def _channel(table: Array, channels: int) -> Any:
    return np.arange(channels) if len(table) > 1 else 0


@_run.register
def _pool(step: Pool, plan: Plan, held: _Held) -> Array:
    tensor, window = plan.tensors[step.x], step.window
    least = 0 if tensor.element is Element.BYTE else np.iinfo(np.int32).min
    x = _padded(held[step.x], step.channels, window, least if step.kind is PoolKind.MAX else tensor.zero)
    taps = [_seen(x, window, r, c) for r in range(window.kernel[0]) for c in range(window.kernel[1])]
    if step.kind is PoolKind.MAX:
        return np.maximum.reduce(taps).reshape(len(x), -1)
    return np.sum([t.astype(np.int32) - tensor.zero for t in taps], axis=0, dtype=np.int32).reshape(len(x), -1)


@_run.register
def _move(step: Move, plan: Plan, held: _Held) -> Array:
    x = held[step.x]
    return np.where(step.index >= 0, x[:, step.index], x.dtype.type(plan.tensors[step.x].zero))


@_run.register
def _join(step: Join, _: Plan, held: _Held) -> Array:
    parts = [
        (held[x].astype(np.int32) + shift).astype(np.uint8).reshape(len(held[x]), -1, length)
        for x, length, shift in zip(step.xs, step.lengths, step.shifts, strict=True)
    ]
    return np.concatenate(parts, axis=2).reshape(len(parts[0]), -1)


@_run.register
def _dequantize(step: Dequantize, plan: Plan, held: _Held) -> Array:
    x = held[step.x].astype(np.float64).reshape(len(held[step.x]), -1, step.channels) - plan.tensors[step.x].zero
    with np.errstate(all="ignore"):
        y = _after((x * step.scale / step.divisor + step.bias).astype(np.float32), step.steps)
    return _out_of_channels(y, first=step.channels_first)


@_run.register
def _look_up(step: LookUp, _: Plan, held: _Held) -> Array:
    x = held[step.x].astype(np.int64).reshape(len(held[step.x]), -1, step.channels) - step.lo
    return _out_of_channels(step.table[_channel(step.table, step.channels), x], first=step.channels_first)


@_run.register
def _softmax(step: Softmax, _: Plan, held: _Held) -> Array:
    x = held[step.x].astype(np.float64).reshape(len(held[step.x]), -1, step.length)
    with np.errstate(all="ignore"):
        e = np.exp(x - x.max(axis=2, keepdims=True))
        total = np.add.accumulate(e, axis=2)[:, :, -1:]  # one after the other, as kernels add
        return (e / total).astype(np.float32).reshape(len(x), -1)


def _in_channels(x: Array, channels: int, *, first: bool) -> Array:
    """(n, positions, channels)."""
    return x.reshape(len(x), channels, -1).transpose(0, 2, 1) if first else x.reshape(len(x), -1, channels)


def _out_of_channels(y: Array, *, first: bool) -> Array:
    return (y.transpose(0, 2, 1) if first else y).reshape(len(y), -1)


def _refuse_nan(v: Array, plan: Plan, tensor: int) -> None:
    if np.isnan(v).any():
        raise InputError("NaN has no level", node=f"tensor '{plan.tensors[tensor].name}'")


def _after(x: Array, steps: tuple[FloatStep, ...]) -> Float32s:
    for step in steps:
        match step.operation:
            case Arithmetic.ADD:
                x = x + step.numbers
            case Arithmetic.SUBTRACT:
                x = x - step.numbers
            case Arithmetic.SUBTRACT_FROM:
                x = step.numbers - x
            case Arithmetic.MULTIPLY:
                x = x * step.numbers
            case Arithmetic.DIVIDE:
                x = x / step.numbers
    return x


def _padded(x: Array, channels: int, window: Window, fill: int) -> Array:
    """(n, rows, columns, channels) with all that a window sees."""
    laid = x.reshape(len(x), *window.size, channels)
    ends = [
        max((o - 1) * s + (k - 1) * d + 1 - p - n, 0)
        for n, k, s, d, p, o in zip(
            window.size, window.kernel, window.strides, window.dilations, window.pads, window.output, strict=True
        )
    ]
    widths = ((0, 0), *zip(window.pads, ends, strict=True), (0, 0))
    return np.pad(laid, widths, constant_values=fill)


def _seen(x: Array, window: Window, row: int, column: int) -> Array:
    """What one tap sees over all windows."""
    rows, columns = (
        slice(t * d, t * d + (o - 1) * s + 1, s)
        for t, d, o, s in zip((row, column), window.dilations, window.output, window.strides, strict=True)
    )
    return x[:, rows, columns]
