"""Attributes of nodes: their kinds in Python and in ONNX, and what a node gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array

AttributeValue = int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | Array


@dataclass(frozen=True, eq=False)
class AttributeKind:
    """One kind of attribute.

    Attributes:
        name: How messages call it.
        type: The type of the attribute in a file.
        empty: What rules get where a broken call has none.
        item: The type of an entry of a list; None where it is no list.
    """

    name: str
    type: ir.AttributeType
    empty: AttributeValue
    item: type | None = None


_INTS = AttributeKind("tuple of int", ir.AttributeType.INTS, (), int)
KINDS: Mapping[Any, AttributeKind] = {
    int: AttributeKind("int", ir.AttributeType.INT, 0),
    float: AttributeKind("float", ir.AttributeType.FLOAT, 0.0),
    str: AttributeKind("str", ir.AttributeType.STRING, ""),
    tuple: _INTS,
    tuple[int, ...]: _INTS,
    tuple[float, ...]: AttributeKind("tuple of float", ir.AttributeType.FLOATS, (), float),
    tuple[str, ...]: AttributeKind("tuple of str", ir.AttributeType.STRINGS, (), str),
    np.ndarray: AttributeKind("array", ir.AttributeType.TENSOR, np.zeros(0, np.float32)),
}
"""By the Python type that `anybit.operators.Attribute` names; ``tuple`` alone is of integers."""


def is_of_kind(attribute: ir.Attr, kind: AttributeKind) -> bool:
    """Whether an attribute is what it should be, by its type and by what it holds: text may be bytes that are none."""
    if attribute.type != kind.type:
        return False
    if kind.item is not None:
        return isinstance(attribute.value, tuple | list) and all(isinstance(v, kind.item) for v in attribute.value)
    return kind.type == ir.AttributeType.TENSOR or isinstance(attribute.value, type(kind.empty))


def value_of(attribute: ir.Attr) -> Any:
    """What an operator gets: a tensor as an array, all else as onnx-ir has it."""
    return attribute.as_tensor().numpy() if attribute.type == ir.AttributeType.TENSOR else attribute.value


def values_of_attributes(node: ir.Node) -> dict[str, Any]:
    """The attributes that a node gives, by name."""
    return {name: value_of(attribute) for name, attribute in node.attributes.items()}


def integers(node: ir.Node, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    """An attribute that is a list of integers, or the default where the node does not give it."""
    attribute = node.attributes.get(name)
    return default if attribute is None else tuple(attribute.as_ints())
