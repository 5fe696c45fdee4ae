"""refuse_broken: the first node of a model that has no meaning, as an error."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping

import onnx_ir as ir

from anybit.errors import Finding, InvalidModelError, Severity
from anybit.graph.walk import all_nodes
from anybit.ops.calls import findings_of, form_findings, operator_of
from anybit.ops.standard.checks.registry import findings_of_standard, form_findings_of_standard
from anybit.ops.standard.checks.signature import ELEMENT_TYPES

_COVERED = "broken"
_NUMBERS = ELEMENT_TYPES | {"num_outputs"}  # attributes whose value decides, and not its kind alone
_HOLD_GRAPHS = frozenset((ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS))


def findings_of_node(node: ir.Node, opset_imports: Mapping[str, int]) -> Iterable[Finding]:
    """Everything that is wrong with a call of an operator of ours, of ONNX or of ONNX Runtime."""
    operator = operator_of(node, dict(opset_imports))
    return findings_of_standard(node, opset_imports) if operator is None else findings_of(node, operator)


def broken_calls(model: ir.Model) -> Iterator[tuple[ir.Node, Finding]]:
    """Nodes, in functions too, of whose inputs, outputs and attributes some are missing, too many or of another kind.

    All that `load` returns is without them, and what reads nodes takes that for granted.
    """
    functions = model.functions
    roots = [(model.graph, model.opset_imports), *((f.graph, f.opset_imports) for f in functions.values())]
    for root, imports in roots:
        sound = set[Hashable]()  # calls of one form need one look
        for node in all_nodes(root):
            form = _form(node)
            if form in sound or (functions and node.op_identifier() in functions):
                continue
            findings = list(_form_findings(node, imports))
            yield from ((node, finding) for finding in findings)
            if not findings:
                sound.add(form)


def cover_broken_calls(model: ir.Model) -> None:
    """Makes such nodes, in place, ones of a domain that nobody knows: all else can still be described."""
    for node, _ in list(broken_calls(model)):
        _cover(node)
        model.opset_imports[_COVERED] = 1
        for function in model.functions.values():
            function.opset_imports[_COVERED] = 1


def cover_broken(model: ir.Model) -> None:
    """The same with all nodes that have no meaning, for any reason.

    Args:
        model: Model without model-local functions, whose shapes are inferred.
    """
    for node in all_nodes(model.graph):
        if any(f.severity is Severity.ERROR for f in findings_of_node(node, model.opset_imports)):
            _cover(node)
            model.opset_imports[_COVERED] = 1


def _cover(node: ir.Node) -> None:
    node.domain = _COVERED
    node.attributes.clear()


def _form(node: ir.Node) -> Hashable:
    """What decides whether inputs, outputs and attributes are as they should be; the node itself if that is more."""
    kinds: list[Hashable] = []
    for name, attribute in node.attributes.data.items():
        kind, value = attribute.type, attribute.value
        if kind in _HOLD_GRAPHS:
            return node
        kinds += (name, kind, value if name in _NUMBERS and isinstance(value, int) else type(value))
    inputs = node.inputs
    missing = tuple([value is None for value in inputs]) if None in inputs else len(inputs)
    return node.domain, node.op_type, len(node.outputs), missing, tuple(kinds)


def _form_findings(node: ir.Node, opset_imports: dict[str, int]) -> Iterable[Finding]:
    operator = operator_of(node, opset_imports)
    return form_findings_of_standard(node, opset_imports) if operator is None else form_findings(node, operator)


def refuse_broken(model: ir.Model) -> None:
    """Raises the first error by which a node has no meaning; `check` lists them all.

    Args:
        model: Model without model-local functions, whose shapes are inferred.

    Raises:
        InvalidModelError: With the node, what is there and what should be.
    """
    for node in all_nodes(model.graph):
        for finding in findings_of_node(node, model.opset_imports):
            if finding.severity is Severity.ERROR:
                raise error_of(finding)


def error_of(finding: Finding) -> InvalidModelError:
    """A finding as the error that a function raises which cannot go on."""
    return InvalidModelError(
        finding.problem,
        node=finding.node,
        got=finding.got,
        expected=finding.expected,
        hint=finding.hint or "run `anybit check` for all findings",
    )
