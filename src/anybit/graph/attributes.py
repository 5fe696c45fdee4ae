"""Attributes of nodes."""

from __future__ import annotations

import onnx_ir as ir


def integers(node: ir.Node, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    """A list attribute."""
    attribute = node.attributes.get(name)
    return default if attribute is None else tuple(attribute.as_ints())
