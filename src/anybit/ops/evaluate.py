"""evaluate_node: one node on known inputs, by its reference, whatever its domain; known_value: a tensor so computed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.budget import current_limits
from anybit.errors import UnsupportedError
from anybit.graph.attributes import values_of_attributes
from anybit.graph.constants import constant
from anybit.ops.registry import find_operator
from anybit.ops.sizes import ELEMENT_BYTES, required_elements
from anybit.ops.standard.kernels import Kernel, compile_node
from anybit.ops.traits import NO_TRAITS, STANDARD

EVALUATION_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    MemoryError,
    NameError,
    RuntimeError,
    TypeError,
    ValueError,
    re.error,
)
"""What the references, onnx's among them, make of inputs and attributes that contradict each other."""

_LARGEST_CONE = 64  # nodes between initializers and a tensor that is computed from them

_LARGEST_VALUE = 1 << 28  # elements of each of them


def compiled(node: ir.Node, opset_imports: Mapping[str, int]) -> Kernel | None:
    """What computes the node's outputs from its inputs, None for one left out; it may raise EVALUATION_ERRORS.

    Returns:
        None where the node has no reference, or no one value: it is random, has subgraphs or a function's parameters.
    """
    if any(a.is_ref() or a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in node.attributes.values()):
        return None
    if node.domain == "":
        try:
            return None if STANDARD.get(node.op_type, NO_TRAITS).random else compile_node(node, opset_imports[""])
        except UnsupportedError:
            return None
    operator = find_operator(node.domain, node.op_type, opset_imports.get(node.domain, 1))
    if operator is None:
        return None
    attributes = values_of_attributes(node)

    def run(inputs: Sequence[Array | None]) -> tuple[Array, ...]:
        given = [a for a in inputs if a is not None]
        if len(given) < len(inputs):
            raise ValueError("an input is left out")
        results = operator.results(given, attributes)
        return tuple(np.asarray(r) for r in results[: len(node.outputs)])

    return run


def evaluate_node(
    node: ir.Node, inputs: Sequence[Array | None], opset_imports: Mapping[str, int], *, most: int | None = None
) -> tuple[Array, ...] | None:
    """The node's outputs for these inputs, None where it has none (see `compiled`) or where one is no tensor.

    Nor has it any where they would take more memory than the limits allow, or hold more than `most` elements.

    Raises:
        EVALUATION_ERRORS: The inputs do not fit the operator.
    """
    elements = required_elements(node, inputs)
    if (most is not None and elements > most) or elements * ELEMENT_BYTES > current_limits().memory:
        return None
    kernel = compiled(node, opset_imports)
    try:
        results = () if kernel is None else kernel(inputs)
    except UnsupportedError:
        return None
    arrays = tuple(a for a in results if isinstance(a, np.ndarray))
    return arrays if arrays and len(arrays) == len(results) else None


def known_value(value: ir.Value | None, opset_imports: Mapping[str, int]) -> Array | None:
    """The tensor, computed from initializers by a few nodes; None if it depends on an input, or on many nodes."""
    array = constant(value)
    if value is None or array is not None:
        return array
    known: dict[ir.Value, Array] = {}
    for node in _cone(value) or ():
        inputs = [None if v is None else known[v] if v in known else constant(v) for v in node.inputs]
        try:
            results = evaluate_node(node, inputs, opset_imports, most=_LARGEST_VALUE)
        except EVALUATION_ERRORS:
            return None  # `check` says what is wrong with it
        if results is None:
            return None
        known.update(zip(node.outputs, results, strict=True))
    return known.get(value)


def _cone(value: ir.Value) -> list[ir.Node] | None:
    """The nodes that make the value from initializers, in order; None if there is an input among their sources."""
    order: dict[ir.Node, None] = {}
    waiting = [value]
    while waiting:
        node = waiting[-1].producer()
        if node is None or len(order) + len(waiting) > _LARGEST_CONE:
            return None
        missing = [v for v in node.inputs if v is not None and v.producer() not in order and constant(v) is None]
        if missing:
            waiting += missing
            continue
        order[node] = None
        waiting.pop()
    return list(order)
