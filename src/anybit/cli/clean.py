"""anybit clean: the standard clean-up of an exported model."""

from __future__ import annotations

from typing import Annotated

import typer

import anybit
from anybit.cli.options.input_shapes import ShapeOption, parse_shapes
from anybit.cli.terminal.output import JsonOption, ModelArgument, OutputOption, print_steps
from anybit.errors import UsageError


def clean(
    model: ModelArgument,
    output: OutputOption,
    batch: Annotated[str | None, typer.Option(help="Batch size to set: a number, or dynamic.")] = None,
    input_shape: ShapeOption = None,
    fold_quantizers: Annotated[
        bool, typer.Option("--fold-quantizers", help="Make quantisers of weights constants, too.")
    ] = False,
    fuse_float: Annotated[
        bool,
        typer.Option(
            "--fuse-float",
            help="Put batch normalisation, factors and offsets into the float layers before them; rounds elsewhere.",
        ),
    ] = False,
    skip: Annotated[list[str] | None, typer.Option(help="Pass to leave out; repeatable.")] = None,
    json: JsonOption = False,
) -> None:
    """Sort, infer shapes, fold constants, remove what does nothing; print what each pass changed."""
    from anybit.cleanup.clean import clean_passes

    steps = clean_passes(
        batch=None if batch is None else _batch(batch),
        input_shapes=parse_shapes(input_shape or ()),
        fold_quantizers=fold_quantizers,
        fuse_float=fuse_float,
        skip=skip or (),
    )
    applied = anybit.apply(model, steps)
    anybit.save(applied.model, output)
    print_steps(applied.steps, output, as_json=json)


def _batch(text: str) -> int | str:
    if text == "dynamic":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise UsageError("batch", got=repr(text), expected="a positive number, or dynamic")
    return int(text)
