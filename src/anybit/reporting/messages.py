"""Findings and refusals as the page lists them, each with the block that it belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from anybit.errors import Diagnosis, Finding, Severity
from anybit.formats.capability import DialectCapability
from anybit.formats.dialect import Dialect
from anybit.reporting.model import FormatRow, Message
from anybit.reporting.text import shown

_NAMES = {
    Dialect.QONNX: "QONNX",
    Dialect.QCDQ: "QCDQ",
    Dialect.QDQ: "QDQ",
    Dialect.QUANTIZED_OPS: "Quantised operators",
    Dialect.INTEGER_OPS: "Integer operators",
    Dialect.FINN: "FINN",
}


@dataclass(frozen=True)
class Messages:
    """What is known of where a message belongs.

    Attributes:
        block_of: Index of the block of each node, by its label.
    """

    block_of: Mapping[str, int]

    def findings(self, found: Iterable[Finding]) -> tuple[Message, ...]:
        """Errors first; what two analyses say alike once."""
        ordered = sorted(dict.fromkeys(found), key=lambda f: f.severity is not Severity.ERROR)
        return tuple(self._message(f.severity.value, f.rule, f) for f in ordered)

    def refusals(self, found: Iterable[Diagnosis]) -> tuple[Message, ...]:
        """What a format, a tool or a plan does not take, in the order of the graph."""
        return tuple(self._message("refusal", "", r) for r in found)

    def formats(self, rows: Iterable[DialectCapability]) -> tuple[FormatRow, ...]:
        """What each format can say of the model."""
        return tuple(self._row(row) for row in rows)

    def _row(self, row: DialectCapability) -> FormatRow:
        shares = (
            row.quantizers,
            row.layers,
            row.below_8_bits,
            row.arbitrary_width,
            row.other_rounding,
            row.weights_only,
            row.high_precision_output,
            "yes" if row.without_variants else "no",
        )
        return FormatRow(_NAMES.get(row.format, row.format.value), tuple(map(str, shares)), self.refusals(row.refusals))

    def _message(self, severity: str, rule: str, said: Diagnosis) -> Message:
        text = Diagnosis(problem=said.problem, got=said.got, expected=said.expected, hint=said.hint)
        return Message(severity, rule, shown(said.node), shown(text), self.block_of.get(said.node))
