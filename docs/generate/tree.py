"""The tree of pages: what the list of an index page links to stands below it, so that a new page is one line there."""

from __future__ import annotations

import re

_HEADING = re.compile(r"^## (.+)$")
_ENTRY = re.compile(r"^- \[[^\]]+\]\((?P<page>[\w./-]+)\.md\)")


def with_tree(page: str) -> str:
    """An index page with a hidden toctree for each of its headings, made of the pages that its lists begin with."""
    caption, trees = "", dict[str, list[str]]()
    for line in page.split("\n"):
        heading, entry = _HEADING.match(line), _ENTRY.match(line)
        if heading:
            caption = heading[1]
        elif entry:
            trees.setdefault(caption, []).append(entry["page"])
    return "\n".join([page, *(_toctree(*tree) for tree in trees.items())])


def _toctree(caption: str, pages: list[str]) -> str:
    options = [":hidden:", *([f":caption: {caption}"] if caption else [])]
    return "\n".join(["", "```{toctree}", *options, "", *pages, "```", ""])
