"""evaluate_node: one node on known inputs, by its reference, whatever its domain; known_value: a tensor so computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from anybit.errors import UnsupportedError
from anybit.ops.constants import constant
from anybit.ops.operator import Array
from anybit.ops.registry import find_operator
from anybit.ops.standard.kernels import compile_node

EVALUATION_ERRORS = (ValueError, TypeError, IndexError, KeyError, RuntimeError, AttributeError, ZeroDivisionError)
"""What the references make of inputs that contradict each other."""

_RANDOM = frozenset("Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike".split())


def evaluate_node(
    node: ir.Node, inputs: Sequence[Array | None], opset_imports: Mapping[str, int]
) -> tuple[Array, ...] | None:
    """The node's outputs for these inputs.

    Returns:
        None where the node has no reference, or no one value: it is random, has subgraphs or a function's parameters.

    Raises:
        EVALUATION_ERRORS: The inputs do not fit the operator.
    """
    if any(a.is_ref() or a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in node.attributes.values()):
        return None
    if node.domain == "":
        if node.op_type in _RANDOM:
            return None
        try:
            return tuple(np.asarray(a) for a in compile_node(node, opset_imports[""])(inputs))
        except UnsupportedError:
            return None
    operator = find_operator(node.domain, node.op_type, opset_imports.get(node.domain, 1))
    if operator is None or any(a is None for a in inputs):
        return None
    attributes = {name: a.value for name, a in node.attributes.items()}
    return (operator.evaluate([a for a in inputs if a is not None], attributes),)


def known_value(value: ir.Value | None, opset_imports: Mapping[str, int]) -> Array | None:
    """The tensor, computed from initializers as far back as needed; None if it depends on an input of the model."""
    array = constant(value)
    node = None if value is None else value.producer()
    if array is not None or node is None or node.op_type == "Constant":
        return array
    inputs = [known_value(v, opset_imports) for v in node.inputs]
    if any(a is None for a, v in zip(inputs, node.inputs, strict=True) if v is not None):
        return None
    try:
        results = evaluate_node(node, inputs, opset_imports)
    except EVALUATION_ERRORS:
        return None  # `check` says what is wrong with it
    return None if results is None else results[node.outputs.index(value)]
