"""Case: one node with its inputs, and the versions of the standard domain at which it may be written so."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import defs

Array = np.ndarray[Any, Any]

NEWEST = defs.onnx_opset_version()
OLDEST = 7  # ONNX Runtime runs nothing older


@dataclass(frozen=True)
class Case:
    """One node.

    Attributes:
        op_type: Operator of the standard domain.
        inputs: Arrays, lists of arrays for sequences, None where an input is left out.
        attributes: Those of the node.
        since: First opset at which the node is valid.
        until: Last one.
        outputs: How many outputs; those whose index is in `unnamed` are left out.
        unnamed: Outputs that are left out.
        tolerance: Factor on the tolerance that the element type has by itself.
    """

    op_type: str
    inputs: tuple[Any, ...]
    attributes: dict[str, Any] = field(default_factory=dict[str, Any])
    since: int = OLDEST
    until: int = NEWEST
    outputs: int = 1
    unnamed: frozenset[int] = frozenset()
    tolerance: float = 1.0

    def __str__(self) -> str:
        shown = ", ".join(_shown(x) for x in self.inputs)
        return f"{self.op_type}({shown}) {self.attributes}"


def case(
    op_type: str,
    *inputs: Any,
    since: int = OLDEST,
    until: int = NEWEST,
    outputs: int = 1,
    unnamed: tuple[int, ...] = (),
    tolerance: float = 1.0,
    **attributes: Any,
) -> Case:
    """A `Case`, its attributes as keywords."""
    arrays = tuple(np.asarray(x) if isinstance(x, np.generic) else x for x in inputs)
    return Case(op_type, arrays, attributes, since, until, outputs, frozenset(unnamed), tolerance)


def normal(*shape: int, dtype: Any = np.float32, scale: float = 1.5) -> Array:
    """Normally distributed numbers, the same for the same shape."""
    return np.asarray(np.random.default_rng([3, *shape]).standard_normal(shape) * scale).astype(dtype)


def positive(*shape: int, dtype: Any = np.float32) -> Array:
    """Numbers from 0.1 up."""
    return (np.abs(normal(*shape, dtype=np.float64)) + 0.1).astype(dtype)


def integers(*shape: int, low: int = -9, high: int = 9, dtype: Any = np.int64) -> Array:
    """Integers from `low` to `high`, the same for the same arguments."""
    rng = np.random.default_rng([5, abs(low), abs(high), *shape])
    return np.asarray(rng.integers(low, high, shape, endpoint=True)).astype(dtype)


def flags(*shape: int) -> Array:
    """Booleans."""
    return integers(*shape, low=0, high=1).astype(np.bool_)


def ints(*values: int) -> Array:
    """A vector of int64: axes, sizes, pads."""
    return np.array(values, np.int64)


def scalar(value: Any, dtype: Any = np.float32) -> Array:
    """A tensor of rank 0."""
    return np.array(value, dtype)


def _shown(x: Any) -> str:
    if isinstance(x, np.ndarray):
        return f"{x.dtype}{list(x.shape)}" if x.size > 6 else f"{x.dtype}{x.tolist()}"
    return "-" if x is None else repr(x) if not isinstance(x, list) else f"[{', '.join(_shown(v) for v in x)}]"
