"""refuse_unusable: what is wrong with the record of an operator that could not work, said when it is registered."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, fields
from typing import cast

from anybit.errors import UsageError
from anybit.graph.attributes import KINDS, AttributeKind
from anybit.ops.operator import Attribute, Layout, Operator
from anybit.ops.traits import Monotone, MonotoneProof, Movement, Traits

_ENUMS = {"movement": (Movement, type(None)), "proof": (MonotoneProof,)}
_STANDARD = ("", "ai.onnx")


@dataclass(frozen=True)
class _Fault:
    """One thing that is wrong with a record."""

    problem: str
    got: str
    expected: str


def refuse_unusable(operator: Operator) -> None:
    """Does nothing for a record that can work.

    Raises:
        UsageError: A name is given twice, the reference does not take the inputs and attributes, a default is of
            another kind than its attribute, a trait is none, or the like; the first of these is named.
    """
    fault = next(_faults(operator), None)
    if fault is not None:
        where = f"{operator.domain}::{operator.name} version {operator.since}"
        raise UsageError(
            f"the record of an operator cannot work: {fault.problem}",
            node=where,
            got=fault.got,
            expected=fault.expected,
        )


def _faults(operator: Operator) -> Iterator[_Fault]:
    if operator.domain in _STANDARD:
        yield _Fault("its domain is that of the standard operators", repr(operator.domain), "a domain of your own")
    yield from _of_names("name or alias", (operator.name, *operator.aliases))
    yield from _of_names("input", [i.name for i in operator.inputs])
    yield from _of_names("output", operator.outputs)
    if not operator.outputs:
        yield _Fault("outputs", "none", "at least one")
    yield from _of_names("attribute", [a.name for a in operator.attributes])
    optional = [i.optional for i in operator.inputs]
    if optional != sorted(optional):
        yield _Fault("an input that may be left out stands before one that may not", str(optional), "the other order")
    for attribute in operator.attributes:
        yield from _of_attribute(attribute)
    yield from _of_traits(operator.traits)
    yield from _of_layout(operator, operator.layout)
    yield from _of_reference(operator)


def _of_names(kind: str, names: tuple[str, ...] | list[str]) -> Iterator[_Fault]:
    for name, count in Counter(names).items():
        if not name or count > 1:
            yield _Fault(f"{kind} {name!r}", f"{count} of them" if name else "no name", "one of each name")


def _of_attribute(attribute: Attribute) -> Iterator[_Fault]:
    default, where, stated = attribute.default, f"attribute '{attribute.name}'", cast("object", attribute.kind)
    kind = KINDS.get(stated) if isinstance(stated, Hashable) else None
    if kind is None:
        names = ", ".join(dict.fromkeys(k.name for k in KINDS.values()))
        got = getattr(attribute.kind, "__name__", str(attribute.kind))
        yield _Fault(f"kind of {where}", got, f"{names}; a graph cannot be one")
    elif default is not None and not _is_of_kind(default, kind):
        yield _Fault(f"default of {where}", repr(default), kind.name)


def _is_of_kind(value: object, kind: AttributeKind) -> bool:
    if kind.item is None:
        return type(value) is type(kind.empty)
    return isinstance(value, tuple) and all(type(v) is kind.item for v in cast("tuple[object, ...]", value))


def _of_traits(traits: object) -> Iterator[_Fault]:
    if not isinstance(traits, Traits):
        yield _Fault("traits", type(traits).__name__, "Traits")
        return
    for name in (f.name for f in fields(Traits)):
        value: object = getattr(traits, name)
        good = _is_monotone(value) if name == "monotone" else isinstance(value, _ENUMS.get(name, (bool,)))
        if not good:
            yield _Fault(f"trait '{name}'", repr(value), "see anybit.operators.Traits")
    if traits.broadcasting and not traits.elementwise:
        yield _Fault("traits", "broadcasting, not elementwise", "elementwise with it")


def _is_monotone(value: object) -> bool:
    return isinstance(value, tuple) and all(m is None or isinstance(m, Monotone) for m in cast("tuple[object]", value))


def _of_layout(operator: Operator, layout: object) -> Iterator[_Fault]:
    if not isinstance(layout, Layout):
        if layout is not None:
            yield _Fault("layout", type(layout).__name__, "Layout")
        return
    if any(i not in range(len(operator.inputs)) for i in layout.inputs):
        yield _Fault("inputs of the layout", str(layout.inputs), f"0 .. {len(operator.inputs) - 1}")
    texts = [a.name for a in operator.attributes if a.kind is str]
    if layout.attribute and layout.attribute not in texts:
        yield _Fault("attribute of the layout", layout.attribute, f"one of {', '.join(texts) or 'no text attributes'}")


def _of_reference(operator: Operator) -> Iterator[_Fault]:
    try:
        signature = inspect.signature(operator.reference)
    except (TypeError, ValueError):  # what is written in C does not say what it takes
        return
    named = dict.fromkeys((a.name for a in operator.attributes), None)
    least = sum(not i.optional for i in operator.inputs)
    for count in sorted({least, len(operator.inputs)}):
        try:
            signature.bind(*[None] * count, **named)
        except TypeError as error:
            wanted = f"{count} inputs by position and {', '.join(named) or 'nothing'} by name"
            yield _Fault("its reference does not take what it is called with", str(error), wanted)
            return
