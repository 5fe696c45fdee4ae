"""overridable_inputs: inputs that have a default value, which no hardware tool keeps."""

from __future__ import annotations

import onnx_ir as ir

from anybit.errors import Finding
from anybit.graph.constants import has_default


def overridable_inputs(model: ir.Model) -> list[Finding]:
    """An error for each input of the model that has a default value: a tool makes a constant of it, or none."""
    return [
        Finding(
            rule="default",
            problem="an input that has a default",
            node=f"input '{value.name}'",
            expected="an input, or a constant",
            hint="make it a constant with fix-defaults",
        )
        for value in model.graph.inputs
        if has_default(value)
    ]
