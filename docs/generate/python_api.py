"""The reference of the Python API: every public name of a module, by autodoc."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from textwrap import indent

import anybit
from docs.generate.examples import INTRODUCTION, examples_of

_NAMES = anybit._MODULES  # noqa: SLF001  (the list of the public ones, which has no public name)
MODULES = ("anybit", *(f"anybit.{name}" for name in sorted(_NAMES)))
_FRAMEWORKS = frozenset(("from_brevitas", "from_torch"))  # functions that need torch to be imported
_FRONTENDS = Path(anybit.__file__).parent / "frontends"


def _text(module: str) -> str:
    """One directive a name."""
    loaded = import_module(module)
    examples = examples_of(module)
    names = [name for name in names_of(module) if name in _FRAMEWORKS or hasattr(loaded, name)]
    parts = [f"{_name(module, n)}{_example(examples[n]) if n in examples else ''}" for n in names]
    return "\n\n".join([*([INTRODUCTION] if examples else []), *parts])


def _example(text: str) -> str:
    return f"\n\n```pycon\n{text}\n```"


def names_of(module: str) -> tuple[str, ...]:
    """The public names of a module: what it lists, or else the classes and functions that it defines."""
    loaded = import_module(module)
    listed: list[str] | None = getattr(loaded, "__all__", None)
    if listed is not None:
        return tuple(listed)
    own = {n: v for n, v in vars(loaded).items() if getattr(v, "__module__", None) == module}
    return tuple(n for n, v in own.items() if not n.startswith("_") and (inspect.isclass(v) or inspect.isfunction(v)))


def _name(module: str, name: str) -> str:
    if module != "anybit" and name in anybit.__all__:
        return f"`{name}`: see [`anybit.{name}`](anybit.md#{name.lower()})."
    if name in _FRAMEWORKS:
        return f"## {name}\n\n```{{eval-rst}}\n{_of_source(name)}\n```"
    directive = _directive(getattr(import_module(module), name))
    options = "   :members:\n   :show-inheritance:\n" if directive in ("autoclass", "autoexception") else ""
    return f"## {name}\n\n```{{eval-rst}}\n.. {directive}:: {module}.{name}\n{options}```"


def _of_source(name: str) -> str:
    """The directive of a function whose module cannot be imported without its framework: its source is read."""
    from sphinx.ext.napoleon import Config, GoogleDocstring

    tree = ast.parse((_FRONTENDS / name.removeprefix("from_") / "convert.py").read_text(encoding="utf-8"))
    function = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name)
    result = "" if function.returns is None else f" -> {ast.unparse(function.returns)}"
    described = (ast.get_docstring(function) or "").replace("``", "`").replace("`", "``")
    text = str(GoogleDocstring(described, Config()))
    return f".. py:function:: anybit.{name}({ast.unparse(function.args)}){result}\n\n{indent(text, '   ')}"


def _directive(value: object) -> str:
    if inspect.isclass(value):
        return "autoexception" if issubclass(value, BaseException) else "autoclass"
    return "autofunction" if inspect.isroutine(value) else "autodata"


PARTS: Mapping[str, Callable[[], str]] = {module: partial(_text, module) for module in MODULES}
