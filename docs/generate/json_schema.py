"""JSON Schema of what a command prints with ``--json``, from the annotation of the value."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from anybit.number_formats import NumberFormat

_PLAIN: Mapping[Any, dict[str, Any]] = {
    type(None): {"type": "null"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    str: {"type": "string"},
    float: {"anyOf": [{"type": "number"}, {"enum": ["inf", "-inf", "nan"]}]},
    Fraction: {"type": "number"},
    Any: {},
    object: {},
}


def schema_of(annotation: Any, identifier: str) -> dict[str, Any]:
    """The schema of a value of this type, with its records under ``$defs``.

    Args:
        annotation: The type: of dataclasses, TypedDicts, enums, sequences, mappings and plain values.
        identifier: Its ``$id``, which has the version.
    """
    definitions: dict[str, Any] = {}
    schema = _schema(annotation, definitions)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": identifier}
    return head | schema | ({"$defs": dict(sorted(definitions.items()))} if definitions else {})


def _schema(annotation: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_schema(p, definitions) for p in parts]}
    if origin is typing.Annotated:
        return _schema(parts[0], definitions)
    if origin in (tuple, list, Sequence):
        many = origin is not tuple or parts[1:] == (...,)
        return {"type": "array", "items": _schema(parts[0], definitions) if many else {}}
    if origin in (dict, Mapping):
        return {"type": "object", "additionalProperties": _schema(parts[1], definitions)}
    if not inspect.isclass(annotation) or issubclass(annotation, NumberFormat):
        return {"type": "string"}
    if issubclass(annotation, enum.Enum):
        return {"enum": [member.value for member in annotation]}
    if dataclasses.is_dataclass(annotation) or typing.is_typeddict(annotation):
        return _record(annotation, definitions)
    return {"type": "string"}


def _record(kind: type, definitions: dict[str, Any]) -> dict[str, Any]:
    if kind.__name__ not in definitions:
        definitions[kind.__name__] = {}  # records may hold each other
        hints = typing.get_type_hints(kind)
        names = [f.name for f in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else list(hints)
        marked = typing.get_type_hints(kind, include_extras=True)
        optional = {name for name in names if typing.get_origin(marked[name]) is typing.NotRequired}
        definitions[kind.__name__] = {
            "description": (inspect.getdoc(kind) or "").partition("\n")[0],
            "type": "object",
            "properties": {name: _schema(hints[name], definitions) for name in names},
            "required": [name for name in names if name not in optional],
        }
    return {"$ref": f"#/$defs/{kind.__name__}"}
