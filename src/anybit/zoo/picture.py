"""picture: the graph of a described model, small: a rectangle a block, from its inputs on the left to its outputs."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from anybit.reporting.model import Block, Kind, Report
from anybit.zoo.entry import colour_of

_WIDTH, _HEIGHT = 26, 16  # of a block
_ACROSS, _DOWN = 40, 26  # from one block to the next
_MARGIN = 4


@dataclass(frozen=True)
class Box:
    """One block: its corner, the class of its colour, and what it is."""

    x: int
    y: int
    css: str
    title: str


@dataclass(frozen=True)
class Line:
    """One edge, from the right of a block to the left of another."""

    x1: int
    y1: int
    x2: int
    y2: int


@dataclass(frozen=True)
class Picture:
    """Boxes and lines, in units of the picture."""

    width: int
    height: int
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    box_width: int = _WIDTH
    box_height: int = _HEIGHT


def picture(described: Report) -> Picture:
    """Each block stands right of all that it reads, below the others that do so."""
    columns = [0] * len(described.blocks)
    for edge in described.edges:  # in the order of their targets, which comes after that of their sources
        columns[edge.target] = max(columns[edge.target], columns[edge.source] + 1)
    rows: defaultdict[int, int] = defaultdict(int)
    boxes: list[Box] = []
    for block, column in zip(described.blocks, columns, strict=True):
        boxes.append(Box(_MARGIN + column * _ACROSS, _MARGIN + rows[column] * _DOWN, _css(block), _title(block)))
        rows[column] += 1
    lines = (
        Line(a.x + _WIDTH, a.y + _HEIGHT // 2, b.x, b.y + _HEIGHT // 2)
        for e in described.edges
        for a, b in [(boxes[e.source], boxes[e.target])]
    )
    return Picture(
        width=max((b.x for b in boxes), default=0) + _WIDTH + _MARGIN,
        height=max((b.y for b in boxes), default=0) + _HEIGHT + _MARGIN,
        boxes=tuple(boxes),
        lines=tuple(lines),
    )


def _css(block: Block) -> str:
    if not block.has_weights:
        return "none"
    if block.weights_mixed:
        return "mixed"
    return "float" if block.weight_bits is None else colour_of(block.weight_bits)


def _title(block: Block) -> str:
    if block.ends is not None:
        return f"{block.kind.value} {block.ends.name}"
    operator = block.operations[0].operator.rpartition("::")[2]
    bits = f", weights of {block.weight_bits} bits" if block.kind is Kind.LAYER and block.weight_bits else ""
    return f"{operator} {block.operations[0].name}{bits}"
