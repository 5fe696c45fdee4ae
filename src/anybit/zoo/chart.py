"""Chart: where the models of a gallery stand in accuracy and in cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from anybit.zoo.entry import Entry

_MANY = 40  # points with names
_LINE = 13  # height of a name
_POWERS = {3: "k", 6: "M", 9: "G", 12: "T", 15: "P", 18: "E"}


@dataclass(frozen=True)
class Tick:
    """A line of the grid."""

    at: float
    label: str


@dataclass(frozen=True)
class Point:
    """One model; `label_y` is None where there is no room for its name."""

    entry: Entry
    x: float
    y: float
    label_x: float
    label_y: float | None
    anchor: str


@dataclass(frozen=True)
class Chart:
    """Points and grid, in units of the picture: bit operations to the right in powers of ten, accuracy upwards."""

    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    points: tuple[Point, ...]
    width: int = 1160
    height: int = 420
    left: int = 56
    right: int = 1130
    top: int = 12
    bottom: int = 384


def chart(entries: Sequence[Entry]) -> Chart:
    """The chart of the models whose accuracy and bit operations are known."""
    known = [
        (entry, cost, entry.card.claim.value)
        for entry in entries
        if entry.card.claim is not None
        and entry.card.claim.metric == "accuracy"
        and (cost := entry.bit_operations)  # none, and zero, have no logarithm
    ]
    frame = Chart((), (), ())
    if not known:
        return frame
    low, high = math.floor(math.log10(min(k[1] for k in known))), math.ceil(math.log10(max(k[1] for k in known)))
    high = max(high, low + 1)
    bottom = max(0.0, math.floor(min(k[2] for k in known) * 10) / 10)
    bottom = min(bottom, 0.9)

    def x_of(cost: float) -> float:
        return round(frame.left + (math.log10(cost) - low) / (high - low) * (frame.right - frame.left), 1)

    def y_of(accuracy: float) -> float:
        return round(frame.bottom - (accuracy - bottom) / (1 - bottom) * (frame.bottom - frame.top), 1)

    steps = round((1 - bottom) * 20)
    step = 0.05 * max(1, -(-steps // 8))
    levels = [bottom + i * step for i in range(int((1 - bottom) / step + 1e-9) + 1)]
    placed = [(entry, x_of(cost), y_of(value)) for entry, cost, value in known]
    return Chart(
        tuple(Tick(x_of(10.0**power), _power(power)) for power in range(low, high + 1)),
        tuple(Tick(y_of(level), f"{level * 100:.0f} %") for level in levels),
        tuple(_labelled(placed, frame)),
    )


def _labelled(placed: Sequence[tuple[Entry, float, float]], frame: Chart) -> list[Point]:
    """Names beside the points, moved up or down where they would lie on another one; none where there are many."""
    taken: list[tuple[float, float, float]] = []
    points: list[Point] = []
    for entry, x, y in sorted(placed, key=lambda p: (p[2], p[1])):
        width = 6.5 * len(entry.card.name)
        left_side = x + 12 + width > frame.right
        start = x - 10 - width if left_side else x + 10
        free = (dy for dy in (4, 18, -10, 31, -23) if not _hits(taken, start, width, y + dy))
        offset = next(free, None) if len(placed) <= _MANY else None
        label = None if offset is None else round(y + offset, 1)
        if label is not None:
            taken.append((start, start + width, label))
        points.append(Point(entry, x, y, x - 10 if left_side else x + 10, label, "end" if left_side else "start"))
    return points


def _hits(taken: Sequence[tuple[float, float, float]], start: float, width: float, y: float) -> bool:
    return any(start < right and left < start + width and abs(y - at) < _LINE for left, right, at in taken)


def _power(power: int) -> str:
    unit = max((p for p in _POWERS if p <= power), default=0)
    return f"{10 ** (power - unit):,}{_POWERS.get(unit, '')}" if power >= 0 else f"1e{power}"
