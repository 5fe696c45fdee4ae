"""anybit report: one page that shows a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import anybit
from anybit.cli.options.input_ranges import RangeOption, parse_ranges
from anybit.cli.options.input_shapes import ShapeOption, with_shapes
from anybit.cli.terminal.output import ModelArgument, say
from anybit.errors import ModelFileError
from anybit.io.files.whole import write_whole


def report(
    model: ModelArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="HTML file to write.", show_default=False)],
    inputs: Annotated[
        Path | None, typer.Option("-i", "--inputs", help=".npz or .npy to run: ranges on data beside proven ones.")
    ] = None,
    input_range: RangeOption = None,
    input_shape: ShapeOption = None,
) -> None:
    """One self-contained page: graph, number formats, ranges, accumulators, cost, formats, findings."""
    from anybit.io.files.arrays import read_arrays

    data = None if inputs is None else read_arrays(inputs)
    page = anybit.report(with_shapes(model, input_shape or ()), data, input_ranges=parse_ranges(input_range or ()))
    _write(output, page)
    say(f"written to {output}, {len(page.encode()):,} bytes")


def _write(path: Path, page: str) -> None:
    """Writes a page that appears whole or not at all."""
    try:
        write_whole(path, page.encode())
    except OSError as error:
        raise ModelFileError("cannot write the file", node=str(path), got=error.strerror or error) from error
