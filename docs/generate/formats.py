"""Formats side by side: the table of the paper on QONNX, filled by what the writers carry of one model."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

import anybit
from anybit.results import DialectCapability
from docs.generate.markdown import cell, table
from docs.generate.models import everything, shipped

_COLUMNS = (
    ("all widths", "arbitrary_width"),
    ("below 8 bits", "below_8_bits"),
    ("other rounding, zero points", "other_rounding"),
    ("weights only", "weights_only"),
    ("wide outputs", "high_precision_output"),
)
_SHIPPED = ("digits_mlp_1w1a", "digits_mlp_2w2a", "digits_cnn_2w2a", "friedman_mlp_4w6a")


def text() -> str:
    """What each format carries of the model of `everything`, why not, and of some models that ship."""
    rows = anybit.capabilities(everything())
    refused = "\n".join(f"- `{row.format.value}`:\n{_reasons(row)}" for row in rows if row.refusals)
    return "\n\n".join(
        [_of_everything(rows), "## What stands in the way", refused, "## Of models that ship", _of_shipped()]
    )


def _of_everything(rows: Iterable[DialectCapability]) -> str:
    columns = ("format", *(title for title, _ in _COLUMNS), "no variants of operators")
    cells = [
        (f"`{r.format.value}`", *(str(getattr(r, field)) for _, field in _COLUMNS), _yes(holds=r.without_variants))
        for r in rows
    ]
    return table(columns, cells)


def _yes(*, holds: bool) -> str:
    return "yes" if holds else "no"


def _reasons(row: DialectCapability) -> str:
    return "\n".join(f"  - {cell(_reason(r))}" for r in row.refusals)


def _reason(refusal: anybit.errors.Refusal) -> str:
    facts = [f"got {refusal.got}"] if refusal.got else []
    facts += [f"expected {refusal.expected}"] if refusal.expected else []
    return f"{refusal.node}: {refusal.problem}" + (f" ({', '.join(facts)})" if facts else "")


def _of_shipped() -> str:
    found = {name: anybit.capabilities(ir.load(shipped(name))) for name in _SHIPPED}
    formats = [row.format for row in next(iter(found.values()))]
    cells = [(f"`{f.value}`", *(str(rows[i].layers) for rows in found.values())) for i, f in enumerate(formats)]
    return table(("layers carried", *(f"`{n}`" for n in found)), cells)
