"""The reference of operators, from the registry; and the table of what standard operators are like."""

from __future__ import annotations

import re

from anybit.ops.operator import Operator, Types
from anybit.ops.registry import operators
from anybit.ops.traits import STANDARD, Traits
from docs.generate.markdown import cell, table

_TYPES = {Types.FLOAT: "float16, float32, float64", Types.WITHIN_DOUBLE: "floats, integers of up to 32 bits"}
_SPELT = {"OrderedDict": "mapping"}


def text() -> str:
    """Each operator: domain, version, formula, inputs, attributes and what is known of it."""
    domains = dict.fromkeys(o.domain for o in operators() if o.domain.startswith("qonnx."))
    parts: list[str] = []
    for domain in domains:
        parts.append(f"## Domain {domain}")
        parts += [_operator(o) for o in operators() if o.domain == domain]
    return "\n\n".join(parts)


def text_of_standard() -> str:
    """One row a standard operator: what `traits.py` claims of it."""
    rows = [(f"`{name}`", _claims(traits)) for name, traits in sorted(STANDARD.items())]
    return table(("operator", "what is known of it"), rows)


def _operator(operator: Operator) -> str:
    names = " or ".join(f"`{n}`" for n in (operator.name, *operator.aliases))
    facts = [
        ("spelt", names),
        ("since version", str(operator.since)),
        ("outputs", ", ".join(f"`{o}`" for o in operator.outputs)),
        ("runs in stock runtimes", "yes, by its function body" if operator.body is not None else "reference only"),
    ]
    inputs = [
        (f"`{i.name}`", _TYPES.get(i.types, "any number"), _needed(optional=i.optional), cell(i.description))
        for i in operator.inputs
    ]
    attributes = [(f"`{a.name}`", _kind(a.kind), _default(a.default), cell(a.description)) for a in operator.attributes]
    parts = [
        f"### {operator.name} of {operator.domain}, version {operator.since}",
        f"```text\n{operator.doc}\n```",
        table(("", ""), facts),
        table(("input", "types", "", ""), inputs),
    ]
    if attributes:
        parts.append(table(("attribute", "type", "default", ""), attributes))
    parts.append(f"What is known of it: {_claims(operator.traits)}.")
    return "\n\n".join(parts)


def _needed(*, optional: bool) -> str:
    return "may be left out" if optional else ""


def _kind(kind: object) -> str:
    text = kind.__name__ if isinstance(kind, type) and not hasattr(kind, "__args__") else str(kind)
    return f"`{re.sub(r'^numpy.', '', text)}`"


def _default(value: object) -> str:
    return "required" if value is None else f"`{value!r}`"


def _claims(traits: Traits) -> str:
    claimed = [
        ("element by element", traits.elementwise),
        ("inputs are broadcast", traits.broadcasting),
        (traits.movement.value if traits.movement else "", traits.movement),
        ("channels stay apart", traits.keeps_channels),
        ("rising" if _is_rising(traits) else "rising or falling", traits.monotone),
        ("finite of finite", traits.finite),
        ("commutes with positive factors", traits.homogeneous),
        ("adds up products", traits.sums),
        ("approximated by a library", traits.transcendental),
        ("changes the element type", traits.retypes),
        ("random", traits.random),
    ]
    return ", ".join(text for text, holds in claimed if holds) or "nothing"


def _is_rising(traits: Traits) -> bool:
    return all(m is not None and m.name == "RISING" for m in traits.monotone)
