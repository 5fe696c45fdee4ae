"""Small pictures of expressions such as ``y = Add(Mul(x, 2), b)``: the data flow graph, drawn as SVG."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_TOKEN = re.compile(
    r"\s*(?:(?P<name>[A-Za-z_][\w.']*)(?P<attributes><[^<>()]*>)?|(?P<value>\[[^\]]*\]|-?[\d./]+)|(?P<sign>[(),=;]))"
)
_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _LETTER = 20, 26, 26, 12, 7.2


@dataclass(frozen=True)
class Term:
    """A call of an operator, or a tensor that nothing here computes."""

    text: str
    inputs: tuple[Term, ...] = ()
    is_call: bool = False

    @property
    def depth(self) -> int:
        """The longest way to it from what is given."""
        return 1 + max((i.depth for i in self.inputs), default=-1)


class NotAnExpressionError(ValueError):
    """A text that is no list of assignments."""


def parsed(text: str) -> tuple[tuple[str, Term], ...]:
    """The results that no later assignment reads, by name.

    Raises:
        NotAnExpressionError: The text is none of ``name = Operator(...); ...``.

    Example:
        >>> [(name, term.depth) for name, term in parsed("h = Mul(x, 2); y = Add(h, b)")]
        [('y', 2)]
    """
    tokens, known, read = _tokens(text), dict[str, Term](), set[str]()
    while tokens:
        name, sign = tokens.pop(0), tokens.pop(0) if tokens else ""
        if sign != "=":
            raise NotAnExpressionError(text)
        known[name] = _term(tokens, known, read)
        if tokens and tokens.pop(0) != ";":
            raise NotAnExpressionError(text)
    if not known:
        raise NotAnExpressionError(text)
    return tuple((name, term) for name, term in known.items() if name not in read)


def _tokens(text: str) -> list[str]:
    found, position = list[str](), 0
    while text[position:].strip():
        match = _TOKEN.match(text, position)
        if match is None:
            raise NotAnExpressionError(text)
        found.append(match["name"] or match["value"] or match["sign"])
        position = match.end()
    return found


def _term(tokens: list[str], known: dict[str, Term], read: set[str]) -> Term:
    if not tokens or tokens[0] in "(),=;":
        raise NotAnExpressionError
    name = tokens.pop(0)
    if not tokens or tokens[0] != "(":
        read.add(name)
        return known.get(name, Term(name))
    inputs = list[Term]()
    while (sign := tokens.pop(0) if tokens else "") in ("(", ","):
        inputs.append(_term(tokens, known, read))
    if sign != ")":
        raise NotAnExpressionError
    return Term(name, tuple(inputs), is_call=True)


def drawn(text: str, title: str) -> str:
    """The picture of an expression as an SVG element, in the colours of the page."""
    results = parsed(text)
    columns = _columns([term for _, term in results])
    columns[max(columns) + 1] = [Term(name, (term,)) for name, term in results]
    places, x = dict[Term, tuple[float, float, float]](), 8.0
    for column in sorted(columns):
        width = max(len(t.text) for t in columns[column]) * _LETTER + _WIDTH
        for row, term in enumerate(columns[column]):
            places[term] = (x, 8 + row * (_HEIGHT + _GAP_Y), width)
        x += width + _GAP_X
    height = max(y for _, y, _ in places.values()) + _HEIGHT + 8
    edges = "".join(_edge(places[i], places[t]) for t in places for i in t.inputs)
    boxes = "".join(_box(t, *place) for t, place in places.items())
    label = escape(f"{title}: {text}", quote=True)
    size = f'width="{x:.0f}" height="{height:.0f}" viewBox="0 0 {x:.0f} {height:.0f}"'
    return f'<svg class="dataflow" role="img" aria-label="{label}" {size}>{edges}{boxes}</svg>'


def _columns(results: Sequence[Term]) -> dict[int, list[Term]]:
    """Terms by column: calls by their depth, what is given just before the first call that reads it."""
    column: dict[Term, int] = {}
    for result in results:
        _place(result, result.depth, column)
    columns: dict[int, list[Term]] = {}
    for term, at in column.items():
        columns.setdefault(at, []).append(term)
    return columns


def _place(term: Term, at: int, column: dict[Term, int]) -> None:
    for inner in term.inputs:
        _place(inner, inner.depth if inner.is_call else term.depth - 1, column)
    column[term] = min(at, column.get(term, at))


def _edge(start: tuple[float, float, float], end: tuple[float, float, float]) -> str:
    x, y, half = start[0] + start[2], start[1] + _HEIGHT / 2, _GAP_X / 2
    to_x, to_y = end[0], end[1] + _HEIGHT / 2
    curve = f"M{x:.0f} {y:.0f}C{x + half:.0f} {y:.0f} {to_x - half:.0f} {to_y:.0f} {to_x:.0f} {to_y:.0f}"
    return f'<path d="{curve}"/>'


def _box(term: Term, x: float, y: float, width: float) -> str:
    frame = f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{_HEIGHT}" rx="5"/>' if term.is_call else ""
    return f'{frame}<text x="{x + width / 2:.0f}" y="{y + 17:.0f}">{escape(term.text)}</text>'
