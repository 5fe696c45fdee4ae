"""anybit passes, apply and configuration: the passes one by one, and what one of them takes."""

from __future__ import annotations

import enum
import json as json_format
from pathlib import Path
from typing import Annotated

import typer

import anybit
from anybit.cli.terminal.output import (
    FINDINGS,
    JsonOption,
    ModelArgument,
    OutputOption,
    print_json,
    print_steps,
    print_table,
    say,
)
from anybit.errors import ModelFileError
from anybit.io.files.whole import write_whole


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


def configuration(
    model: ModelArgument,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="JSON file to write; else it is printed.")
    ] = None,
    attribute: Annotated[
        list[str] | None,
        typer.Option("-a", "--attribute", help="Attribute, or a pattern; repeatable; all if left out."),
    ] = None,
    annotations: Annotated[bool, typer.Option(help="Also what the file says of tensors.")] = True,
) -> None:
    """Attributes of nodes and statements about tensors by name, as JSON, which the pass apply-configuration reads."""
    found = anybit.surgery.configuration(model, attributes=attribute or ("*",), annotations=annotations)
    if output is None:
        print_json(found)
        return
    try:
        write_whole(output, json_format.dumps(found, indent=2).encode())
    except OSError as error:
        raise ModelFileError("cannot write the file", node=str(output), got=error.strerror or error) from error
    say(f"written to {output}, {len(found)} entries")
