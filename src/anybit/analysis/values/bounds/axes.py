"""What rules that move, resample or add up elements share: bounds seen axis by axis."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import wraps

import numpy as np

from anybit.analysis.values.tensor_values import Float64s, IntegerGrid, TensorValues, aligned, checked_grid
from anybit.analysis.values.transfer import NodeContext, NotFollowed, Rule
from anybit.arrays import Array
from anybit.number_formats import NumberFormat

LARGEST_WORK = 1 << 20
"""Elements that bounds are spread out to before they are told less apart."""


def arrays_of(values: TensorValues) -> Iterator[Float64s]:
    """Each array of bounds, those of the grid included."""
    yield from (values.lo, values.hi)
    if values.grid is not None:
        yield from (values.grid.scale, values.grid.zero_point, values.grid.lo, values.grid.hi)


def told_apart(values: TensorValues, axis: int) -> int:
    """Entries that the bounds have along an axis; 1 where they do not tell its elements apart.

    Args:
        values: Aligned to their tensor.
        axis: Axis of the tensor, not negative.
    """
    return max(a.shape[axis] for a in arrays_of(values))


def is_uniform(values: TensorValues) -> bool:
    """Whether no two elements are told apart: nothing is lost wherever they are moved."""
    return all(a.size == 1 for a in arrays_of(values))


def by_axis(values: TensorValues, rank: int) -> TensorValues:
    """The values, with one axis in each array of bounds for each axis of the tensor; no longer a constant."""
    return values.moved(lambda array: aligned(array, rank))


def data_by_axis(site: NodeContext) -> tuple[TensorValues, tuple[int | None, ...]]:
    """Input 0 by axis, and its shape.

    Raises:
        NotFollowed: Its rank is not known.
    """
    shape = site.shape(0)
    return by_axis(site.values(0), len(shape)), shape


def moves(rule: Rule) -> Rule:
    """A rule for an operator that only moves elements of input 0: values that are uniform stay as they are."""

    @wraps(rule)
    def shortened(site: NodeContext) -> TensorValues | Sequence[TensorValues]:
        values = site.values(0)
        return [anywhere(values)] * len(site.node.outputs) if is_uniform(values) else rule(site)

    return shortened


def anywhere(values: TensorValues) -> TensorValues:
    """Values of a tensor of any shape that holds nothing but elements of this one."""
    rank = max(a.ndim for a in arrays_of(values))
    apart = collapsed(by_axis(values, rank), range(rank))
    return apart.moved(lambda array: array.reshape(()))


def collapsed(values: TensorValues, axes: Collection[int]) -> TensorValues:
    """The hull along some axes, one entry left on each; the grid stays where it is the same along them.

    Args:
        values: Aligned to their tensor.
        axes: Axes of the tensor, not negative.
    """
    along = tuple(axes)
    lo, hi = values.lo.min(axis=along, keepdims=True), values.hi.max(axis=along, keepdims=True)
    grid = values.grid
    if grid is None or not is_same_along(grid, along):
        return TensorValues(lo, hi)
    return TensorValues(
        lo,
        hi,
        replace(grid, lo=grid.lo.min(axis=along, keepdims=True), hi=grid.hi.max(axis=along, keepdims=True)),
    )


def is_same_along(grid: IntegerGrid, axes: Collection[int]) -> bool:
    """Whether scale and zero point do not vary along some axes of an aligned grid."""
    return all(p.shape[axis] == 1 for p in (grid.scale, grid.zero_point) for axis in axes)


def joined(values: TensorValues, number: float) -> TensorValues:
    """The values and one more number; the grid stays where the number is on it."""
    grid = None if values.grid is None else _joined_grid(values.grid, number)
    return TensorValues(np.minimum(values.lo, number), np.maximum(values.hi, number), grid)


def integer_of(grid: IntegerGrid, number: float) -> Float64s | None:
    """The integers that stand for a number, None where it is not on the grid."""
    integer = np.rint(number / grid.scale + grid.zero_point)
    return integer if (grid.scale * (integer - grid.zero_point) == number).all() else None


def _joined_grid(grid: IntegerGrid, number: float) -> IntegerGrid | None:
    integer = integer_of(grid, number)
    if integer is None:
        return None
    lo, hi = np.minimum(grid.lo, integer), np.maximum(grid.hi, integer)
    return checked_grid(replace(grid, lo=lo, hi=hi, datatype=datatype_with(grid, integer)))


def datatype_with(grid: IntegerGrid, integer: Float64s) -> NumberFormat | None:
    """The declared format of the grid, if it has these integers, too."""
    datatype = grid.datatype
    if datatype is None or not datatype.is_integer:
        return None
    return datatype if datatype.allows(integer).all() else None


def normalised(axis: int, rank: int) -> int:
    """The axis, counted from the front.

    Raises:
        NotFollowed: The tensor has no such axis.
    """
    if not -rank <= axis < rank:
        raise NotFollowed(f"axis {axis} of a tensor of {rank} axes")
    return axis + rank if axis < 0 else axis


def listed(site: NodeContext, name: str, index: int) -> Array | None:
    """A list of numbers that old versions take as an attribute and newer ones as an input; None where left out.

    Raises:
        NotFollowed: It is an input that is computed.
    """
    given = site.attribute(name)
    if given is not None:
        return np.asarray(given)
    return None if site.optional(index) is None else np.atleast_1d(site.required_constant(index))
