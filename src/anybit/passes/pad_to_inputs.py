"""PadToInputs: amounts and value of a Pad as inputs, the form since opset 11."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.errors import Finding, Severity
from anybit.ops.constants import new_initializer
from anybit.ops.names import Names
from anybit.ops.nodes import label
from anybit.ops.operator import Array
from anybit.passes.notes import note

_SINCE = 11
_ATTRIBUTES = ("pads", "paddings", "value")


@dataclass(frozen=True)
class PadToInputs(ir.passes.InPlacePass):
    """Turns the attributes of Pad nodes into inputs, where a model of opset 11 or later still has the old form.

    Before: ``y = Pad(x, pads=[0,1,0,1], value=2.0)``; after: ``y = Pad(x, [0,1,0,1], 2.0)``. At an older opset the
    attributes are the only form: convert the opset instead.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        opset = model.opset_imports.get("", 1)
        names = Names.of_tensors(model)
        modified = False
        for node in (n for n in model.graph.all_nodes() if _has_attributes(n)):
            problem = _obstacle(node, opset)
            if problem is None:
                _rewrite(model.graph, node, names)
                modified = True
            else:
                note(model, problem)
        for node in (n for f in model.functions.values() for n in f.all_nodes() if _has_attributes(n)):
            note(model, _finding(node, "it is inside a function, which holds no constants", "inline the function"))
        return ir.passes.PassResult(model, modified)


def _has_attributes(node: ir.Node) -> bool:
    return node.op_type == "Pad" and node.domain == "" and any(name in node.attributes for name in _ATTRIBUTES)


def _finding(node: ir.Node, problem: str, hint: str, *, got: str = "", expected: str = "") -> Finding:
    return Finding(
        rule="pad-to-inputs",
        problem=problem,
        node=label(node),
        got=got,
        expected=expected,
        hint=hint,
        severity=Severity.WARNING,
    )


def _obstacle(node: ir.Node, opset: int) -> Finding | None:
    if opset < _SINCE:
        return _finding(
            node,
            "attributes are the only form",
            "convert the opset",
            got=f"opset {opset}",
            expected=f"{_SINCE} or later",
        )
    if any(node.attributes[name].is_ref() for name in _ATTRIBUTES if name in node.attributes):
        return _finding(node, "an attribute is a parameter of a function", "inline the function")
    if len(node.inputs) > 1 or not any(name in node.attributes for name in ("pads", "paddings")):
        return _finding(node, "amounts are given twice, or not at all", "keep either the inputs or the attributes")
    value = _value(node)
    if value is None and "value" in node.attributes:
        dtype = node.inputs[0].dtype if node.inputs[0] is not None else None
        got = f"{node.attributes['value'].value} in {'an unknown type' if dtype is None else dtype.name}"
        return _finding(node, "the value has no exact form in the type of the input", "infer shapes first", got=got)
    return None


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


def _rewrite(graph: ir.Graph, node: ir.Node, names: Names) -> None:
    amounts = node.attributes["pads" if "pads" in node.attributes else "paddings"].as_ints()
    prefix = node.outputs[0].name or node.name
    arrays = {"pads": np.array(amounts, np.int64), "value": _value(node)}
    given = [
        new_initializer(graph, names.fresh(f"{prefix}_{name}"), array)
        for name, array in arrays.items()
        if array is not None
    ]
    node.resize_inputs(1 + len(given))
    for index, value in enumerate(given, start=1):
        node.replace_input_with(index, value)
    for name in _ATTRIBUTES:
        node.attributes.pop(name, None)
