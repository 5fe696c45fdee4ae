"""StandardCall: one call of an operator that ONNX or ONNX Runtime defines, as its rules see it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from anybit.arrays import Array
from anybit.graph.constants import constant
from anybit.graph.walk import element_type, label, shape_of
from anybit.ops.operator import Call
from anybit.ops.standard.checks.signature import Signature, paired

Shape = tuple[int | None, ...]
_PLAIN = {"INT": int, "FLOAT": float, "STRING": str, "INTS": tuple, "STRINGS": tuple}


@dataclass(frozen=True, kw_only=True)
class StandardCall(Call):
    """One call, as its rules see it; attributes of the wrong type are left out.

    Attributes:
        version: Version of the operator's domain.
        names: Names of all inputs, in order.
        given: Names of those that are not left out.
        types: By the name of an input or output, the element type where it is known.
        signature: What the schema says.
    """

    version: int
    names: tuple[str, ...]
    given: frozenset[str]
    types: Mapping[str, str]
    signature: Signature

    def integer(self, name: str, default: int = 0) -> int:
        """An attribute that is one integer."""
        value = self.attributes.get(name, default)
        return value if isinstance(value, int) else default

    def text(self, name: str) -> str:
        """An attribute that is a string; empty where there is none."""
        value = self.attributes.get(name, "")
        return value if isinstance(value, str) else ""


class _Constants(Mapping[str, Array]):
    """The constant inputs by name, each read when a rule asks for it: weights may be large, and packed."""

    def __init__(self, values: Mapping[str, ir.Value]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> Array:
        array = constant(self._values.get(name))
        if array is None:
            raise KeyError(name)
        return array

    def __iter__(self) -> Iterator[str]:
        return (name for name, value in self._values.items() if constant(value) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def standard_call(node: ir.Node, signature: Signature, version: int) -> StandardCall:
    """The node as its rules see it."""
    inputs = {name: v for name, _, v in paired(signature.inputs, node.inputs) if v is not None}
    outputs = {name: v for name, _, v in paired(signature.outputs, node.outputs) if v is not None}
    attributes: dict[str, Any] = {
        name: tuple(a.default) if isinstance(a.default, list) else a.default
        for name, a in signature.attributes.items()
        if a.default is not None and a.kind in _PLAIN
    }
    for name, given in node.attributes.items():
        formal = signature.attributes.get(name)
        if formal is not None and formal.kind in _PLAIN and given.type.name == formal.kind:
            attributes[name] = tuple(given.as_ints()) if formal.kind == "INTS" else given.value
    return StandardCall(
        node=label(node),
        attributes=attributes,
        constants=_Constants(inputs),
        shapes={name: _known(shape) for name, v in inputs.items() if (shape := shape_of(v)) is not None},
        version=version,
        names=tuple(name for name, _, _ in paired(signature.inputs, node.inputs)),
        given=frozenset(inputs),
        types={name: kind for name, v in (*inputs.items(), *outputs.items()) if (kind := element_type(v))},
        signature=signature,
    )


def _known(shape: Shape) -> Shape:
    """A negative dimension is how some exporters write a free one."""
    return tuple(None if d is None or d < 0 else d for d in shape)
