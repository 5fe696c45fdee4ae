"""A node as a call of one of our operators, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx_ir as ir

from anybit.errors import Finding, Severity
from anybit.graph.attributes import KINDS, AttributeValue, is_of_kind, value_of
from anybit.graph.constants import constant
from anybit.graph.walk import element_name, label, shape_of
from anybit.ops.operator import Call, Operator
from anybit.ops.registry import find_operator
from anybit.ops.traits import NO_TRAITS, STANDARD, Traits


def operator_of(node: ir.Node, opset_imports: Mapping[str, int]) -> Operator | None:
    """The record that gives the node its meaning, None for a standard or unknown operator."""
    return None if node.domain == "" else find_operator(node.domain, node.op_type, opset_imports.get(node.domain, 1))


def is_call(node: ir.Node, *operators: Operator) -> bool:
    """Whether a node is a call of one of our operators, of whatever version."""
    return any(node.domain == o.domain and node.op_type in (o.name, *o.aliases) for o in operators)


def traits_of(node: ir.Node, opset_imports: Mapping[str, int]) -> Traits:
    """What the operator of a node is like; of an unknown operator nothing is claimed."""
    if node.domain == "":
        return STANDARD.get(node.op_type, NO_TRAITS)
    operator = operator_of(node, opset_imports)
    return NO_TRAITS if operator is None else operator.traits


def call_of(node: ir.Node, operator: Operator) -> Call:
    """The node as the rules of its operator see it. Attributes of the wrong type take their defaults."""
    attributes: dict[str, AttributeValue] = {}
    for formal in operator.attributes:
        given = node.attributes.get(formal.name)
        kind = KINDS[formal.kind]
        usable = given is not None and not given.is_ref() and is_of_kind(given, kind)
        default = kind.empty if formal.default is None else formal.default
        attributes[formal.name] = value_of(given) if given is not None and usable else default
    pairs = [(f.name, v) for f, v in zip(operator.inputs, node.inputs, strict=False) if v is not None]
    return Call(
        node=label(node),
        attributes=attributes,
        constants={name: array for name, v in pairs if (array := constant(v)) is not None},
        shapes={name: shape for name, v in pairs if (shape := shape_of(v)) is not None},
    )


def findings_of(node: ir.Node, operator: Operator) -> Iterator[Finding]:
    """Everything that is wrong with a call of one of our operators: inputs, attributes, the operator's own rules."""
    yield from form_findings(node, operator)
    yield from _element_types(node, operator)
    yield from _unknown_attributes(node, operator)
    yield from operator.check(call_of(node, operator))


def form_findings(node: ir.Node, operator: Operator) -> Iterator[Finding]:
    """What of a call of one of our operators is missing, too many or of another kind: inputs, outputs, attributes."""
    expected = ", ".join(i.name for i in operator.inputs)
    least, most = sum(not i.optional for i in operator.inputs), len(operator.inputs)
    if not least <= len(node.inputs) <= most:
        yield Finding(
            rule="inputs",
            problem="number of inputs",
            node=label(node),
            got=str(len(node.inputs)),
            expected=f"{most if least == most else f'{least} .. {most}'}: {expected}",
        )
    made = len(operator.outputs)
    if not 1 <= len(node.outputs) <= made:
        yield Finding(
            rule="outputs",
            problem="number of outputs",
            node=label(node),
            got=str(len(node.outputs)),
            expected="1" if made == 1 else f"1 .. {made}: {', '.join(operator.outputs)}",
        )
    for formal, value in zip(operator.inputs, node.inputs, strict=False):
        if value is None and not formal.optional:
            yield Finding(rule="inputs", problem=f"input {formal.name} is missing", node=label(node), expected=expected)
    for formal in operator.attributes:
        attribute = node.attributes.get(formal.name)
        if attribute is None and formal.default is None:
            yield Finding(rule="attribute", problem=f"attribute '{formal.name}' is missing", node=label(node))
        elif attribute is not None and not attribute.is_ref() and not is_of_kind(attribute, KINDS[formal.kind]):
            yield Finding(
                rule="attribute",
                problem=f"type of attribute '{formal.name}'",
                node=label(node),
                got=attribute.type.name,
                expected=KINDS[formal.kind].name,
            )


def _element_types(node: ir.Node, operator: Operator) -> Iterator[Finding]:
    for formal, value in zip(operator.inputs, node.inputs, strict=False):
        kind = None if value is None or value.dtype is None else element_name(value.dtype)
        if kind is not None and f"tensor({kind})" not in formal.types.value:
            yield Finding(
                rule="element-type",
                problem=f"type of {formal.name}",
                node=label(node),
                got=kind,
                expected=", ".join(t.removeprefix("tensor(").rstrip(")") for t in formal.types.value),
            )


def _unknown_attributes(node: ir.Node, operator: Operator) -> Iterator[Finding]:
    known = [a.name for a in operator.attributes]
    for name in node.attributes:
        if name not in known:
            yield Finding(
                rule="attribute",
                problem=f"unknown attribute '{name}'",
                node=label(node),
                expected=", ".join(known) or "no attributes",
                severity=Severity.WARNING,
            )
