"""One-line mutants of a module: what a slip of the programmer would have written."""

from __future__ import annotations

import ast
from collections.abc import Generator
from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """One change of one line.

    Attributes:
        line: Number of the line, from 1.
        old: The line as it was.
        new: The line as it is in the mutant.
    """

    line: int
    old: str
    new: str

    def of(self, source: str) -> str:
        """The mutant of a module."""
        lines = source.splitlines(keepends=True)
        lines[self.line - 1] = self.new
        return "".join(lines)


_Edit = tuple[int, int, int, str]
"""Line, first and last byte of it, and what takes their place."""

_OPERATORS: dict[type[ast.AST], tuple[str, str]] = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "+"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
    ast.LShift: ("<<", ">>"),
    ast.RShift: (">>", "<<"),
    ast.And: ("and", "or"),
    ast.Or: ("or", "and"),
}
_OPPOSITES = {
    "lo": "hi",
    "hi": "lo",
    "minimum": "maximum",
    "maximum": "minimum",
    "min": "max",
    "max": "min",
    "floor": "ceil",
    "ceil": "floor",
    "any": "all",
    "all": "any",
    "first": "last",
    "last": "first",
}


def mutants_of(source: str) -> list[Mutant]:
    """Every mutant of a module that changes one operator, number, name or condition, in the order of the lines."""
    lines = source.splitlines(keepends=True)
    found: list[Mutant] = []
    for line, start, end, text in sorted(_edits(ast.parse(source), lines)):
        old = lines[line - 1].encode()
        new = old[:start] + text.encode() + old[end:]
        if new != old:
            found.append(Mutant(line, lines[line - 1], new.decode()))
    return found


def _edits(tree: ast.AST, lines: list[str]) -> Generator[_Edit]:
    for node in _code(tree):
        yield from _operators(node, lines)
        yield from _conditions(node)
        place = _replaced(node)
        if place is not None:
            yield from ((*place[:3], text) for text in place[3])


def _operators(node: ast.AST, lines: list[str]) -> Generator[_Edit]:
    """Another comparison, sum, product or connective; no negation."""
    match node:
        case ast.Compare(left=left, ops=operators, comparators=rights):
            for a, operator, b in zip((left, *rights), operators, rights, strict=False):
                yield from _between(a, operator, b, lines)
        case ast.BinOp(left=a, op=operator, right=b) | ast.BoolOp(op=operator, values=[a, b]):
            yield from _between(a, operator, b, lines)
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert(), operand=operand) if node.lineno == operand.lineno:
            yield node.lineno, node.col_offset, operand.col_offset, ""
        case _:
            pass


def _conditions(node: ast.AST) -> Generator[_Edit]:
    """Conditions that always or never hold, and results that are None."""
    match node:
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            pass
        case ast.If(test=test) | ast.IfExp(test=test) if test.lineno == test.end_lineno:
            for text in ("False", "True"):
                yield test.lineno, test.col_offset, test.end_col_offset or 0, text
        case ast.Return(value=ast.expr() as value) if value.lineno == value.end_lineno:
            if not isinstance(value, ast.Constant):
                yield value.lineno, value.col_offset, value.end_col_offset or 0, "None"
        case _:
            pass


def _replaced(node: ast.AST) -> tuple[int, int, int, tuple[str, ...]] | None:
    """The place of a number, a truth value or a name with an opposite, and what a slip would have put there."""
    match node:
        case ast.Constant(value=bool(value)):
            return node.lineno, node.col_offset, node.end_col_offset or 0, (str(not value),)
        case ast.Constant(value=int(value)):
            return node.lineno, node.col_offset, node.end_col_offset or 0, (str(value + 1), str(value - 1))
        case ast.Name(id=name, ctx=ast.Load()) if name in _OPPOSITES:
            return node.lineno, node.col_offset, node.end_col_offset or 0, (_OPPOSITES[name],)
        case ast.Attribute(attr=name, end_col_offset=int(end), end_lineno=int(line)) if name in _OPPOSITES:
            return line, end - len(name.encode()), end, (_OPPOSITES[name],)
        case _:
            return None


def _between(a: ast.expr, operator: ast.AST, b: ast.expr, lines: list[str]) -> Generator[_Edit]:
    """The operator between two expressions that stand on one line."""
    if type(operator) not in _OPERATORS or a.end_lineno != b.lineno or a.end_col_offset is None:
        return
    old, new = _OPERATORS[type(operator)]
    gap = lines[b.lineno - 1].encode()[a.end_col_offset : b.col_offset].decode()
    place = gap.find(old)
    if place < 0:
        return
    start = a.end_col_offset + place
    yield b.lineno, start, start + len(old), new


def _code(node: ast.AST) -> Generator[ast.AST]:
    """All nodes that decide what the module does: no annotations, decorators, errors, type checks or strict zips."""
    yield node
    match node:
        case ast.AnnAssign(value=value):
            inside = [] if value is None else [value]
        case ast.FunctionDef(args=arguments, body=body):
            inside = [*arguments.defaults, *(d for d in arguments.kw_defaults if d is not None), *body]
        case ast.ClassDef(body=body):
            inside = body
        case ast.Raise() | ast.ImportFrom() | ast.Import() | ast.JoinedStr() | ast.keyword(arg="strict"):
            inside = []
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            inside = []
        case _:
            inside = list(ast.iter_child_nodes(node))
    for child in inside:
        yield from _code(child)
