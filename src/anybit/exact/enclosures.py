"""Enclosures: what is known of means of levels whose scale float32 rounds, and of what is computed from them.

Such a mean is the sum of its integers, times a scale, but for an error; which number it is hangs on each of its terms.
What no error moves, as the level of a quantiser whose ties are far, is a function of the sum all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from anybit.analysis.values.tensor_values import Float64s
from anybit.arrays import Array
from anybit.exact.integer_functions import MOST_LEVELS, Enclosure, Error, Function, Kernel, Root, function_on, with_runs

_ROUNDING = 2.0**-21  # three roundings to float32, and as much again for additions in float32
_MAGNITUDES = 2.0**-100, 2.0**100  # of scales, between which nothing is subnormal or overflows


def error_of_mean(levels: Kernel) -> Error | None:
    """How far a mean of levels, computed in float, may be from the exact one; None where it may leave float32.

    Args:
        levels: Their integers, of one scale.
    """
    scale, largest = float(levels.scale[0]), max(abs(levels.lo), abs(levels.hi))
    if not _MAGNITUDES[0] <= scale <= scale * largest <= _MAGNITUDES[1]:
        return None
    one_sign = levels.lo >= 0 or levels.hi <= 0  # then the magnitudes add up to that of the sum
    return Error(relative=_ROUNDING) if one_sign else Error(absolute=_ROUNDING * scale * largest)


def around(root: Root, scale: float, error: Error | None, *, rank: int) -> Enclosure:
    """What is known of a tensor whose elements are the integers of a root times a scale, but for an error."""
    off = error or Error()

    def end(side: float) -> Function:
        def evaluate(q: Float64s) -> Array:
            exact = root.integers(q) * scale
            return (exact * (1 + side * off.relative * np.sign(exact)) + side * off.absolute).astype(np.float32)

        return function_on(root, evaluate, rank=rank, rising=np.ones(1))

    integers = function_on(root, root.integers, rank=rank, rising=np.ones(1))
    known = with_runs(integers) if root.hi.max() - root.lo.min() < MOST_LEVELS else None
    return Enclosure(end(-1.0), end(1.0), known, scale, error)


def between(one: Function | None, other: Function | None) -> Enclosure | None:
    """What lies between two functions that a node makes of both ends of an enclosure; None if it may leave them."""
    if one is None or other is None or one.steps.direction is None:
        return None
    steps = one.steps, other.steps

    def end(pick: Callable[[Array, Array], Array]) -> Function:
        return replace(one, steps=replace(steps[0], evaluate=lambda q: pick(*(s.evaluate(q) for s in steps))))

    return Enclosure(end(np.minimum), end(np.maximum))


def decided(one: Function | None, other: Function | None) -> Function | None:
    """The function of a quantised tensor whose levels are the same at both ends of what it reads; None else."""
    if one is None or other is None or one.steps.direction is None or one.runs is None or other.runs is None:
        return None
    same = np.array_equal(one.runs.starts, other.runs.starts) and np.array_equal(one.runs.values, other.runs.values)
    return one if same else None
