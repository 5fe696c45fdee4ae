"""loops_of: an index array as nested loops with a stride each, where it is one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anybit.plan.plan import Int32s

_MOST = 6


@dataclass(frozen=True)
class Loop:
    """A loop over part of an index.

    Attributes:
        count: How often it runs.
        stride: What is added each time.
    """

    count: int
    stride: int


@dataclass(frozen=True)
class Loops:
    """index = start + the sum of count * stride over nested loops, the outermost first."""

    start: int
    loops: tuple[Loop, ...]


def loops_of(index: Int32s) -> Loops | None:
    """The loops that walk through an index from its first element to its last; None where no few do."""
    rest, found = index.astype(np.int64), list[Loop]()
    start = int(rest[0])
    while len(rest) > 1:
        steps = np.diff(rest)
        other = np.flatnonzero(steps != steps[0])
        count = int(other[0]) + 1 if len(other) else len(rest)
        if len(rest) % count or len(found) == _MOST:
            return None
        rows = rest.reshape(-1, count)
        if (rows != rows[:, :1] + steps[0] * np.arange(count)).any():
            return None
        found.append(Loop(count, int(steps[0])))
        rest = rows[:, 0]
    return None if (index < 0).any() else Loops(start, tuple(found[::-1]))
