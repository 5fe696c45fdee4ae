"""anybit clean: the standard clean-up of an exported model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

import anybit
from anybit.cli.output import JsonOption, ModelArgument, OutputOption, print_steps
from anybit.errors import UsageError


def clean(
    model: ModelArgument,
    output: OutputOption,
    batch: Annotated[str | None, typer.Option(help="Batch size to set: a number, or dynamic.")] = None,
    input_shape: Annotated[list[str] | None, typer.Option(help="Shape to set: NAME=1,3,32,32; repeatable.")] = None,
    fold_quantizers: Annotated[
        bool, typer.Option("--fold-quantizers", help="Make quantisers of weights constants, too.")
    ] = False,
    skip: Annotated[list[str] | None, typer.Option(help="Pass to leave out; repeatable.")] = None,
    json: JsonOption = False,
) -> None:
    """Sort, infer shapes, fold constants, remove what does nothing; print what each pass changed."""
    from anybit.cleanup.clean import clean_passes

    steps = clean_passes(
        batch=None if batch is None else _batch(batch),
        input_shapes=_shapes(input_shape or ()),
        fold_quantizers=fold_quantizers,
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


def _shapes(texts: Sequence[str]) -> dict[str, tuple[int | str, ...]]:
    shapes: dict[str, tuple[int | str, ...]] = {}
    for name, shape in map(_shape, texts):
        if shapes.setdefault(name, shape) != shape:
            raise UsageError("input shape", node=f"input '{name}'", got=f"{shapes[name]} and {shape}", expected="one")
    return shapes


def _shape(text: str) -> tuple[str, tuple[int | str, ...]]:
    name, separator, shape = text.rpartition("=")
    dimensions = [d.strip() for d in shape.split(",")]
    if not separator or not name or not all(dimensions):
        raise UsageError("input shape", got=repr(text), expected="NAME=1,3,32,32")
    return name, tuple(int(d) if d.lstrip("-").isdecimal() else d for d in dimensions)
