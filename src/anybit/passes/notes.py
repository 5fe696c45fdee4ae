"""Notes: what a pass could not do, and why. They stay with the model, until it is saved, for the caller to show."""

from __future__ import annotations

import onnx_ir as ir

from anybit.errors import Finding

_META_KEY = "anybit/notes"


def note(model: ir.Model, finding: Finding) -> None:
    """Adds a finding about a node that a pass left as it was."""
    model.meta[_META_KEY] = (*notes(model), finding)


def notes(model: ir.Model) -> tuple[Finding, ...]:
    """What passes had to leave as it was, in the order in which they met it."""
    return model.meta.get(_META_KEY, ())
