"""check: everything that is wrong with a model, at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from anybit.analysis.annotation_rules import annotation_findings
from anybit.arguments import checked
from anybit.errors import Finding, Severity
from anybit.io.functions import INLINING_ERRORS
from anybit.io.load import ModelSource, load, read
from anybit.io.normalize import ORDER
from anybit.io.shapes import FalseStatement, infer_shapes
from anybit.io.structure import opset_finding, structure_findings
from anybit.ops.broken import error_of
from anybit.ops.nodes import findings_of, label, newest_opset, operator_of, standard_schema
from anybit.ops.operator import DOMAIN
from anybit.ops.registry import operators
from anybit.ops.standard.checks.registry import findings_of_standard

_FOREIGN_DOMAINS = ("ai.onnx.ml", "ai.onnx.training", "com.microsoft")  # an operator that is not known here may exist
UNKNOWN_OPERATOR = "operator"
"""Rule of the findings about operators that nothing here knows."""
_OLDEST_OPSET = 7  # before it, broadcasting was an attribute and BatchNormalization had other inputs


@checked
def check(model: ModelSource) -> tuple[Finding, ...]:
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
        return reading.findings
    inference = infer_shapes(checked, data_propagation=True)
    order: tuple[Finding, ...] = checked.meta.get(ORDER, ())
    false = map(_false_statement, inference.false)
    return (*findings_of_model(checked), *order, *false, *_shapes(checked.graph))


def require_sound(model: ir.Model) -> None:
    """Raises the first error that `check` finds in a model, but for unknown operators.

    Every function that writes a model begins with it: what is built on a broken model looks sound and is not. An
    operator that nothing here knows is kept as it is, and refused only where its meaning is needed.

    Args:
        model: Loaded model whose shapes were inferred.

    Raises:
        InvalidModelError: With node, what is there and what should be.
    """
    for finding in findings_of_model(model):
        if finding.severity is Severity.ERROR and finding.rule != UNKNOWN_OPERATOR:
            raise error_of(finding)


def sound_copy(model: ModelSource) -> ir.Model:
    """A copy of a model with the types and shapes that follow from its inputs.

    Raises:
        InvalidModelError: `check` finds an error other than an unknown operator.
    """
    copy = load(model)
    infer_shapes(copy, data_propagation=True)
    require_sound(copy)
    return copy


def findings_of_model(model: ir.Model) -> Iterator[Finding]:
    """What is wrong with a loaded model whose shapes were inferred: one rule after the other."""
    functions = set(model.functions)
    yield from _opsets(model)
    yield from structure_findings(model)
    for graph in (model.graph, *(f.graph for f in model.functions.values())):
        yield from _node_names(graph)
    for node in model.graph.all_nodes():
        yield from _node(node, model.opset_imports, functions)
    inside = [
        finding
        for function in model.functions.values()
        for node in function.all_nodes()
        for finding in _node(node, {**model.opset_imports, **function.opset_imports}, functions)
    ]
    yield from (*inside, *_called(model, inside))
    yield from annotation_findings(model)


def _called(model: ir.Model, known: Iterable[Finding]) -> Iterator[Finding]:
    """What is wrong with the nodes of functions for the tensors and attributes that their calls give them."""
    opset = model.opset_imports.get("")
    if not model.functions or any(f.opset_imports.get("", opset) != opset for f in model.functions.values()):
        return
    try:
        copy = model.clone()
        own = set(copy.graph.all_nodes())
        InlinePass()(copy)
    except (*INLINING_ERRORS, RuntimeError):
        return  # a tensor that nothing makes, or a function that cannot be inlined
    infer_shapes(copy, data_propagation=True)
    told = {replace(f, node="") for f in known}
    for node in copy.graph.all_nodes():
        found = () if node in own else _node(node, copy.opset_imports, ())
        yield from (f for f in found if replace(f, node="") not in told)


def _opsets(model: ir.Model) -> Iterator[Finding]:
    version = model.opset_imports.get("")
    if version is not None and 1 <= version < _OLDEST_OPSET:
        yield opset_finding(version, oldest=_OLDEST_OPSET)
    newest = max(o.since for o in operators() if o.domain == DOMAIN)
    own = model.opset_imports.get(DOMAIN)
    if own is not None and not 1 <= own <= newest:
        yield Finding(
            rule="opset", problem=f"version of {DOMAIN}", got=str(own), expected=f"1 .. {newest}", hint="upgrade anybit"
        )


def _node_names(graph: ir.Graph) -> Iterator[Finding]:
    names = set[str]()
    for node in graph:
        if node.name and node.name in names:
            yield Finding(
                rule="node-name", problem="another node has the same name", node=label(node), severity=Severity.WARNING
            )
        names |= {node.name} if node.name else set()


def _node(node: ir.Node, imports: dict[str, int], functions: Iterable[ir.OperatorIdentifier]) -> Iterable[Finding]:
    if node.op_identifier() in functions:
        return ()
    if node.domain == "":
        return _standard(node, imports)
    if node.domain in _FOREIGN_DOMAINS:
        return findings_of_standard(node, imports)
    operator = operator_of(node, imports)
    if operator is None:
        return (_unknown(node, f"{node.domain}::{node.op_type} version {imports.get(node.domain, 1)}"),)
    return findings_of(node, operator)


def _unknown(node: ir.Node, got: str) -> Finding:
    return Finding(
        rule=UNKNOWN_OPERATOR,
        problem="unknown operator",
        node=label(node),
        got=got,
        hint="register it as an anybit.Operator if it is yours",
    )


def _standard(node: ir.Node, imports: dict[str, int]) -> Iterable[Finding]:
    opset = imports.get("", 1)
    if not _OLDEST_OPSET <= opset <= newest_opset():
        return ()
    if standard_schema(node.op_type, opset) is None:
        return (_unknown(node, f"{node.op_type} of opset {opset}"),)
    return findings_of_standard(node, imports)


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
