"""The reference of the command line, from the application itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer
import typer.main

from anybit.cli.app import app
from anybit.cli.terminal.examples import lines_of
from docs.generate.markdown import cell, table


def text() -> str:
    """Each command with its usage, arguments and options."""
    return "\n\n".join(_commands(typer.main.get_command(app), "anybit", level=2))


def commands() -> tuple[str, ...]:
    """Every command by its full name, such as ``anybit prepare finn``."""
    return tuple(name for name, _ in _walk(typer.main.get_command(app), "anybit"))


def _walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    children: dict[str, Any] = getattr(command, "commands", {})
    if not children:
        yield name, command
    for child, inner in children.items():
        yield from _walk(inner, f"{name} {child}")


def _commands(group: Any, name: str, *, level: int) -> Iterator[str]:
    for child, command in group.commands.items():
        title, children = f"{name} {child}", getattr(command, "commands", {})
        yield f"{'#' * level} {title}\n\n{_prose(command.help)}"
        if children:
            yield from _commands(command, title, level=level + 1)
        else:
            yield _usage(title, command)


def _usage(title: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and not p.hidden]
    words = [title, *(_metavar(a) for a in arguments), "[OPTIONS]"]
    parts = [f"```text\n{' '.join(words)}\n```"]
    if arguments:
        parts.append(table(("argument", ""), [(f"`{a.name.upper()}`", cell(a.help or "")) for a in arguments]))
    context = typer.Context(command)
    rows = [(_spelt(o, context), _default(o), cell(o.help or "")) for o in options]
    examples = "\n".join(lines_of(title.removeprefix("anybit ")))
    return "\n\n".join([*parts, table(("option", "default", ""), rows), f"```text\n{examples}\n```"])


def _metavar(argument: Any) -> str:
    name = argument.name.upper() + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _spelt(option: Any, context: typer.Context) -> str:
    taken = "" if option.is_flag else f" {option.display_type(context)}".replace("|", "\\|")
    return ", ".join(f"`{name}{taken}`" for name in (*option.opts, *option.secondary_opts))


def _default(option: Any) -> str:
    if option.required:
        return "required"
    value = option.default
    if value is None or value is False or value == () or callable(value):
        return ""
    shown = getattr(value, "value", value)
    return f"`{' '.join(map(str, shown))}`" if isinstance(shown, list | tuple) else f"`{shown}`"


def _prose(text: str | None) -> str:
    """The docstring of a command, paragraph by paragraph."""
    return "\n\n".join(map(cell, re.split(r"\n\s*\n", (text or "").replace("\f", "").strip())))
