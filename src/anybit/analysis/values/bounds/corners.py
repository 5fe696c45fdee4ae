"""Bounds of functions that are monotone in each of their arguments, from the corners of the box of arguments.

A monotone function attains its extremes over a box at corners; rounding to nearest is monotone, too. So evaluating
the corners in the arithmetic of the tensor itself gives bounds that its float results cannot leave.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np

from anybit.analysis.values.tensor_values import Float64s, TensorValues, bounded, of_integers
from anybit.arrays import Array

Function = Callable[..., Array]


def of_corners(function: Function, arguments: Sequence[TensorValues], dtype: np.dtype[Any]) -> TensorValues:
    """Bounds of `function`, which is monotone in each argument for any fixed values of the others.

    A corner without a value (inf - inf, 0 * inf) bounds nothing on the side of the infinity that made it; for finite
    arguments 0 * inf stands for 0.

    Args:
        function: Element by element on arrays that broadcast; called with arrays of `dtype`, float64 for integers.
        arguments: The box.
        dtype: Element type of arguments and result.
    """
    ends = [(outward(a.lo, dtype, up=False), outward(a.hi, dtype, up=True)) for a in arguments]
    with np.errstate(all="ignore"):
        corners = [np.asarray(function(*corner), np.float64) for corner in product(*ends)]
        lo, hi = corners[0], corners[0]
        for corner in corners[1:]:
            lo, hi = np.minimum(lo, corner), np.maximum(hi, corner)
    return of_integers(bounded(lo, hi), dtype)


def outward(bound: Float64s, dtype: np.dtype[Any], *, up: bool) -> Array:
    """A bound in a float type, rounded away from the interval where the type does not hold it; else as it is."""
    if dtype.kind != "f":
        return bound
    with np.errstate(over="ignore", invalid="ignore"):
        near = bound.astype(dtype)
        side = np.asarray(np.inf if up else -np.inf, dtype)
        inside = near < bound if up else near > bound
        return np.where(inside, np.nextafter(near, side), near).astype(dtype)


def widened(values: TensorValues, ulps: int, dtype: np.dtype[Any]) -> TensorValues:
    """Bounds that also hold results which are `ulps` roundings of `dtype` away from the exact ones."""
    if dtype.kind != "f":
        return values
    unit = float(np.finfo(dtype).eps) / 2 * ulps
    tiny = float(np.finfo(dtype).smallest_subnormal) * ulps
    lo, hi = values.lo, values.hi
    with np.errstate(invalid="ignore"):  # inf - inf: no bound
        return bounded(lo - np.abs(lo) * unit - tiny, hi + np.abs(hi) * unit + tiny, values.grid)
