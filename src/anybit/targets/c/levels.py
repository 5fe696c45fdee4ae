"""LevelRule: how bytes come from sums in C, by thresholds or by an exact multiplication; whichever is smaller."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anybit.arrays import Array
from anybit.exact.fixed_point import FixedPoint, Int64s, fixed_point, reached
from anybit.plan.plan import Epilogue, Int32s, Multiplier
from anybit.targets.c.arrays import smallest

_LARGEST = (1 << 31) - 1


@dataclass(frozen=True)
class LevelRule:
    """byte = base + step * k, k being the number of thresholds that a sum reaches.

    Rows are channels, or channels of each selecting byte in turn.

    Attributes:
        base: (rows,).
        step: (rows,), 1 or -1.
        count: Most thresholds of a row.
        thresholds: (rows, count), where they are compared with; else None.
        line: A multiplication that counts them; else None.
        is_narrow: Whether 32 bits hold what the line computes.
    """

    base: Int64s
    step: Int64s
    count: int
    thresholds: Int64s | None
    line: FixedPoint | None
    is_narrow: bool

    @property
    def rises(self) -> bool:
        """Whether no row falls with the sum."""
        return bool((self.step > 0).all())


def levels_of(epilogue: Epilogue, lo: Int32s, hi: Int32s) -> LevelRule:
    """How the bytes of an epilogue are computed.

    Args:
        epilogue: Of the plan.
        lo: (channels,), the smallest sum that occurs.
        hi: (channels,), the largest one.
    """
    low, high = lo.astype(np.int64), hi.astype(np.int64)
    if epilogue.multiplier is not None:
        base, step, thresholds = _stepped(epilogue.multiplier, low, high)
    elif epilogue.thresholds is not None:
        found = epilogue.thresholds
        base, step = (a.reshape(-1).astype(np.int64) for a in (found.base, found.step))
        thresholds = found.values.reshape(len(base), -1).astype(np.int64)
        low, high = (np.tile(a, len(base) // len(a)) for a in (low, high))
    else:
        raise ValueError("an epilogue of no kind")
    always = (thresholds <= low[:, None]).sum(axis=1)
    never = (thresholds > high[:, None]).sum(axis=1)
    dropped, kept = int(always.min(initial=0)), thresholds.shape[1] - int(never.min(initial=0))
    base, thresholds = base + step * dropped, np.minimum(thresholds[:, dropped:kept], high[:, None] + 1)
    line = fixed_point(thresholds, low, high) if thresholds.size else None
    narrow = line is not None and _is_narrow(line, low, high)
    if line is not None and _size(line.multiplier) + _size(line.bias) < _size(thresholds):
        return LevelRule(base, step, thresholds.shape[1], None, line, narrow)
    return LevelRule(base, step, thresholds.shape[1], thresholds, None, is_narrow=False)


def _stepped(by: Multiplier, lo: Int64s, hi: Int64s) -> tuple[Int64s, Int64s, Int64s]:
    def level(sums: Int64s) -> Int64s:
        total = (by.factor.astype(np.int64) * sums + by.bias).astype(np.float32)
        return np.clip(np.rint(total * by.multiplier) + by.zero, by.lo, by.hi).astype(np.int64)

    return reached(level, lo, hi)


def _is_narrow(line: FixedPoint, lo: Int64s, hi: Int64s) -> bool:
    ends = (np.abs(line.multiplier * end + line.bias).max(initial=0) for end in (lo, hi))
    products = (np.abs(line.multiplier * end).max(initial=0) for end in (lo, hi))
    return max(*ends, *products, np.abs(line.bias).max(initial=0)) <= _LARGEST and line.shift < 31


def _size(array: Array) -> int:
    """Bytes of a table; 0 where it is one number."""
    return 0 if array.size and (array == array.flat[0]).all() else array.size * smallest(array)[1]
