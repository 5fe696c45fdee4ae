"""check: everything that is wrong with a model, at once."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from anybit.arguments import checked
from anybit.errors import Finding, Severity
from anybit.graph.walk import label
from anybit.io.checks.model import findings_of_model
from anybit.io.load import ModelSource, read
from anybit.io.repair.normalize import ORDER
from anybit.io.shapes import FalseStatement, infer_shapes
from anybit.records import Records


@checked
def check(model: ModelSource) -> Records[Finding]:
    """All findings, in the order of the graph; none means that every node has a meaning.

    Of a model that cannot be read, because a name stands twice or data is missing, these reasons are all that is found.

    Rules: structure of the graph, opsets, operators and their versions, attributes, number and types of inputs,
    and for our operators bit widths, scales, zero points, broadcasting and rounding modes.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model``; it is not changed.

    Raises:
        ModelFileError: The source is no ONNX model at all.
    """
    reading = read(model)
    checked = reading.model
    if checked is None:
        return Records(reading.findings)
    inference = infer_shapes(checked, data_propagation=True)
    order: tuple[Finding, ...] = checked.meta.get(ORDER, ())
    false = map(_false_statement, inference.false)
    return Records((*findings_of_model(checked), *order, *false, *_shapes(checked.graph)))


def _false_statement(statement: FalseStatement) -> Finding:
    return Finding(
        rule="shape" if statement.what == "shape" else "element-type",
        problem=f"the file states a {statement.what} that the operators contradict",
        node=f"tensor '{statement.value.name}'",
        got=statement.stated,
        expected=statement.true,
        severity=Severity.WARNING,
    )


def _shapes(graph: ir.Graph) -> Iterator[Finding]:
    """Where shape inference gave up: nodes whose output has no shape although all of their inputs have one."""
    for value in graph.inputs:
        if value.shape is None:
            yield _shapeless(f"input '{value.name}'", "state the input's shape in the model")
    for node in graph:
        if all(v is None or v.shape is not None for v in node.inputs) and any(o.shape is None for o in node.outputs):
            yield _shapeless(label(node), "it is computed at run time, or its inputs contradict each other")


def _shapeless(where: str, hint: str) -> Finding:
    return Finding(rule="shape", problem="shape is not known", node=where, hint=hint, severity=Severity.WARNING)
