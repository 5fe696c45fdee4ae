"""Operators that only move, copy or drop elements: each bound goes where its element goes."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from itertools import accumulate

import numpy as np

from anybit.analysis.values.bounds.axes import (
    LARGEST_WORK,
    anywhere,
    arrays_of,
    by_axis,
    collapsed,
    data_by_axis,
    listed,
    moves,
    normalised,
    told_apart,
)
from anybit.analysis.values.rules import indexing, padding, sizes
from anybit.analysis.values.tensor_values import Float64s, IntegerGrid, Shape, TensorValues, bounded, hull
from anybit.analysis.values.transfer import NodeContext, NotFollowed, Rules
from anybit.arrays import Array


def identity(site: NodeContext) -> TensorValues:
    """The input."""
    return replace(site.values(0), constant=None)


def dropout(site: NodeContext) -> list[TensorValues]:
    """The input, for nothing is dropped in inference; and the mask."""
    training = site.constant(2)
    if site.optional(2) is not None and (training is None or training.any()):
        raise NotFollowed("it may be in training")
    if site.opset < 7 and not site.attribute("is_test", 0):  # it trains by default up to version 6
        raise NotFollowed("it is in training")
    return [identity(site), bounded(0.0, 1.0)]


def reshape(site: NodeContext) -> TensorValues:
    """The input in row-major order, cut into other axes."""
    given = listed(site, "shape", 1) if site.optional(1) is None or site.constant(1) is not None else None
    copied = 0
    if given is not None and not site.attribute("allowzero", 0):
        copied = next((i for i, size in enumerate(given) if size != 0), len(given))
    return _reshaped(site, copied)


def flatten(site: NodeContext) -> TensorValues:
    """The input as a matrix, whose rows are the axes before `axis`."""
    return _reshaped(site, 1 if site.attribute("axis", 1) == 1 else 0)


def _reshaped(site: NodeContext, copied: int) -> TensorValues:
    """Input 0 in the shape of the output, whose first `copied` axes are those of the input."""
    values = site.values(0)
    after = site.output_shapes[0]
    if after is None:
        return anywhere(values)
    before = site.shape(0)
    kept = copied
    while kept < min(len(before), len(after)) and before[kept] is not None and before[kept] == after[kept]:
        kept += 1
    # Flat positions agree behind `kept` axes; behind those, in any two tails of as many elements.
    cut, tail = _common_tails(before[kept:], after[kept:])
    values = by_axis(values, len(before))
    values = collapsed(values, range(kept, kept + cut))
    old, new = before[kept + cut :], after[kept + tail :]
    lead = tuple(range(kept))
    if math.prod(told_apart(values, a) for a in lead) * math.prod(_known(old)) > LARGEST_WORK:
        values = collapsed(values, range(kept, len(before)))

    def move(array: Float64s) -> Float64s:
        head, rest = array.shape[:kept], array.shape[kept + cut :]
        ones = (1,) * tail
        if math.prod(rest) == 1:
            return array.reshape(head + ones + (1,) * len(new))
        return np.broadcast_to(array, head + (1,) * cut + _known(old)).reshape(head + ones + _known(new))

    return values.moved(move)


def _known(shape: Shape) -> tuple[int, ...]:
    return tuple(0 if d is None else d for d in shape)


def _common_tails(before: Shape, after: Shape) -> tuple[int, int]:
    """Where the longest tails of as many elements start, if only the empty ones."""
    ends = {n: start for start, n in reversed(list(_tails(after)))}
    return next((start, ends[n]) for start, n in _tails(before) if n in ends)


def _tails(shape: Shape) -> list[tuple[int, int]]:
    """Start and number of elements of each tail of known size, the longest one first."""
    counts = [1]
    for size in reversed(shape):
        if not size:
            break
        counts.append(counts[-1] * size)
    return [(len(shape) - k, n) for k, n in reversed(list(enumerate(counts)))]


def transpose(site: NodeContext) -> TensorValues:
    """Y[i] = X[permuted i]."""
    values, shape = data_by_axis(site)
    order = site.attribute("perm") or tuple(reversed(range(len(shape))))
    return values.moved(lambda array: array.transpose(order))


def squeeze(site: NodeContext) -> TensorValues:
    """Without axes of one element."""
    values, shape = data_by_axis(site)
    axes = listed(site, "axes", 1)
    if axes is not None:
        dropped = tuple(normalised(int(a), len(shape)) for a in axes)
    elif None in shape:
        return anywhere(values)
    else:
        dropped = tuple(i for i, size in enumerate(shape) if size == 1)
    return values.moved(lambda array: array.squeeze(dropped))


def unsqueeze(site: NodeContext) -> TensorValues:
    """With new axes of one element."""
    values, shape = data_by_axis(site)
    axes = listed(site, "axes", 1)
    if axes is None:
        raise NotFollowed("it has no axes")
    rank = len(shape) + axes.size
    added = tuple(normalised(int(a), rank) for a in axes)
    return values.moved(lambda array: np.expand_dims(array, added))


def tile(site: NodeContext) -> TensorValues:
    """The input, again and again along each axis."""
    values, shape = data_by_axis(site)
    repeats = site.constant(1)
    counts = None if repeats is None else [int(r) for r in repeats]
    sizes = [told_apart(values, a) for a in range(len(shape))]
    if counts is None or math.prod(max(r, 1) * n for r, n in zip(counts, sizes, strict=True) if n > 1) > LARGEST_WORK:
        return anywhere(values)
    return values.moved(
        lambda array: np.tile(array, [r if n > 1 else 1 for r, n in zip(counts, array.shape, strict=True)])
    )


def concat(site: NodeContext) -> TensorValues:
    """All inputs, one after the other along an axis, with their bounds and their grids."""
    parts = [site.values(i) for i in range(len(site.inputs))]
    shapes = [site.shapes[i] for i in range(len(parts))]
    rank = next((len(s) for s in shapes if s is not None), None)
    if rank is None:
        return hull([anywhere(p) for p in parts])
    axis = normalised(site.attribute("axis", 1), rank)
    parts = [by_axis(p, rank) for p in parts]
    known = all(s is not None and s[axis] is not None for s in shapes)
    lengths = [_length(s, axis) for s in shapes]
    others = max(math.prod(a.shape) // a.shape[axis] for p in parts for a in arrays_of(p))
    if not known or not 0 < sum(lengths) * others <= LARGEST_WORK:
        return hull([collapsed(p, [axis]) for p in parts])
    present = [(p, n) for p, n in zip(parts, lengths, strict=True) if n]
    join = partial(_joined_along, axis, [n for _, n in present])
    parts = [p for p, _ in present]
    grids = [p.grid for p in parts if p.grid is not None]
    lo, hi = join([p.lo for p in parts]), join([p.hi for p in parts])
    if len(grids) < len(parts):
        return TensorValues(lo, hi)
    datatypes = {g.datatype for g in grids}
    grid = IntegerGrid(
        join([g.scale for g in grids]),
        join([g.zero_point for g in grids]),
        join([g.lo for g in grids]),
        join([g.hi for g in grids]),
        datatypes.pop() if len(datatypes) == 1 else None,
    )
    return TensorValues(lo, hi, grid)


def _length(shape: Shape | None, axis: int) -> int:
    size = None if shape is None else shape[axis]
    return 0 if size is None else size


def _joined_along(axis: int, lengths: list[int], arrays: list[Float64s]) -> Float64s:
    common = list(np.broadcast_shapes(*((*a.shape[:axis], 1, *a.shape[axis + 1 :]) for a in arrays)))
    full = [[*common[:axis], n, *common[axis + 1 :]] for n in lengths]
    return np.concatenate([np.broadcast_to(a, s) for a, s in zip(arrays, full, strict=True)], axis)


def split(site: NodeContext) -> list[TensorValues]:
    """Consecutive parts of the input along an axis."""
    values, shape = data_by_axis(site)
    axis = normalised(site.attribute("axis", 0), len(shape))
    size = told_apart(values, axis)
    count = len(site.node.outputs)
    if size == 1:
        return [values] * count
    given = listed(site, "split", 1) if site.optional(1) is None or site.constant(1) is not None else None
    if site.optional(1) is not None and given is None:
        return [collapsed(values, [axis])] * count
    length = math.ceil(size / count)
    lengths = [length] * count if given is None else [int(n) for n in given]
    ends = list(accumulate(lengths))
    return [_part(values, axis, end - n, end) for n, end in zip(lengths, ends, strict=True)]


def _part(values: TensorValues, axis: int, start: int, end: int) -> TensorValues:
    def move(array: Array) -> Array:
        return array if array.shape[axis] == 1 else array.take(range(start, min(end, array.shape[axis])), axis)

    return values.moved(move)


def blocks(site: NodeContext) -> TensorValues:
    """Blocks of pixels become channels, or channels blocks of pixels; exact where the tensor is small."""
    values, shape = data_by_axis(site)
    known = _known(shape[1:])
    if told_apart(values, 0) > 1:
        return anywhere(values)
    if all(known) and math.prod(known) <= LARGEST_WORK:
        return values.moved(partial(_evaluated, site, known))
    block = site.attribute("blocksize") if site.node.op_type == "SpaceToDepth" else 1
    if not known[0]:
        return anywhere(values)
    return collapsed(collapsed(values, [2, 3]).moved(partial(_evaluated, site, (known[0], block, block))), [2, 3])


def _evaluated(site: NodeContext, shape: tuple[int, ...], array: Float64s) -> Float64s:
    """The operator itself, on one array of bounds of a batch of 1."""
    return site.evaluate([np.broadcast_to(array, (1, *shape))])[0].astype(np.float64)


RULES: Rules = {
    "Concat": concat,
    "DepthToSpace": moves(blocks),
    "Dropout": dropout,
    "Expand": identity,  # bounds are aligned at the end, as the shapes of Expand are
    "Flatten": moves(flatten),
    "Identity": identity,
    "Reshape": moves(reshape),
    "SpaceToDepth": moves(blocks),
    "Split": split,
    "Squeeze": moves(squeeze),
    "Tile": moves(tile),
    "Transpose": moves(transpose),
    "Unsqueeze": moves(unsqueeze),
    **indexing.RULES,
    **padding.RULES,
    **sizes.RULES,
}
