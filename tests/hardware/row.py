"""Row: one model for one target, in one form and io type."""

from __future__ import annotations

from dataclasses import dataclass

from anybit.errors import Finding, Severity


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        model: Group and name.
        target: Such as finn.
        form: Such as dialect.
        io: Such as stream; - where there is one only.
        verdict: "ready", or the rules that refuse it.
        equal: Whether the prepared model computes what its source does; None where it is refused.
        ran: What came of the real tool: "right", "WRONG", "FAILED", "not run"; "ties" where some samples depart, and
            the checker warned that numbers on rounding boundaries may.
        widths: Widest accumulator and widest constant, in bits.
    """

    model: str
    target: str
    form: str
    io: str = "-"
    verdict: str = "ready"
    equal: bool | None = None
    ran: str = "not run"
    widths: str = ""

    @property
    def is_bad(self) -> bool:
        """Whether it is said to be ready, and is not."""
        return self.verdict == "ready" and (self.equal is False or self.ran in ("WRONG", "FAILED"))


def verdict(findings: tuple[Finding, ...]) -> str:
    """The rules that stand in the way, or "ready"."""
    rules = sorted({f.rule for f in findings if f.severity is Severity.ERROR})
    return ", ".join(rules) or "ready"
