"""anybit report: one page that shows a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import anybit
from anybit.cli.options.input_ranges import RangeOption, parse_ranges
from anybit.cli.options.input_shapes import ShapeOption, with_shapes
from anybit.cli.options.samples import read_samples
from anybit.cli.terminal.output import ModelArgument, say
from anybit.errors import ModelFileError
from anybit.io.files.whole import write_whole


def report(
    model: ModelArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="HTML file to write.", show_default=False)],
    later: Annotated[
        Path | None,
        typer.Argument(
            help="A later form of MODEL: both graphs, what changed, where results depart.", show_default=False
        ),
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option(
            "-i",
            "--inputs",
            "--data",
            help=".npz or .npy to run: ranges on data beside proven ones; labels in it are left out.",
        ),
    ] = None,
    input_range: RangeOption = None,
    input_shape: ShapeOption = None,
    sensitivity: Annotated[
        Path | None, typer.Option(help="What anybit sensitivity --json printed: a column, a colour, a table.")
    ] = None,
    front: Annotated[Path | None, typer.Option(help="What anybit quantize --front wrote: a plot.")] = None,
    targets: Annotated[
        bool, typer.Option("--targets/--no-targets", help="What formats, tools and native kernels take of it: slow.")
    ] = True,
) -> None:
    """One self-contained page: graph, where the bits are, what each target takes, native plan, findings."""
    from anybit.quantization import Front, Sensitivity

    shapes = input_shape or ()
    shown = with_shapes(model if later is None else later, shapes)
    page = anybit.report(
        shown,
        None if inputs is None else read_samples(inputs, shown),
        input_ranges=parse_ranges(input_range or ()),
        before=None if later is None else with_shapes(model, shapes),
        sensitivity=None if sensitivity is None else Sensitivity.read(sensitivity),
        front=None if front is None else Front.read(front),
        targets=targets,
    )
    _write(output, page)
    say(f"written to {output}, {len(page.encode()):,} bytes")


def _write(path: Path, page: str) -> None:
    """Writes a page that appears whole or not at all."""
    try:
        write_whole(path, page.encode())
    except OSError as error:
        raise ModelFileError("cannot write the file", node=str(path), got=error.strerror or error) from error
