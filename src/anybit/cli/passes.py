"""anybit passes and anybit apply: the passes one by one."""

from __future__ import annotations

import enum
from typing import Annotated

import typer

import anybit
from anybit.cli.output import FINDINGS, JsonOption, ModelArgument, OutputOption, print_json, print_steps, print_table


def passes(json: JsonOption = False) -> None:
    """List the passes, with their options."""
    from anybit.passes.catalog import catalog, options_of, summary_of

    rows = [
        (name, summary_of(kind), ", ".join(_option(o.name, o.required, o.default) for o in options_of(kind).values()))
        for name, kind in catalog().items()
    ]
    if json:
        print_json([dict(zip(("name", "does", "options"), row, strict=True)) for row in rows])
    else:
        print_table("Passes", ("name", "does", "options"), rows)


def _option(name: str, required: bool, default: object) -> str:
    shown = default.value if isinstance(default, enum.Enum) else default
    return f"{name}=..." if required else f"{name}={shown}"


def apply(
    model: ModelArgument,
    output: OutputOption,
    chosen: Annotated[
        list[str], typer.Option("-p", "--pass", help="Pass, as NAME or NAME:field=value,...; repeatable, in order.")
    ],
    json: JsonOption = False,
) -> None:
    """Apply chosen passes in order; print what each changed. Exit code 1 if one had to leave a node as it was."""
    from anybit.passes.catalog import parse_pass

    applied = anybit.apply(model, [parse_pass(text) for text in chosen])
    anybit.save(applied.model, output)
    print_steps(applied.steps, output, as_json=json)
    if any(step.notes for step in applied.steps):
        raise typer.Exit(FINDINGS)
