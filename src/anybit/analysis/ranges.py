"""ranges: proven bounds of every tensor, accumulators and stuck channels, as figures to print."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.analysis.roles import Role, roles_of
from anybit.analysis.types import format_of, integers_of
from anybit.analysis.values.accumulator import Accumulator, Bound
from anybit.analysis.values.input_range import InputRanges
from anybit.analysis.values.interpreter import Values, analyse
from anybit.analysis.values.tensor_values import Float64s, IntegerGrid, Shape, TensorValues, channel_axis
from anybit.arguments import checked_apart
from anybit.arrays import Array
from anybit.graph.walk import label, shape_of
from anybit.io.load import ModelSource
from anybit.number_formats import NumberFormat
from anybit.records import Record


@dataclass(frozen=True)
class Channels:
    """Bounds that differ between channels.

    Attributes:
        axis: Axis of the tensor along which they differ.
        lo: Lower bound by channel, or one for all.
        hi: Upper bound by channel, or one for all.
    """

    axis: int
    lo: tuple[float, ...]
    hi: tuple[float, ...]


@dataclass(frozen=True)
class IntegerRange:
    """value = scale * (integer - zero_point), lo <= integer <= hi.

    Attributes:
        format: As a quantiser declares it, else the smallest.
        lo: Smallest integer of any channel.
        hi: Largest integer of any channel.
        scale: One, or by channel along the axis on which it differs.
        zero_point: Likewise.
        channels: Where the bounds differ between channels.
    """

    format: NumberFormat
    lo: int
    hi: int
    scale: tuple[float, ...]
    zero_point: tuple[float, ...]
    channels: Channels | None


@dataclass(frozen=True)
class TensorRange:
    """What one tensor can hold.

    Attributes:
        name: Its name.
        role: What it is in the model.
        format: Its number format (see `types`).
        lo: No element is smaller.
        hi: No element is larger.
        channels: Where the bounds differ between channels.
        integers: The integers behind it, None where there are none.
        stuck_channels: Number of channels that hold one value whatever the input; None for constants and shapes.
    """

    name: str
    role: Role
    format: NumberFormat | None
    lo: float
    hi: float
    channels: Channels | None
    integers: IntegerRange | None
    stuck_channels: int | None


@dataclass(frozen=True)
class AccumulatorBound:
    """What one kind of bound proves about a sum of products.

    Attributes:
        bound: What it takes into account.
        lo: Smallest sum.
        hi: Largest sum.
        bits: Width that holds every sum.
        partial_bits: Width that holds every partial sum as well, in any order.
    """

    bound: Bound
    lo: int
    hi: int
    bits: int
    partial_bits: int


@dataclass(frozen=True)
class AccumulatorRange:
    """How one multiply-accumulate node adds up.

    Attributes:
        node: Its label.
        terms: Products in one sum.
        operands: Formats of the integers that are multiplied.
        bounds: From the widest to the tightest.
        channels: Bounds by output channel, by proven values.
    """

    node: str
    terms: int
    operands: tuple[NumberFormat, NumberFormat]
    bounds: tuple[AccumulatorBound, ...]
    channels: Channels | None


@dataclass(frozen=True)
class UnfollowedNode:
    """A node behind which everything is possible, and why."""

    node: str
    reason: str


@dataclass(frozen=True)
class Ranges(Record):
    """What a model's tensors can hold.

    Attributes:
        tensors: In the order of the graph.
        accumulators: One for each multiply-accumulate of integers, in the order of the graph.
        unfollowed: Nodes that the analysis could not follow.
    """

    tensors: tuple[TensorRange, ...]
    accumulators: tuple[AccumulatorRange, ...]
    unfollowed: tuple[UnfollowedNode, ...]


@checked_apart("input_ranges")
def ranges(model: ModelSource, *, input_ranges: InputRanges | None = None) -> Ranges:
    """lo <= value <= hi for every tensor, proven for all finite inputs in their ranges.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model``.
        input_ranges: By input name, the smallest and the largest value that a caller feeds, for all elements or by
            channel (see `analyse`).

    Raises:
        ModelFileError: The model cannot be read.
        UsageError: A range is empty, does not fit its input, or names no input.
    """
    return ranges_of(analyse(model, input_ranges=input_ranges))


def ranges_of(values: Values) -> Ranges:
    """`ranges` of an analysed model."""
    tensors = [
        _tensor_range(v, role, values) for v, role in roles_of(values.model).items() if v.name and v in values.tensors
    ]
    accumulators = [_accumulator_range(n, a) for n, a in values.accumulators.items()]
    unfollowed = [UnfollowedNode(label(n), reason) for n, reason in values.unfollowed.items()]
    return Ranges(tuple(tensors), tuple(accumulators), tuple(unfollowed))


def _tensor_range(value: ir.Value, role: Role, values: Values) -> TensorRange:
    known, shape = values[value], shape_of(value)
    return TensorRange(
        name=str(value.name),
        role=role,
        format=format_of(value, values),
        lo=float(known.lo.min()) if known.lo.size else 0.0,
        hi=float(known.hi.max()) if known.hi.size else 0.0,
        channels=_channels(known.lo, known.hi, None if shape is None else len(shape)),
        integers=None if known.grid is None else _integer_range(known.grid, shape),
        stuck_channels=_stuck(known, shape) if role.depends_on_data else None,
    )


def _integer_range(grid: IntegerGrid, shape: Shape | None) -> IntegerRange:
    return IntegerRange(
        format=integers_of(grid),
        lo=int(grid.lo.min()) if grid.lo.size else 0,
        hi=int(grid.hi.max()) if grid.hi.size else 0,
        scale=tuple(grid.scale.reshape(-1).tolist()),
        zero_point=tuple(grid.zero_point.reshape(-1).tolist()),
        channels=_channels(grid.lo, grid.hi, None if shape is None else len(shape)),
    )


def _told_apart(*bounds: Array, rank: int) -> int | None:
    """The axis along which bounds differ between channels; that of channels where they differ along several."""
    axes = {a + rank - b.ndim for b in bounds for a in range(b.ndim) if b.shape[a] > 1}
    if len(axes) == 1:
        return axes.pop()
    return channel_axis(rank) if channel_axis(rank) in axes else None


def _channels(lo: Float64s, hi: Float64s, rank: int | None) -> Channels | None:
    axis = None if rank is None else _told_apart(lo, hi, rank=rank)
    if rank is None or axis is None:
        return None
    low, high = _along(np.minimum, lo, axis - rank), _along(np.maximum, hi, axis - rank)
    return Channels(axis, tuple(low.tolist()), tuple(high.tolist()))


def _along(choose: np.ufunc, array: Array, axis: int) -> Array:
    """`array` summarised by entry of an axis that counts from the end; one entry where it has no such axis."""
    if array.ndim < -axis:
        return np.asarray(choose.reduce(array, axis=None)).reshape(1)
    others = tuple(a for a in range(array.ndim) if a != array.ndim + axis)
    return np.asarray(choose.reduce(array, axis=others)).reshape(-1)


def _stuck(known: TensorValues, shape: Shape | None) -> int:
    """Channels of which every element has equal bounds, or one integer."""
    fixed = np.equal(known.lo, known.hi)
    if known.grid is not None:
        fixed = fixed | (known.grid.lo == known.grid.hi)
    if shape is None or fixed.size <= 1:
        count = None if not shape else shape[channel_axis(len(shape))]
        return int(fixed.all()) * (1 if count is None else count)
    axis = _told_apart(fixed, rank=len(shape))
    return 0 if axis is None else int(_along(np.logical_and, fixed, axis - len(shape)).sum())


def _accumulator_range(node: ir.Node, accumulator: Accumulator) -> AccumulatorRange:
    bounds = [
        AccumulatorBound(kind, i.lo, i.hi, i.format.bits, i.partial_format.bits)
        for kind, i in ((kind, accumulator.intervals[kind]) for kind in Bound if kind in accumulator.intervals)
    ]
    shape = shape_of(node.outputs[0])
    return AccumulatorRange(
        node=label(node),
        terms=accumulator.terms,
        operands=accumulator.operands,
        bounds=tuple(bounds),
        channels=_channels(accumulator.lo, accumulator.hi, None if shape is None else len(shape)),
    )
