"""Mutants differ from their module in one line, and are Python."""

from __future__ import annotations

import ast

import pytest

from tests.mutation.judge import ROOT
from tests.mutation.mutants import mutants_of


@pytest.mark.parametrize(
    ("line", "changed"),
    [
        ("x = a < b", {"x = a <= b"}),
        ("x = a is not b", {"x = a is b"}),
        ("x = (a) + (b)", {"x = (a) - (b)"}),
        ("x = not a", {"x = a"}),
        ("x = a and b", {"x = a or b"}),
        ("x = 7", {"x = 8", "x = 6"}),
        ("x = True", {"x = False"}),
        ("x = min(a.lo, b)", {"x = max(a.lo, b)", "x = min(a.hi, b)"}),
        ("x = a if b else c", {"x = a if True else c", "x = a if False else c"}),
        ("def f(): return a", {"def f(): return None"}),
        ("x: Literal[1] = a", set()),
        ("if TYPE_CHECKING: import a", set()),
        ("raise ValueError(a + b)", set()),
        ("x = zip(a, b, strict=True)", set()),
        ('x = f"{a + 1}"', set()),
        ("# größer\nx = '…' + a", {"x = '…' - a"}),
    ],
)
def test_what_a_slip_would_have_written(line: str, changed: set[str]):
    assert {mutant.new for mutant in mutants_of(line)} == changed


def test_mutants_of_a_module_are_python_and_differ_in_their_line():
    source = (ROOT / "src/anybit/exact/runs.py").read_text()
    mutants = mutants_of(source)
    assert len(mutants) > 50
    for mutant in mutants:
        made = mutant.of(source)
        ast.parse(made)
        lines = zip(source.splitlines(), made.splitlines(), strict=True)
        assert [n for n, (a, b) in enumerate(lines, 1) if a != b] == [mutant.line]
