"""The public API is complete: whatever a public function takes, gives or raises can be had from a public module."""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import re
import subprocess
import sys
import typing
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import onnx_ir as ir
import pytest

import anybit
from anybit.passes.catalog import catalog
from tests.public import MODULES, names_of, public_objects

OBJECTS = list(public_objects())
CLASSES = {value for _, _, value in OBJECTS if inspect.isclass(value)}
TYPES_ONLY = ("InferenceContext", "onnxscript")  # imported for annotations alone


class _TypeOnly:
    OnnxFunction = list


def test_every_public_name_can_be_had_and_has_a_docstring():
    for module, name, value in OBJECTS:
        if inspect.isclass(value) or inspect.isfunction(value):
            assert (value.__doc__ or "").strip(), f"{module}.{name}"
            assert value.__name__ == name, f"{module}.{name}"


@pytest.mark.parametrize("module", MODULES)
def test_names_are_seen_by_dir(module):
    names = names_of(import_module(module))
    assert set(names) <= set(dir(import_module(module)))
    assert not hasattr(import_module(module), "nonsense")


def test_the_front_door_has_about_thirty_names():
    assert len(anybit.__all__) <= 39


def test_public_modules_need_no_import_of_their_own():
    names = [name for name in MODULES if name != "anybit"]
    program = f"import types, anybit\nfor name in {names}: assert isinstance(eval(name), types.ModuleType), name"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_front_end_without_its_framework_says_what_to_install():
    for name in ("from_brevitas", "from_torch"):
        try:
            getattr(anybit, name)
        except ModuleNotFoundError as error:
            assert re.fullmatch(rf"{name} needs torch: pip install 'anybit\[\w+\]'", str(error))


def test_the_room_of_passes_shows_every_pass():
    shown = {name: getattr(anybit.passes, name) for name in anybit.passes.__all__}
    options = {name for name, kind in shown.items() if not issubclass(kind, ir.passes.PassBase)}
    assert {n: k for n, k in shown.items() if n not in options} == {k.__name__: k for k in catalog().values()}


def _ours(annotation: Any) -> Iterator[type]:
    """The classes of anybit in an annotation."""
    if inspect.isclass(annotation) and annotation.__module__.startswith("anybit"):
        yield annotation
    for part in typing.get_args(annotation):
        if isinstance(part, list):
            for inner in part:
                yield from _ours(inner)
        else:
            yield from _ours(part)


def _annotations(value: Any) -> Iterator[tuple[str, Any]]:
    """Annotations of a function, of the fields of a record and of its methods and properties."""
    functions = {value.__name__: value} if inspect.isfunction(value) else {}
    if inspect.isclass(value) and not issubclass(value, enum.Enum):
        if dataclasses.is_dataclass(value):
            hints = typing.get_type_hints(value, localns=dict.fromkeys(TYPES_ONLY, _TypeOnly))
            yield from ((f.name, hints[f.name]) for f in dataclasses.fields(value) if not f.name.startswith("_"))
        for name, member in vars(value).items():
            if not name.startswith("_"):
                unwrapped = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
                unwrapped = unwrapped.func if isinstance(unwrapped, functools.cached_property) else unwrapped
                if inspect.isfunction(unwrapped):
                    functions[name] = unwrapped
    for name, function in functions.items():
        for parameter, hint in typing.get_type_hints(function).items():
            yield f"{name}({parameter})", hint


@pytest.mark.parametrize(("module", "name"), [(m, n) for m, n, v in OBJECTS if callable(v)])
def test_what_a_public_name_takes_and_gives_is_public(module, name):
    value = getattr(import_module(module), name)
    hidden = {
        f"{name}.{where}: {kind.__qualname__}"
        for where, hint in _annotations(value)
        for kind in _ours(hint)
        if kind not in CLASSES
    }
    assert not hidden


@pytest.mark.parametrize(("module", "name"), [(m, n) for m, n, v in OBJECTS if inspect.isfunction(v)])
def test_errors_that_a_public_function_names_are_public(module, name):
    text = getattr(import_module(module), name).__doc__
    raised = re.findall(r"^\s+(\w+Error):", text, flags=re.MULTILINE)
    builtin = {"ModuleNotFoundError"}
    assert set(raised) - builtin <= set(names_of(anybit.errors))
