"""Slice, the Gather family and ReverseSequence: elements selected by position."""

from __future__ import annotations

import math

import numpy as np

from anybit.analysis.values.bounds.axes import (
    LARGEST_WORK,
    anywhere,
    arrays_of,
    collapsed,
    data_by_axis,
    listed,
    moves,
    normalised,
)
from anybit.analysis.values.tensor_values import Float64s, Shape, TensorValues
from anybit.analysis.values.transfer import NodeContext, Rules
from anybit.arrays import Array


def slice_(site: NodeContext) -> TensorValues:
    """X[start : end : step] along some axes."""
    values, shape = data_by_axis(site)
    rank = len(shape)
    if any(site.optional(i) is not None and site.constant(i) is None for i in (3, 4)):
        return anywhere(values)
    given, step = listed(site, "axes", 3), listed(site, "steps", 4)
    if given is None and any(site.optional(i) is not None and site.constant(i) is None for i in (1, 2)):
        return anywhere(values)
    starts, ends = (_known_list(site, *source) for source in (("starts", 1), ("ends", 2)))
    axes = [normalised(int(a), rank) for a in (range(0 if starts is None else starts.size) if given is None else given)]
    if starts is None or ends is None:
        return collapsed(values, axes)
    steps = [1] * len(axes) if step is None else [int(s) for s in step]
    cuts = [slice(None)] * rank
    for axis, start, end, stride in zip(axes, starts, ends, steps, strict=True):
        cuts[axis] = slice(int(start), int(end), stride)

    def move(array: Float64s) -> Float64s:
        return array[tuple(cut if n > 1 else slice(None) for cut, n in zip(cuts, array.shape, strict=True))]

    return values.moved(move)


def _known_list(site: NodeContext, name: str, index: int) -> Array | None:
    computed = site.optional(index) is not None and site.constant(index) is None
    return None if computed else listed(site, name, index)


def gather(site: NodeContext) -> TensorValues:
    """X[..., indices, ...]: exact for constant indices, else any position along the axis."""
    values, shape = data_by_axis(site)
    axis = normalised(site.attribute("axis", 0), len(shape))
    indices = site.constant(1)
    others = max(a.size // a.shape[axis] for a in arrays_of(values))
    if indices is None or indices.size * others > LARGEST_WORK:
        values = collapsed(values, [axis])
        indices = None
    count = len(site.shape(1)) if indices is None else indices.ndim

    def move(array: Float64s) -> Float64s:
        if indices is None or array.shape[axis] == 1:
            return array.reshape(array.shape[:axis] + (1,) * count + array.shape[axis + 1 :])
        return array.take(indices, axis)

    return values.moved(move)


def gather_elements(site: NodeContext) -> TensorValues:
    """Y[i, j] = X[indices[i, j], j]: exact for constant indices, else any position along the axis."""
    values, shape = data_by_axis(site)
    axis = normalised(site.attribute("axis", 0), len(shape))
    indices = site.constant(1)
    if indices is None or indices.size > LARGEST_WORK:
        values = collapsed(values, [axis])
    picked = site.shape(1) if indices is None else indices.shape
    values = collapsed(values, [a for a, size in enumerate(picked) if size is None])

    def move(array: Float64s) -> Float64s:
        kept = tuple(
            slice(None) if a == axis or size is None or array.shape[a] == 1 else slice(0, size)
            for a, size in enumerate(picked)
        )
        array = array[kept]
        if indices is None or array.shape[axis] == 1:
            return array
        full = (*indices.shape[:axis], array.shape[axis], *indices.shape[axis + 1 :])
        return np.take_along_axis(np.broadcast_to(array, full), indices, axis)

    return values.moved(move)


def gather_nd(site: NodeContext) -> TensorValues:
    """Y[..., rest] = X[indices[...], rest]: exact for constant indices, else any of the indexed positions."""
    values, shape = data_by_axis(site)
    batch = site.attribute("batch_dims", 0)
    indices = site.constant(1)
    selected = site.shape(1)
    depth = selected[-1]
    if depth is None:
        return anywhere(values)
    if batch or indices is None or not _is_small(shape[depth:], math.prod(indices.shape[:-1])):
        leading = range(batch + depth)
        return collapsed(values, leading).moved(lambda array: array.reshape(array.shape[batch + depth :]))
    positions = tuple(np.moveaxis(indices, -1, 0))

    def move(array: Float64s) -> Float64s:
        where = tuple(p if n > 1 else np.zeros_like(p) for p, n in zip(positions, array.shape, strict=False))
        return array[where]

    return values.moved(move)


def _is_small(rest: Shape, count: int) -> bool:
    return None not in rest and math.prod(n for n in rest if n is not None) * count <= LARGEST_WORK


def reverse_sequence(site: NodeContext) -> TensorValues:
    """Each sequence of the batch, its first elements in reverse order."""
    values, shape = data_by_axis(site)
    return collapsed(values, [normalised(site.attribute("time_axis", 0), len(shape))])


RULES: Rules = {
    "Gather": moves(gather),
    "GatherElements": moves(gather_elements),
    "GatherND": moves(gather_nd),
    "ReverseSequence": moves(reverse_sequence),
    "Slice": moves(slice_),
}
