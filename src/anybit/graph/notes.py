"""Notes: what a pass could not do, and why. They stay with the model, until it is saved, for the caller to show."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from anybit.errors import Finding

_META_KEY = "anybit/notes"


@dataclass(frozen=True, repr=False, eq=False)
class _Last:
    """The last note and those before it: a copy of the model shares them, and adding one takes no longer the more."""

    finding: Finding
    before: _Last | None


def note(model: ir.Model, finding: Finding) -> None:
    """Adds a finding about a node that a pass left as it was."""
    model.meta[_META_KEY] = _Last(finding, model.meta.get(_META_KEY))


def notes(model: ir.Model) -> tuple[Finding, ...]:
    """What passes had to leave as it was, in the order in which they met it."""
    found: list[Finding] = []
    last: _Last | None = model.meta.get(_META_KEY)
    while last is not None:
        found.append(last.finding)
        last = last.before
    return tuple(reversed(found))
