"""The sphinx extension: trees and generated parts are put into pages as they are read; references to names."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from docs.generate.parts import expanded
from docs.generate.tree import with_tree

_LITERAL = re.compile(r"(?<![`:\w])`([^`\n]+)`(?![`_])")  # one backtick on each side, as docstrings have it
_BAR = re.compile(r"\|(?=[^`]*(?:`[^`]*`[^`]*)*$)")  # outside of backticks

_COLON = "\ue000"  # in the first line of an attribute, where napoleon takes what stands before a colon for the type


def setup(app: Sphinx) -> dict[str, Any]:
    """Connects the extension."""
    app.connect("source-read", _read)
    app.connect("autodoc-process-docstring", _process, priority=400)  # napoleon comes at 500
    app.connect("autodoc-process-docstring", _restore, priority=600)
    app.connect("missing-reference", _plain)
    return {"version": "1", "parallel_read_safe": True}


def _read(_: Sphinx, name: str, source: list[str]) -> None:
    text = expanded(source[0])
    source[0] = with_tree(text) if name.rpartition("/")[2] == "index" else text


def _process(_app: Sphinx, what: str, _name: str, _value: Any, _options: Any, lines: list[str]) -> None:
    """Names in single backticks are references to Python objects, or else code; bars are no substitutions."""
    lines[:] = [line if ">>>" in line else _LITERAL.sub(r":py:obj:`\1`", _BAR.sub(r"\\|", line)) for line in lines]
    if what in ("attribute", "data"):
        lines[:1] = [line.replace(":", _COLON) for line in lines[:1]]


def _restore(_app: Sphinx, _what: str, _name: str, _value: Any, _options: Any, lines: list[str]) -> None:
    lines[:] = [line.replace(_COLON, ":") for line in lines]


def _plain(_app: Sphinx, _env: BuildEnvironment, node: pending_xref, content: nodes.TextElement) -> nodes.Node | None:
    """What a docstring or an annotation names and no page describes stays as it is written, without a link."""
    return content if node["refdomain"] == "py" else None
