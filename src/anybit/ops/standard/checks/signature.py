"""Signature: what the schema of an operator says, and the findings about calls that depart from it.

Number, presence and element types of inputs and outputs; names and types of attributes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from numbers import Integral, Real
from typing import Any

import onnx
import onnx_ir as ir
from onnx.defs import OpSchema

from anybit.errors import Finding
from anybit.graph.walk import element_type, label, numbered_type
from anybit.ops.standard_schemas import standard_schema


@dataclass(frozen=True)
class Formal:
    """One formal input or output; those with the same `parameter` have the same element type in a call."""

    name: str
    types: frozenset[str]
    parameter: str
    required: bool


@dataclass(frozen=True)
class FormalAttribute:
    """One attribute of an operator; the default is None where there is none."""

    kind: str
    required: bool
    default: Any


@dataclass(frozen=True)
class Signature:
    """What a schema says of one version of an operator.

    Attributes:
        version: The version, as messages name it.
        inputs: Formal inputs; the last may stand for any number.
        outputs: Formal outputs, likewise.
        input_counts: Fewest and most inputs.
        output_counts: Fewest and most outputs.
        attributes: Attributes by name.
    """

    version: str
    inputs: tuple[Formal, ...]
    outputs: tuple[Formal, ...]
    input_counts: tuple[int, int]
    output_counts: tuple[int, int]
    attributes: Mapping[str, FormalAttribute]

    def types_of(self, name: str) -> frozenset[str]:
        """The element types that the formal input or output of this name takes."""
        return next(f.types for f in (*self.inputs, *self.outputs) if f.name == name)


def signature_of(schema: OpSchema, version: str) -> Signature:
    """The signature that an onnx schema states."""
    return Signature(
        version=version,
        inputs=tuple(map(_formal, schema.inputs)),
        outputs=tuple(map(_formal, schema.outputs)),
        input_counts=(schema.min_input, schema.max_input),
        output_counts=(schema.min_output, schema.max_output),
        attributes={name: _formal_attribute(a) for name, a in schema.attributes.items()},
    )


@cache
def standard_signature(op_type: str, opset: int) -> Signature | None:
    """The signature of a standard operator at this opset, None if there was no such operator then."""
    schema = standard_schema(op_type, opset)
    return None if schema is None else signature_of(schema, f"opset {opset}")


@cache
def standard_signatures(op_type: str) -> tuple[Signature, ...]:
    """The signatures of all versions of a standard operator, the newest first."""
    schemas = [s for s in _all_schemas() if s.name == op_type]
    ordered = sorted(schemas, key=lambda s: s.since_version, reverse=True)
    return tuple(signature_of(s, f"opset {s.since_version}") for s in ordered)


@cache
def _all_schemas() -> tuple[OpSchema, ...]:
    return tuple(s for s in onnx.defs.get_all_schemas_with_history() if not s.domain and not s.deprecated)


def _formal(parameter: OpSchema.FormalParameter) -> Formal:
    mixed = parameter.option == OpSchema.FormalParameterOption.Variadic and not parameter.is_homogeneous
    types = frozenset(t.removeprefix("tensor(").removesuffix(")") for t in parameter.types)
    required = parameter.option != OpSchema.FormalParameterOption.Optional
    return Formal(parameter.name, types, "" if mixed else parameter.type_str, required)


def _formal_attribute(attribute: OpSchema.Attribute) -> FormalAttribute:
    default = attribute.default_value
    value = onnx.helper.get_attribute_value(default) if default.type else None
    return FormalAttribute(
        str(attribute.type).rpartition(".")[2],
        attribute.required,
        value.decode() if isinstance(value, bytes) else value,
    )


def signature_findings(node: ir.Node, signature: Signature) -> Iterator[Finding]:
    """How a call departs from the signature of its operator."""
    yield from form_findings(node, signature)
    yield from _unknown_attributes(node, signature)
    yield from _element_types(node, signature)


def form_findings(node: ir.Node, signature: Signature) -> Iterator[Finding]:
    """Inputs, outputs and attributes that are missing, too many or of another kind."""
    yield from _counts(node, signature)
    yield from _attributes(node, signature)


def paired(
    formals: Sequence[Formal], values: Sequence[ir.Value | None]
) -> Iterator[tuple[str, Formal, ir.Value | None]]:
    """Each actual input or output with its formal one, and its name: `inputs[2]` where the last formal repeats."""
    last = len(formals) - 1
    for position, value in enumerate(values):
        if formals and (position < last or len(values) <= len(formals)):
            yield formals[position].name, formals[position], value
        elif formals:
            yield f"{formals[last].name}[{position - last}]", formals[last], value


def _counts(node: ir.Node, signature: Signature) -> Iterator[Finding]:
    for rule, values, (fewest, most) in (
        ("inputs", node.inputs, signature.input_counts),
        ("outputs", node.outputs, signature.output_counts),
    ):
        if not fewest <= len(values) <= most:
            yield Finding(
                rule=rule,
                problem=f"number of {rule}",
                node=label(node),
                got=str(len(values)),
                expected=f"{fewest} .. {most}",
            )
    for name, formal, value in paired(signature.inputs, node.inputs):
        if value is None and formal.required:
            yield Finding(
                rule="inputs",
                problem=f"input {name} is missing",
                node=label(node),
                expected=", ".join(f.name for f in signature.inputs if f.required),
            )


def _attributes(node: ir.Node, signature: Signature) -> Iterator[Finding]:
    for name, attribute in node.attributes.items():
        known = signature.attributes.get(name)
        if known is None:
            continue
        if not _is_kind(attribute, known.kind):
            yield _wrong_kind(node, attribute, known.kind)
        elif name in ELEMENT_TYPES and known.kind == "INT" and not attribute.is_ref():
            yield from _element_type(node, attribute)
    for name, known in signature.attributes.items():
        if known.required and name not in node.attributes:
            yield Finding(rule="attribute", problem=f"attribute '{name}' is missing", node=label(node))


def foreign_attributes(node: ir.Node, signature: Signature) -> Iterator[Finding]:
    """Attributes of a standard operator that only other versions have, of a kind that none of them gives them."""
    for name, attribute in node.attributes.items():
        if name in signature.attributes:
            continue
        kinds = {s.attributes[name].kind for s in standard_signatures(node.op_type) if name in s.attributes}
        if kinds and not any(_is_kind(attribute, kind) for kind in kinds):
            yield _wrong_kind(node, attribute, " or ".join(sorted(kinds)))


def _wrong_kind(node: ir.Node, attribute: ir.Attr, expected: str) -> Finding:
    return Finding(
        rule="attribute",
        problem=f"type of attribute '{attribute.name}'",
        node=label(node),
        got=attribute.type.name,
        expected=expected,
    )


def _element_type(node: ir.Node, attribute: ir.Attr) -> Iterator[Finding]:
    number = attribute.as_int()
    if numbered_type(number) is None or (number == ir.DataType.UNDEFINED and attribute.name in ("dtype", "to")):
        yield Finding(
            rule="attribute",
            problem=f"attribute '{attribute.name}'",
            node=label(node),
            got=str(number),
            expected="the number of an element type",
        )


ELEMENT_TYPES = frozenset(("dtype", "output_datatype", "output_dtype", "precision", "stash_type", "to"))
"""Attributes that name an element type by its number."""
_VALUES: Mapping[str, tuple[type, ...]] = {  # the usual type first: to ask for an abstract one takes its time
    "INT": (int, Integral),
    "INTS": (int, Integral),
    "FLOAT": (float, Real),
    "FLOATS": (float, Real),
    "STRING": (str,),
    "STRINGS": (str,),
}


def _is_kind(attribute: ir.Attr, kind: str) -> bool:
    """Whether an attribute is of a kind, and holds values of it: one made in memory, or text that is none, may not."""
    if attribute.type.name != kind:
        return False
    expected = _VALUES.get(kind)
    if expected is None or attribute.is_ref():
        return True
    values: Any = attribute.value if kind in ("INTS", "FLOATS", "STRINGS") else (attribute.value,)
    return isinstance(values, tuple | list) and all(issubclass(t, expected) for t in set(map(type, values)))


def _unknown_attributes(node: ir.Node, signature: Signature) -> Iterator[Finding]:
    for name in node.attributes:
        if name not in signature.attributes:
            yield Finding(
                rule="attribute",
                problem=f"attribute '{name}' is not defined at {signature.version}",
                node=label(node),
                expected=", ".join(signature.attributes) or "no attributes",
            )


def _element_types(node: ir.Node, signature: Signature) -> Iterator[Finding]:
    bound: dict[str, tuple[str, str]] = {}
    for name, formal, value in (
        *paired(signature.inputs, node.inputs),
        *paired(signature.outputs, node.outputs),
    ):
        kind = None if value is None else element_type(value)
        if kind is None:
            continue
        if kind not in formal.types:
            yield Finding(
                rule="element-type",
                problem=f"type of {name}",
                node=label(node),
                got=kind,
                expected=", ".join(sorted(formal.types)),
                hint=f"these are the types at {signature.version}",
            )
            continue
        first, other = bound.setdefault(formal.parameter, (name, kind)) if formal.parameter else (name, kind)
        if kind != other:
            yield Finding(
                rule="element-type",
                problem=f"{name} and {first} have different types",
                node=label(node),
                got=f"{kind} and {other}",
                expected="one type",
                hint="cast one of the two",
            )
