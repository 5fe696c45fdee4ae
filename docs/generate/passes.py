"""The reference of passes, from the catalogue: what each does, before and after, its options."""

from __future__ import annotations

import enum
import inspect
import re

import onnx_ir as ir

from anybit.passes.catalog import Option, catalog, options_of
from docs.generate.dataflow import NotAnExpressionError, drawn
from docs.generate.markdown import cell, table


def text() -> str:
    """Each pass by its name on the command line."""
    return "\n\n".join(_pass(name, kind) for name, kind in catalog().items())


def _pass(name: str, kind: type[ir.passes.PassBase]) -> str:
    described, _, attributes = (inspect.getdoc(kind) or "").partition("\nAttributes:\n")
    paragraphs = [cell(p) for p in re.split(r"\n\s*\n", described.strip())]
    meanings = _meanings(attributes)
    rows = [(f"`{o.name}`", _default(o), cell(meanings.get(o.name, ""))) for o in options_of(kind).values()]
    parts = [f"## {name}", f"In Python: `anybit.passes.{kind.__name__}`.", *paragraphs, *_pictures(described)]
    return "\n\n".join([*parts, table(("option", "default", ""), rows)] if rows else parts)


def _pictures(described: str) -> list[str]:
    """The data flow before and after, where the text has both as expressions."""
    found = re.search(r"Before: ``([^`]+)``(?: with ``[^`]+``)?;\s+after: ``([^`]+)``", described)
    if found is None:
        return []
    before, after = (" ".join(part.split()) for part in found.groups())
    try:
        drawings = drawn(before, "before"), drawn(after, "after")
    except NotAnExpressionError:
        return []
    figures = (
        f"<figure>{d}<figcaption>{t}</figcaption></figure>" for t, d in zip(("before", "after"), drawings, strict=True)
    )
    return [f'<div class="before-after">{"".join(figures)}</div>']


def _meanings(attributes: str) -> dict[str, str]:
    """The entries of an ``Attributes:`` section by name."""
    entries = re.split(r"^ {4}(\w+): ", attributes, flags=re.MULTILINE)
    return dict(zip(entries[1::2], entries[2::2], strict=True))


def _default(option: Option) -> str:
    if option.required:
        return "required"
    shown = option.default.value if isinstance(option.default, enum.Enum) else option.default
    return f"`{shown}`" if shown or isinstance(shown, bool | int) else ""
