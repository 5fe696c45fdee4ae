"""Notes stay in order; copies of a model share the old ones and not the new ones."""

from __future__ import annotations

from anybit import load
from anybit.errors import Finding
from anybit.graph.notes import note, notes
from tests.models import mlp


def _finding(number: int) -> Finding:
    return Finding(rule="test", problem=str(number), node="node")


def test_notes_are_kept_in_order():
    loaded = load(mlp())
    assert notes(loaded) == ()
    for number in range(3):
        note(loaded, _finding(number))
    assert [n.problem for n in notes(loaded)] == ["0", "1", "2"]


def test_a_note_on_a_copy_is_not_on_the_model():
    loaded = load(mlp())
    note(loaded, _finding(0))
    copy = load(loaded)
    note(copy, _finding(1))
    note(loaded, _finding(2))
    assert [n.problem for n in notes(copy)] == ["0", "1"]
    assert [n.problem for n in notes(loaded)] == ["0", "2"]


def test_thousands_of_notes_take_no_longer_each():
    loaded = load(mlp())
    for number in range(50_000):  # a copy of all notes at each one would be gigabytes of copying
        note(loaded, _finding(number))
    assert len(notes(loaded)) == 50_000
