"""The passes of `anybit.cleanup` and `anybit.passes` by name, and a pass with its options from one line of text."""

from __future__ import annotations

import dataclasses
import json
import pkgutil
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import cache
from importlib import import_module
from typing import Any

import msgspec
import onnx_ir as ir

from anybit.errors import UsageError

_ROOMS = ("anybit.cleanup", "anybit.passes")


@cache
def catalog() -> Mapping[str, type[ir.passes.PassBase]]:
    """Every pass that stands in a file of these rooms, by the name that the command line uses (fold-constants)."""
    found: dict[str, type[ir.passes.PassBase]] = {}
    for module in _modules():
        for value in vars(import_module(module)).values():
            if isinstance(value, type) and issubclass(value, ir.passes.PassBase) and value.__module__ == module:
                found[module.rpartition(".")[2].replace("_", "-")] = value
    return dict(sorted(found.items()))


def _modules() -> Iterator[str]:
    for room in _ROOMS:
        inside = pkgutil.walk_packages(import_module(room).__path__, f"{room}.")
        yield from (module.name for module in inside if not module.ispkg)


def parse_pass(text: str) -> ir.passes.PassBase:
    """A pass from ``name`` or ``name:field=value,field=value``; values are JSON, or text where they are none.

    Raises:
        UsageError: There is no such pass or field, or the value does not fit the field.

    Example:
        >>> parse_pass("fold-constants:keep_quantizers=false")
        FoldConstants(keep_quantizers=False, max_elements=1048576, keep=())
    """
    name, _, options = text.partition(":")
    kind = catalog().get(name.strip().replace("_", "-"))
    if kind is None:
        raise UsageError("unknown pass", got=repr(name), expected=", ".join(catalog()))
    fields = options_of(kind)
    values: dict[str, Any] = {}
    for entry in _split(options):
        field, separator, value = entry.partition("=")
        if not separator or field.strip() not in fields:
            expected = ", ".join(f"{f}=..." for f in fields) or "no options"
            raise UsageError(f"option of {name}", got=repr(entry), expected=expected)
        values[field.strip()] = _value(value.strip(), fields[field.strip()].type, f"{name}: {field.strip()}")
    missing = [f.name for f in fields.values() if f.required and f.name not in values]
    if missing:
        raise UsageError(f"options of {name}", got=options or "none", expected=", ".join(f"{f}=..." for f in missing))
    return kind(**values)


@dataclasses.dataclass(frozen=True)
class Option:
    """One field of a pass."""

    name: str
    type: Any
    required: bool
    default: Any


def options_of(kind: type[ir.passes.PassBase]) -> dict[str, Option]:
    """The fields of a pass by name."""
    if not dataclasses.is_dataclass(kind):
        return {}
    hints = typing.get_type_hints(kind)
    missing = dataclasses.MISSING
    return {
        f.name: Option(
            f.name,
            hints[f.name],
            f.default is missing and f.default_factory is missing,
            f.default_factory() if f.default_factory is not missing else f.default,
        )
        for f in dataclasses.fields(kind)
    }


def summary_of(kind: type[ir.passes.PassBase]) -> str:
    """The first line of a pass's docstring."""
    return (kind.__doc__ or "").strip().partition("\n")[0]


def _split(text: str) -> list[str]:
    """The parts between commas that stand outside of brackets and quotes."""
    parts, depth, quoted, start = list[str](), 0, False, 0
    for position, letter in enumerate(text):
        quoted ^= letter == '"'
        depth += (letter in "[{<") - (letter in "]}>")
        if letter == "," and not depth and not quoted:
            parts.append(text[start:position])
            start = position + 1
    return [part for part in (*parts, text[start:]) if part]


def _value(text: str, kind: Any, where: str) -> Any:
    problems = list[msgspec.ValidationError]()
    for reading in _readings(text):
        try:
            return msgspec.convert(reading, kind, str_keys=True)  # keys of JSON are texts
        except msgspec.ValidationError as problem:
            problems.append(problem)
    expected = kind.__name__ if isinstance(kind, type) else f"the type of the option: {problems[0]}"
    if isinstance(kind, type) and issubclass(kind, Enum):
        members = {str(m.value if isinstance(m.value, str) else m.name.lower()): m for m in kind}
        if text in members:
            return members[text]
        expected = ", ".join(members)
    raise UsageError(where, got=repr(text), expected=expected)


def _readings(text: str) -> Iterator[Any]:
    """What a text may stand for, the likeliest first: JSON, itself, a list of one, a list of texts."""
    try:
        value: Any = json.loads(text)
    except json.JSONDecodeError:
        value = text
    items: list[Any] = value if isinstance(value, list) else [value]
    yield value
    yield text
    yield items
    yield [v if isinstance(v, str) else json.dumps(v) for v in items]  # tensors may be named 1 and 2
