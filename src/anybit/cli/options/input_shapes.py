"""input_shapes: NAME=1,3,32,32 on the command line, and the model with these shapes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anybit.errors import UsageError

if TYPE_CHECKING:
    from anybit.io.load import ModelSource

ShapeOption = Annotated[
    list[str] | None,
    typer.Option("--input-shape", help="Shape of an input: NAME=1,3,32,32, with names for free sizes; repeatable."),
]


def with_shapes(model: Path, texts: Sequence[str]) -> ModelSource:
    """The file, or its model with other shapes of the inputs.

    Raises:
        UsageError: A text is no shape, or no input has its name.
        InvalidModelError: A node cannot compute the shapes.
    """
    if not texts:
        return model
    import anybit
    from anybit.cleanup.set_input_shape import SetInputShape

    return anybit.apply(model, [SetInputShape(parse_shapes(texts))]).model


def parse_shapes(texts: Sequence[str]) -> dict[str, tuple[int | str, ...]]:
    """The shapes by input.

    Raises:
        UsageError: A text is no shape, or there are two for one input.
    """
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
