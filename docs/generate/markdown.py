"""Tables and cells of Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; its cells are Markdown already."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(text: str) -> str:
    """Plain text as a cell, or as a part of a paragraph: nothing in it is markup but what stands in backticks."""
    joined = " ".join(text.replace("``", "`").split()).replace("|", "\\|")
    parts = joined.split("`")
    return "`".join(re.sub(r"([<>*_\[\]])", r"\\\1", part) if i % 2 == 0 else part for i, part in enumerate(parts))
