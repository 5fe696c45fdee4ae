"""Tables show names as they are, and never let one steer the terminal or the markup."""

from __future__ import annotations

import pytest

from anybit.cli.output import print_table


@pytest.mark.parametrize("name", ["a\\[b]", "\\[/x]", "[/x]", "[bold]x", "a\\", ":smile:", "größe 🎉"])
def test_names_are_shown_as_they_are(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_table(name, ("tensor", "number"), [(name, 1)])
    title, _, row = capsys.readouterr().out.splitlines()
    assert title == name
    assert row.startswith(name)


def test_control_characters_are_shown_by_their_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("title", ("tensor",), [("red \x1b[31m",)])
    assert capsys.readouterr().out.splitlines()[2].strip() == r"red \x1b[31m"
