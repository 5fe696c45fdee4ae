"""The public API, module by module: what tests of every public function and record walk over."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

MODULES = (
    "anybit",
    "anybit.annotations",
    "anybit.engines",
    "anybit.errors",
    "anybit.evaluation",
    "anybit.grid",
    "anybit.number_formats",
    "anybit.operators",
    "anybit.passes",
    "anybit.plan",
    "anybit.quantization",
    "anybit.results",
    "anybit.rounding",
    "anybit.surgery",
    "anybit.targets",
)


def names_of(module: ModuleType) -> tuple[str, ...]:
    """The public names of a module: what it lists, or else what it defines."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return tuple(listed)
    return tuple(n for n, v in vars(module).items() if not n.startswith("_") and _is_defined_in(v, module))


def _is_defined_in(value: Any, module: ModuleType) -> bool:
    return (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == module.__name__


def public_objects() -> Iterator[tuple[str, str, Any]]:
    """Module, name and value; without front ends whose framework is not installed."""
    for name in MODULES:
        module = import_module(name)
        for public in names_of(module):
            try:
                yield name, public, getattr(module, public)
            except ModuleNotFoundError as error:
                if not public.startswith("from_"):
                    raise AssertionError(f"{name}.{public}") from error


def public_functions() -> dict[str, Callable[..., Any]]:
    """The public functions that take a model, arrays or texts, by name: those of `anybit` without its name."""
    modules = ("anybit", "anybit.annotations", "anybit.surgery")
    return {
        f"{module}.{name}".removeprefix("anybit."): value
        for module, name, value in public_objects()
        if module in modules and inspect.isfunction(value)
    }
