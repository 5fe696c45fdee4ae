"""required_elements: how large what a node makes of the inputs it is given will be, before it is computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import onnx_ir as ir

from anybit.budget import current_limits
from anybit.errors import LimitError
from anybit.graph.walk import all_nodes, label
from anybit.ops.size_rules import RULES, Site, elements_of

ELEMENT_BYTES = 16
"""Bytes of an element while it is computed, mostly in float64, from a copy of the input."""


def required_elements(node: ir.Node, inputs: Sequence[Any]) -> int:
    """Elements of the largest tensor that a node lays out for these inputs, and rather too many than too few.

    Args:
        node: A node without subgraphs.
        inputs: Arrays, lists of arrays, None where one is left out.
    """
    site = Site(node, inputs)
    rule = RULES.get(node.op_type)
    elements: float = max(map(elements_of, inputs), default=0)
    if rule is not None:
        with suppress(ArithmeticError, LookupError, TypeError, ValueError):  # they do not fit: the operator says so
            elements = max(elements, rule(site))
    return int(min(elements, 1 << 60))


def require_memory(node: ir.Node, inputs: Sequence[Any], held: int = 0) -> None:
    """Refuses a node that would take more memory than the limits allow.

    Args:
        node: A node without subgraphs.
        inputs: As for `required_elements`.
        held: Bytes of what is held already.

    Raises:
        LimitError: With the node, what it takes, and the limit.
    """
    refuse_bytes(required_elements(node, inputs) * ELEMENT_BYTES + held, label(node))


def refuse_large(model: ir.Model) -> None:
    """Refuses a model of which one tensor alone would take more memory than the limits allow.

    Args:
        model: Model whose shapes are inferred.

    Raises:
        LimitError: With the node that makes the tensor.
    """
    for node in all_nodes(model.graph):
        for value in node.outputs:
            if value.shape is not None and value.dtype is not None and value.shape.is_static():
                bits = 64 if value.dtype == ir.DataType.STRING else value.dtype.bitwidth
                refuse_bytes(math.prod(value.shape.numpy()) * bits // 8, label(node))


def refuse_bytes(needed: int, where: str) -> None:
    """Refuses something that would take more bytes than the limits allow.

    Raises:
        LimitError: It would.
    """
    allowed = current_limits().memory
    if needed > allowed:
        raise LimitError(
            "it takes more memory than the limit",
            node=where,
            got=f"{needed:,} bytes",
            expected=f"{allowed:,} at most",
            hint="raise it by ANYBIT_MEMORY or anybit.limits if the model is to be trusted",
        )
