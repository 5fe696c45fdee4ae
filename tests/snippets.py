"""Code blocks of Markdown pages, run as they stand there."""

from __future__ import annotations

import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import Ended, anybit

_BLOCK = re.compile(
    r"(?:<!-- test: (?P<name>\w+) -->\n)?```(?P<kind>python|console)\n(?P<code>.*?)```"
    r"(?:\n+```text\n(?P<printed>.*?)```)?",
    re.DOTALL,
)
_COMMAND = re.compile(r"^\$ (?P<command>(?:.*\\\n)*.*)\n(?P<printed>(?:(?!\$ ).*\n)*)", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One ``python`` or ``console`` block of a page.

    Attributes:
        code: What stands in it.
        is_console: Whether it has commands, each behind ``$``, and below it what it prints.
        name: That of the ``<!-- test: name -->`` before it; empty if there is none.
        printed: The ``text`` block behind it: what the code prints. None if there is none.
    """

    code: str
    name: str
    printed: str | None
    is_console: bool = False


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    found = _BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [Block(m["code"], m["name"] or "", m["printed"], m["kind"] == "console") for m in found]


@dataclass(frozen=True)
class Command:
    """One command of a ``console`` block.

    Attributes:
        line: As a shell would be given it.
        printed: The lines below it; one that is ``...`` stands for any lines.
    """

    line: str
    printed: str


def commands_of(code: str) -> list[Command]:
    """The commands of a ``console`` block, in order."""
    return [Command(m["command"].replace("\\\n", " "), m["printed"]) for m in _COMMAND.finditer(code)]


def run_command(line: str) -> Ended:
    """What a command prints: one of ``anybit``, whose arguments may be ``$(anybit ...)``, or ``cp``."""
    inner = re.compile(r"\$\((anybit [^)]*)\)")
    words = shlex.split(inner.sub(lambda m: shlex.quote(run_command(m[1]).stdout.strip()), line))
    if words[0] == "cp":
        shutil.copy(*words[1:])
        return Ended(0, "", "")
    assert words[0] == "anybit", line
    return anybit(*words[1:])


def matches(printed: str, expected: str) -> bool:
    """Whether a command printed what its page says.

    A line ``...`` stands for any lines, ``...`` in a line for anything; blanks at the ends of lines do not count.
    """
    lines = (r"(?:.*\n)*" if e == "..." else _line(e) for e in expected.splitlines())
    return re.fullmatch("".join(lines), printed) is not None


def _line(expected: str) -> str:
    return r".*".join(map(re.escape, expected.rstrip().split("..."))) + r" *\n"


def run_block(code: str, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a block of code defines.

    Args:
        code: It is written to a file and imported: onnxscript and dataclasses read the source of what they decorate.
        name: Of the module, which no other one has.
        folder: Where the file goes.
        monkeypatch: Takes the folder from the path again.
    """
    (folder / f"{name}.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    return vars(__import__(name))
