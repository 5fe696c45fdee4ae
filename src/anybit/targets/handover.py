"""Handover: what came of preparing a model for a hardware tool."""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx_ir as ir

from anybit.errors import Diagnosis, Finding, Severity
from anybit.records import Record
from anybit.runtime.compare import Comparison


@dataclass(frozen=True, kw_only=True)
class Rewrite(Diagnosis):
    """What was changed so that the tool takes a node; the model means the same before and after."""


def finding_of(found: Diagnosis, *, rule: str, severity: Severity = Severity.ERROR) -> Finding:
    """A diagnosis as a finding of a rule."""
    return Finding(
        rule=rule,
        problem=found.problem,
        node=found.node,
        got=found.got,
        expected=found.expected,
        hint=found.hint,
        severity=severity,
    )


def departures(comparison: Comparison) -> tuple[Finding, ...]:
    """The error that a prepared model departs from its source, where it does."""
    if comparison.equal:
        return ()
    worst = max(comparison.outputs, key=lambda d: d.departing)
    return (
        Finding(
            rule="comparison",
            problem="the prepared model departs from its source",
            node=f"output '{worst.name}'",
            got=f"{worst.departing} of {worst.elements} elements",
        ),
    )


@dataclass(frozen=True)
class Handover(Record):
    """A model prepared for a tool.

    Attributes:
        model: The prepared model; only worth writing if nothing stands in the way.
        rewrites: What was changed, node by node.
        findings: What stands in the way (errors), and what the tool will do otherwise than the model says (warnings).
        comparison: The prepared model against its source on random inputs and on rounding ties; None if errors left
            nothing to compare, or it was not asked for.
        precision: The number format in which the tool computes what the quantisers leave open, such as fixed<48,16>;
            None for a tool that needs none.
    """

    model: ir.Model = field(repr=False)
    rewrites: tuple[Rewrite, ...]
    findings: tuple[Finding, ...]
    comparison: Comparison | None
    precision: str | None = None

    @property
    def ready(self) -> bool:
        """Whether the tool takes the model and computes what it means."""
        return not any(f.severity is Severity.ERROR for f in self.findings)
