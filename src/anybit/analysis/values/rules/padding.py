"""Pad and CenterCropPad: elements moved, and a constant beside them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from anybit.analysis.values.bounds.axes import (
    LARGEST_WORK,
    anywhere,
    arrays_of,
    collapsed,
    data_by_axis,
    datatype_with,
    integer_of,
    joined,
    listed,
    normalised,
)
from anybit.analysis.values.tensor_values import Float64s, IntegerGrid, TensorValues, checked_grid, hull
from anybit.analysis.values.transfer import NodeContext, Rules

_Pads = list[tuple[int, int]]


def pad(site: NodeContext) -> TensorValues:
    """The input, and along the padded axes the constant too, or copies of what is there."""
    values, shape = data_by_axis(site)
    rank = len(shape)
    constant = site.attribute("mode", "constant") == "constant"
    filling = _filling(site) if constant else None
    if any(site.optional(i) is not None and site.constant(i) is None for i in (1, 3)):
        return _with(anywhere(values), filling)
    name = "pads" if site.opset > 1 else "paddings"
    given, axes = listed(site, name, 1), listed(site, "axes", 3)
    pads: _Pads = [(0, 0)] * rank
    numbers = [] if given is None else [int(n) for n in given]
    half = len(numbers) // 2
    for i, axis in enumerate(range(rank) if axes is None else axes):
        pads[normalised(int(axis), rank)] = (numbers[i], numbers[half + i])
    touched = [a for a, ends in enumerate(pads) if ends != (0, 0)]
    if filling is None:
        return collapsed(values, touched)
    spread = max(
        np.prod([n + max(b, 0) + max(e, 0) for n, (b, e) in zip(a.shape, pads, strict=True) if n > 1] or [1])
        for a in arrays_of(values)
    )
    number = filling.lo if filling.is_point and filling.lo.size == 1 else None
    if number is None or spread > LARGEST_WORK:
        return _with(collapsed(values, touched), filling)
    return _padded(values, pads, float(number))


def _filling(site: NodeContext) -> TensorValues:
    """What the padding holds."""
    given = site.optional(2)
    number = site.attribute("value", 0.0) if given is None else None
    if given is not None:
        return anywhere(given)
    number = float(np.asarray(number, site.dtype()))
    return TensorValues(np.asarray(number), np.asarray(number))


def _with(values: TensorValues, filling: TensorValues | None) -> TensorValues:
    if filling is None:
        return values
    return joined(values, float(filling.lo)) if filling.is_point else hull([values, filling])


def _padded(values: TensorValues, pads: _Pads, number: float) -> TensorValues:
    """The number joins all elements of an axis whose elements are not told apart, else only those beside them."""
    loose = [a for a, (begin, end) in enumerate(pads) if max(begin, end) > 0]
    beside = np.asarray(number)
    return TensorValues(
        _spread(values.lo, pads, loose, beside, np.minimum),
        _spread(values.hi, pads, loose, beside, np.maximum),
        None if values.grid is None else _padded_grid(values.grid, pads, loose, number),
    )


def _padded_grid(grid: IntegerGrid, pads: _Pads, loose: list[int], number: float) -> IntegerGrid | None:
    scale, zero_point = (_spread(p, pads, [], None, np.minimum) for p in (grid.scale, grid.zero_point))
    outer = replace(grid, scale=scale, zero_point=zero_point)
    integer = integer_of(outer, number)
    if integer is None:
        return None
    lo, hi = (
        _spread(bound, pads, loose, integer, choose) for bound, choose in ((grid.lo, np.minimum), (grid.hi, np.maximum))
    )
    return checked_grid(replace(outer, lo=lo, hi=hi, datatype=datatype_with(grid, integer)))


def _spread(array: Float64s, pads: _Pads, loose: list[int], beside: Float64s | None, choose: Any) -> Float64s:
    """One array of bounds, padded along the axes on which it tells elements apart; by its own ends without number."""
    ends = [(begin, end) if n > 1 else (0, 0) for n, (begin, end) in zip(array.shape, pads, strict=True)]
    cut = tuple(slice(max(0, -b), n - max(0, -e)) for n, (b, e) in zip(array.shape, ends, strict=True))
    added = [(max(0, b), max(0, e)) for b, e in ends]
    moved = np.pad(array[cut], added, mode="edge")
    if beside is None:
        return moved
    inside = np.pad(np.ones(array[cut].shape, bool), added)
    among = choose(moved, beside) if any(array.shape[a] == 1 for a in loose) else moved
    return np.where(inside, among, beside)


def center_crop_pad(site: NodeContext) -> TensorValues:
    """The middle of the input, or the input amid zeros."""
    values, shape = data_by_axis(site)
    given = site.attribute("axes")
    axes = range(len(shape)) if given is None else [normalised(a, len(shape)) for a in given]
    return joined(collapsed(values, axes), 0.0)


RULES: Rules = {"CenterCropPad": center_crop_pad, "Pad": pad}
