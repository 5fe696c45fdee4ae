"""Pad with its amounts and its value as attributes, the form before opset 11, and as inputs, the form since then."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.errors import Finding, Severity
from anybit.graph.walk import label

_SINCE = 11
_ATTRIBUTES = {"pads": ir.AttributeType.INTS, "paddings": ir.AttributeType.INTS, "value": ir.AttributeType.FLOAT}


def has_pad_attributes(node: ir.Node) -> bool:
    """Whether a node is a Pad with attributes that are inputs since opset 11."""
    return node.op_type == "Pad" and node.domain == "" and any(name in node.attributes for name in _ATTRIBUTES)


def pad_obstacle(node: ir.Node, opset: int) -> Finding | None:
    """Why the attributes of such a node cannot become inputs; None where they can."""
    if opset < _SINCE:
        return pad_finding(
            node,
            "attributes are the only form",
            "convert the opset",
            got=f"opset {opset}",
            expected=f"{_SINCE} or later",
        )
    given = [node.attributes[name] for name in _ATTRIBUTES if name in node.attributes]
    if any(a.is_ref() for a in given):
        return pad_finding(node, "an attribute is a parameter of a function", "inline the function")
    if any(a.type != _ATTRIBUTES[a.name] for a in given):
        return pad_finding(node, "an attribute is of another kind", "give lists of integers, and a number as value")
    if len(node.inputs) != 1 or not any(name in node.attributes for name in ("pads", "paddings")):
        return pad_finding(node, "amounts are given twice, or not at all", "keep either the inputs or the attributes")
    value = _value(node)
    if value is None and "value" in node.attributes:
        dtype = node.inputs[0].dtype if node.inputs[0] is not None else None
        got = f"{node.attributes['value'].value} in {'an unknown type' if dtype is None else dtype.name}"
        return pad_finding(node, "the value has no exact form in the type of the input", "infer shapes first", got=got)
    return None


def pad_finding(node: ir.Node, problem: str, hint: str, *, got: str = "", expected: str = "") -> Finding:
    """The warning that the attributes of a Pad cannot become inputs."""
    return Finding(
        rule="pad-to-inputs",
        problem=problem,
        node=label(node),
        got=got,
        expected=expected,
        hint=hint,
        severity=Severity.WARNING,
    )


def pads_to_inputs(node: ir.Node, constant: Callable[[str, Array], ir.Value]) -> None:
    """Turns the attributes of a node without an obstacle into inputs.

    Args:
        node: A Pad.
        constant: Makes a constant that the node can read, of a wished name.
    """
    amounts = node.attributes["pads" if "pads" in node.attributes else "paddings"].as_ints()
    prefix = node.outputs[0].name or node.name
    arrays = {"pads": np.array(amounts, np.int64), "value": _value(node)}
    given = [constant(f"{prefix}_{name}", array) for name, array in arrays.items() if array is not None]
    node.resize_inputs(1 + len(given))
    for index, value in enumerate(given, start=1):
        node.replace_input_with(index, value)
    for name in _ATTRIBUTES:
        node.attributes.pop(name, None)


def _value(node: ir.Node) -> Array | None:
    """The value in the type of the padded tensor; None where it has none, or the type is not known."""
    padded = node.inputs[0]
    if "value" not in node.attributes or padded is None or padded.dtype is None:
        return None
    if not (padded.dtype.is_floating_point() or padded.dtype.is_integer()):
        return None
    number = float(node.attributes["value"].value)
    with np.errstate(invalid="ignore", over="ignore"):
        array = np.asarray(number).astype(padded.dtype.numpy())
    exact = np.array_equal(array.astype(np.float64), number, equal_nan=True)
    return array if exact or padded.dtype == ir.DataType.FLOAT else None
