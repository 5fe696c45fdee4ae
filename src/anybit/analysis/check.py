"""check: everything that is wrong with a model, at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from anybit.analysis.annotation_rules import annotation_findings
from anybit.errors import Finding, Severity
from anybit.io.load import ModelSource, load
from anybit.io.shapes import discard_false_shapes
from anybit.ops.nodes import findings_of, is_undefined, label, newest_opset, operator_of, standard_schema
from anybit.ops.operator import DOMAIN
from anybit.ops.registry import operators
from anybit.ops.standard.checks.registry import findings_of_standard
from anybit.passes.infer_shapes import InferShapes

_FOREIGN_DOMAINS = ("ai.onnx.ml", "ai.onnx.training", "com.microsoft")  # an operator that is not known here may exist
_OLDEST_OPSET = 7  # before it, broadcasting was an attribute and BatchNormalization had other inputs


def check(model: ModelSource) -> tuple[Finding, ...]:
    """All findings, in the order of the graph; none means that every node has a meaning.

    Rules: structure of the graph, opsets, operators and their versions, attributes, number and types of inputs,
    and for our operators bit widths, scales, zero points, broadcasting and rounding modes.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model``; it is not changed.

    Raises:
        ModelFileError: The model cannot be read.
    """
    checked = load(model)
    false = discard_false_shapes(checked)
    InferShapes()(checked)
    functions = set(checked.functions)
    findings = [*_opsets(checked), *_structure(checked.graph)]
    for node in checked.graph.all_nodes():
        findings += _node(node, checked.opset_imports, functions)
    inside = [
        finding
        for function in checked.functions.values()
        for node in function.all_nodes()
        for finding in _node(node, {**checked.opset_imports, **function.opset_imports}, functions)
    ]
    findings += [*inside, *_called(checked, inside)]
    findings += annotation_findings(checked)
    findings += [_false_shape(*f) for f in false]
    findings += _shapes(checked.graph)
    findings += _cycles(checked.graph)
    return tuple(findings)


def _called(model: ir.Model, known: Iterable[Finding]) -> Iterator[Finding]:
    """What is wrong with the nodes of functions for the tensors and attributes that their calls give them."""
    opset = model.opset_imports.get("")
    if not model.functions or any(f.opset_imports.get("", opset) != opset for f in model.functions.values()):
        return
    copy = model.clone()
    own = set(copy.graph.all_nodes())
    try:
        InlinePass()(copy)
    except (ir.passes.PassError, ir.passes.PreconditionError):
        return  # a function that calls itself
    InferShapes()(copy)
    told = {replace(f, node="") for f in known}
    for node in copy.graph.all_nodes():
        found = () if node in own else _node(node, copy.opset_imports, ())
        yield from (f for f in found if replace(f, node="") not in told)


def _opsets(model: ir.Model) -> Iterator[Finding]:
    version = model.opset_imports.get("")
    if version is not None and not _OLDEST_OPSET <= version <= newest_opset():
        yield Finding(
            rule="opset",
            problem="opset of the standard operators",
            got=str(version),
            expected=f"{_OLDEST_OPSET} .. {newest_opset()}",
            hint="export the model at opset 13 to 21, or upgrade onnx",
        )
    newest = max(o.since for o in operators() if o.domain == DOMAIN)
    own = model.opset_imports.get(DOMAIN)
    if own is not None and not 1 <= own <= newest:
        yield Finding(
            rule="opset", problem=f"version of {DOMAIN}", got=str(own), expected=f"1 .. {newest}", hint="upgrade anybit"
        )


def _structure(graph: ir.Graph) -> Iterator[Finding]:
    names: dict[str, ir.Node] = {}
    seen: set[ir.Value] = set(graph.inputs) | set(graph.initializers.values())
    for node in graph:
        for value in node.inputs:
            if value is None or value in seen:
                continue
            if is_undefined(value):
                yield Finding(rule="undefined", problem=f"input '{value.name}' comes from nowhere", node=label(node))
            else:
                yield Finding(
                    rule="order",
                    problem=f"input '{value.name}' is made later",
                    node=label(node),
                    severity=Severity.WARNING,
                    hint="sort the graph topologically",
                )
        seen.update(node.outputs)
        if node.name and node.name in names:
            yield Finding(
                rule="node-name", problem="another node has the same name", node=label(node), severity=Severity.WARNING
            )
        names[node.name or ""] = node
    for output in graph.outputs:
        if output not in seen:
            yield Finding(rule="undefined", problem="a graph output comes from nowhere", node=f"output '{output.name}'")


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
        rule="operator",
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


def _false_shape(value: ir.Value, stated: ir.Shape, true: ir.Shape) -> Finding:
    return Finding(
        rule="shape",
        problem="the file states a shape that the operators contradict",
        node=f"tensor '{value.name}'",
        got=str(stated),
        expected=str(true),
        severity=Severity.WARNING,
    )


def _cycles(graph: ir.Graph) -> Iterator[Finding]:
    try:
        graph.sort()
    except ValueError:
        yield Finding(rule="cycle", problem="the graph has a cycle", node=f"graph '{graph.name}'")


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
