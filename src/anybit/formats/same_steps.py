"""same_steps: whether arithmetic and a quantiser are one function of float32, decided at every step of the quantiser.

Both never fall when x rises. Where they agree at infinity, and at the float32 numbers on both sides of each step of the
quantiser, they agree everywhere: between two steps the quantiser is constant, and what rises from a number to the same
number is, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from anybit.formats.quantizer import Quantizer
from anybit.formats.spine import Step, evaluate
from anybit.ops.operator import Array

_MOST_STEPS = 1 << 20  # over all channels
_HALVINGS = 33
_LOWEST, _HIGHEST = -0x7F800000, 0x7F800000  # both infinities, counted in float32 numbers from 0


def is_same(
    steps: Sequence[Step],
    quantizer: Quantizer,
    rank: int,
    opsets: Mapping[str, int],
    within: tuple[float, float] = (-np.inf, np.inf),
) -> bool:
    """Whether the steps and the quantiser make the same of every float32 number, and of infinities.

    Args:
        steps: Rising operators from x to y.
        quantizer: A quantiser of a scalar scale, or of one that broadcasts to x.
        rank: Number of axes of x.
        opsets: Version by domain.
        within: The smallest and the largest x that there is.
    """
    lo, hi = float(quantizer.lo.min()), float(quantizer.hi.max())
    if (hi - lo) * quantizer.scale.size > _MOST_STEPS:
        return False
    levels = np.arange(lo, hi).reshape(-1, *[1] * rank)
    parameters = (quantizer.scale, quantizer.zero_point, quantizer.lo, quantizer.hi)
    shape = np.broadcast_shapes(levels.shape, *(p.shape for p in parameters))
    at = _first_above(quantizer, np.broadcast_to(levels, shape))
    ends = np.array([_LOWEST, _LOWEST + 1, 0, _HIGHEST - 1, _HIGHEST]).reshape(-1, *[1] * rank)
    points = np.concatenate([at - 1, at, np.broadcast_to(ends, (5, *shape[1:]))])
    x = np.clip(_number(np.clip(points, _LOWEST, _HIGHEST)), *np.asarray(within, np.float32))
    return is_same_at(steps, quantizer, x, opsets)


def is_same_at(steps: Sequence[Step], quantizer: Quantizer, x: Array, opsets: Mapping[str, int]) -> bool:
    """Whether the steps and the quantiser make the same of these numbers."""
    y = evaluate(steps, x, opsets)
    try:
        return y is not None and y.dtype == np.float32 and np.array_equal(y, quantizer(x), equal_nan=True)
    except ValueError:  # a parameter does not broadcast to x
        return False


def _first_above(quantizer: Quantizer, levels: Array) -> npt.NDArray[np.int64]:
    """For each level the first float32 number, counted from 0, whose integer is above it."""
    low, high = np.full(levels.shape, _LOWEST, np.int64), np.full(levels.shape, _HIGHEST, np.int64)
    for _ in range(_HALVINGS):
        middle = (low + high) >> 1
        above = quantizer.integers(_number(middle)) > levels
        low, high = np.where(above, low, middle + 1), np.where(above, middle, high)
    return np.minimum(high, _HIGHEST)


def _number(count: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """The float32 numbers that are so many away from 0."""
    magnitude = np.abs(count).astype(np.int32).view(np.float32)
    return np.where(count < 0, -magnitude, magnitude).astype(np.float32)
