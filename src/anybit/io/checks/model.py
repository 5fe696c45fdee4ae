"""findings_of_model: what is wrong with a loaded model, one rule after the other; `require_sound` raises it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from anybit.errors import Finding, Severity
from anybit.graph.walk import all_nodes, label
from anybit.io.checks.annotations import annotation_findings
from anybit.io.checks.structure import opset_finding, structure_findings
from anybit.io.functions import INLINING_ERRORS
from anybit.io.load import ModelSource, load
from anybit.io.shapes import infer_shapes
from anybit.ops.broken import error_of
from anybit.ops.calls import findings_of, operator_of
from anybit.ops.operator import DOMAIN
from anybit.ops.registry import operators
from anybit.ops.standard.checks.registry import findings_of_standard
from anybit.ops.standard_schemas import newest_opset, standard_schema

_FOREIGN_DOMAINS = ("ai.onnx.ml", "ai.onnx.training", "com.microsoft")  # an operator that is not known here may exist
UNKNOWN_OPERATOR = "operator"
"""Rule of the findings about operators that nothing here knows."""
_OLDEST_OPSET = 7  # before it, broadcasting was an attribute and BatchNormalization had other inputs


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
    for node in all_nodes(model.graph):
        yield from _node(node, model.opset_imports, functions)
    inside = [
        finding
        for function in model.functions.values()
        for node in all_nodes(function)
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
        own = set(all_nodes(copy.graph))
        InlinePass()(copy)
    except (*INLINING_ERRORS, RuntimeError):
        return  # a tensor that nothing makes, or a function that cannot be inlined
    infer_shapes(copy, data_propagation=True)
    told = {replace(f, node="") for f in known}
    for node in all_nodes(copy.graph):
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
