"""Calls built by hand, for the rules of operators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from anybit.ops.operator import Call, Operator


def call(
    operator: Operator,
    constants: Mapping[str, Any],
    *,
    x_shape: tuple[int | None, ...] | None = (2, 3),
    attributes: Mapping[str, Any] | None = None,
) -> Call:
    """A call whose constants give the shapes of the parameters; attributes left out take their defaults."""
    arrays = {name: np.asarray(value) for name, value in constants.items()}
    shapes: dict[str, tuple[int | None, ...]] = {name: a.shape for name, a in arrays.items()}
    if x_shape is not None:
        shapes["X"] = x_shape
    values = {a.name: a.default for a in operator.attributes} | dict(attributes or {})
    return Call(node=f"{operator.name} 'n'", attributes=values, constants=arrays, shapes=shapes)


def rules(operator: Operator, made: Call) -> list[str]:
    """The rules that the call breaks; each finding must name the node."""
    findings = list(operator.check(made))
    assert all(f.node == made.node for f in findings)
    assert all(str(f) for f in findings)
    return [f.rule for f in findings]
