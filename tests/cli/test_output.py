"""Tables show names as they are, and never let one steer the terminal or the markup."""

from __future__ import annotations

import pytest

from anybit.cli.terminal.output import print_long_table, print_table


@pytest.mark.parametrize("name", ["a\\[b]", "\\[/x]", "[/x]", "[bold]x", "a\\", ":smile:", "größe 🎉"])
def test_names_are_shown_as_they_are(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_table(name, ("tensor", "number"), [(name, 1)])
    title, _, row = capsys.readouterr().out.splitlines()
    assert title == name
    assert row.startswith(name)


def test_control_characters_are_shown_by_their_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("title", ("tensor",), [("red \x1b[31m",)])
    assert capsys.readouterr().out.splitlines()[2].strip() == r"red \x1b[31m"


def test_long_tables_have_a_line_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    print_long_table("some", ("name", "count"), [("a\x1b[2J", 1234567), ("b" * 300, None)])
    title, header, first, second = capsys.readouterr().out.splitlines()
    assert (title, header.split()) == ("some", ["name", "count"])
    assert first.split() == ["a\\x1b[2J", "1,234,567"]
    assert second == "b" * 300
    assert header.index("count") == first.index("1,234,567") == 302
