"""Code blocks of Markdown pages, run as they stand there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_BLOCK = re.compile(
    r"(?:<!-- test: (?P<name>\w+) -->\n)?```python\n(?P<code>.*?)```(?:\n+```text\n(?P<printed>.*?)```)?", re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """One ``python`` block of a page.

    Attributes:
        code: What stands in it.
        name: That of the ``<!-- test: name -->`` before it; empty if there is none.
        printed: The ``text`` block behind it: what the code prints. None if there is none.
    """

    code: str
    name: str
    printed: str | None


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    found = _BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [Block(m["code"], m["name"] or "", m["printed"]) for m in found]


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
