"""Facts: what a model is, line by line, out of its summary."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from anybit.analysis.summary import QuantizerCount, Summary, TensorSummary
from anybit.reporting.model import Fact
from anybit.reporting.text import TIMES, shown

_LONGEST_LIST = 40  # entries of one fact; the rest is counted


def facts(summary: Summary, *, macs: str = "", bit_operations: str = "") -> tuple[Fact, ...]:
    """The lines, without those that would be empty.

    Args:
        summary: The model.
        macs: Its multiply-accumulates in terms of free dimensions, where these stay free.
        bit_operations: Its bit operations likewise.
    """
    lines = (
        ("Inputs", map(_tensor, summary.inputs)),
        ("Outputs", map(_tensor, summary.outputs)),
        ("Written by", (summary.producer,)),
        ("Opsets", (f"{domain or 'ai.onnx'} {version}" for domain, version in sorted(summary.opsets.items()))),
        ("ONNX IR", (str(summary.ir_version),)),
        ("Stored weights", (f"{summary.parameters:,} elements, {summary.weight_bytes:,} bytes",)),
        ("Quantisers", map(_quantizers, summary.quantizers)),
        ("Operators", (f"{count:,} {TIMES} {name}" for name, count in summary.operators.items())),
        ("Multiply-accumulates a run", (macs,)),
        ("Bit operations a run", (bit_operations,)),
        ("Functions", summary.functions),
        ("Put right on loading", map(str, summary.repairs)),
    )
    return tuple(Fact(label, text) for label, entries in lines if (text := "\n".join(_cut(filter(None, entries)))))


def _cut(entries: Iterable[str]) -> Iterator[str]:
    listed = list(entries)
    yield from (shown(e, longest=200) for e in listed[:_LONGEST_LIST])
    if len(listed) > _LONGEST_LIST:
        yield f"and {len(listed) - _LONGEST_LIST:,} more"


def _tensor(tensor: TensorSummary) -> str:
    return f"{tensor.name}: {tensor.type} {tensor.shape}{', has a default' if tensor.optional else ''}"


def _quantizers(kind: QuantizerCount) -> str:
    of = "weights" if kind.weights else "activations"
    return f"{kind.count:,} {TIMES} {kind.operator} {kind.number_format}, {of}"
