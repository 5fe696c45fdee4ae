"""charts: where the models of a gallery stand in accuracy and in cost, a chart for each data set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

from anybit.zoo.entry import Entry

_MANY = 40  # points with names
_LINE = 13  # height of a name
_CHARACTER = 6.6  # width of one of its characters
_BASE = 4  # from its middle down to the line that it stands on
_RADIUS, _GAP = 7, 10  # of a point, and from its middle to its name
_OFFSETS = (_BASE, 18, -10, 31, -23)  # from the middle of a point to the line of its name
_STEPS, _MOST_STEPS, _TINY = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2), 6, 1e-9  # of accuracies
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

    @property
    def apart(self) -> bool:
        """Whether its name stands so far above or below that a line has to lead to it."""
        return self.label_y is not None and abs(self.label_y - _BASE - self.y) > 1


@dataclass(frozen=True)
class Chart:
    """Points and grid, in units of the picture: bit operations to the right in powers of ten, accuracy upwards."""

    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    points: tuple[Point, ...]
    title: str = ""
    width: int = 560
    height: int = 300
    left: int = 50
    right: int = 530
    top: int = 12
    bottom: int = 264


def charts(entries: Sequence[Entry]) -> tuple[Chart, ...]:
    """A chart for each task and data set that has models of known accuracy and cost, those with most models first."""
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        groups.setdefault((entry.card.data_set.name, entry.card.task), []).append(entry)
    drawn = [replace(chart(group), title=f"{data}, {task}") for (data, task), group in groups.items()]
    return tuple(sorted((c for c in drawn if c.points), key=lambda c: -len(c.points)))


def chart(entries: Sequence[Entry]) -> Chart:
    """The chart of the models whose accuracy and bit operations are known; accuracies are of one task."""
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
    least = min(k[2] for k in known)
    step = next(s for s in _STEPS if (1 - least) / s <= _MOST_STEPS)
    lines = max(1, math.ceil((1 - least) / step - _TINY))
    bottom = max(0.0, 1 - lines * step)

    def x_of(cost: float) -> float:
        return round(frame.left + (math.log10(cost) - low) / (high - low) * (frame.right - frame.left), 1)

    def y_of(accuracy: float) -> float:
        return round(frame.bottom - (accuracy - bottom) / (1 - bottom) * (frame.bottom - frame.top), 1)

    levels = [bottom + (1 - bottom) * i / lines for i in range(lines + 1)]
    placed = [(entry, x_of(cost), y_of(value)) for entry, cost, value in known]
    return Chart(
        _thinned([Tick(x_of(10.0**power), _power(power)) for power in range(low, high + 1)]),
        tuple(Tick(y_of(level), f"{round(level * 100, 1):g} %") for level in levels),
        tuple(_labelled(placed, frame)),
    )


def _thinned(ticks: list[Tick]) -> tuple[Tick, ...]:
    """Every n-th tick, so that at most seven are left and their labels do not meet."""
    return tuple(ticks[:: -(-len(ticks) // 7)])


def _labelled(placed: Sequence[tuple[Entry, float, float]], frame: Chart) -> list[Point]:
    """Names beside the points, where they lie on no point and no other name; none where there are many."""
    taken = [(x - _RADIUS, x + _RADIUS, y + _BASE) for _, x, y in placed]
    points: list[Point] = []
    for entry, x, y in sorted(placed, key=lambda p: (p[2], p[1])):
        width = _CHARACTER * len(entry.card.name)
        places = product((y + dy for dy in _OFFSETS), ((x + _GAP, "start"), (x - _GAP, "end")))
        boxes = ((at - width if side == "end" else at, line, at, side) for line, (at, side) in places)
        free = (box for box in boxes if _fits(box[0], box[0] + width, box[1], taken, frame))
        found = next(free, None) if len(placed) <= _MANY else None
        if found is None:
            points.append(Point(entry, x, y, x, None, "start"))
            continue
        left, line, at, side = found
        taken.append((left, left + width, line))
        points.append(Point(entry, x, y, round(at, 1), round(line, 1), side))
    return points


def _fits(left: float, right: float, line: float, taken: Sequence[tuple[float, float, float]], frame: Chart) -> bool:
    inside = frame.left <= left and right <= frame.width and frame.top + _BASE <= line <= frame.bottom
    return inside and not any(left < end and start < right and abs(line - at) < _LINE for start, end, at in taken)


def _power(power: int) -> str:
    unit = max((p for p in _POWERS if p <= power), default=0)
    return f"{10 ** (power - unit):,}{_POWERS.get(unit, '')}" if power >= 0 else f"1e{power}"
