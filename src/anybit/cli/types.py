"""anybit types: number formats."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import anybit
from anybit.cli.options.input_ranges import RangeOption, parse_ranges
from anybit.cli.options.input_shapes import ShapeOption, with_shapes
from anybit.cli.terminal.output import JsonOption, ModelArgument, print_json, print_steps, print_table
from anybit.errors import UsageError

if TYPE_CHECKING:
    from anybit.analysis.types import TensorType
    from anybit.analysis.values.input_range import InputRanges
    from anybit.io.load import ModelSource


def types(
    model: ModelArgument,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="ONNX file to write, with the formats as annotations.")
    ] = None,
    legacy: Annotated[
        bool, typer.Option("--legacy", help="The formats that QONNX's own inference writes: INT32 for every sum.")
    ] = False,
    allow_scaledint_dtypes: Annotated[
        bool,
        typer.Option(
            "--allow-scaledint-dtypes", help="With --legacy: SCALEDINT where integers are scaled, in place of FLOAT32."
        ),
    ] = False,
    input_range: RangeOption = None,
    input_shape: ShapeOption = None,
    json: JsonOption = False,
) -> None:
    """Number format, scale, zero point and layout of each tensor; with -o written into the file."""
    from anybit.analysis.roles import Role

    if allow_scaledint_dtypes and not legacy:
        raise UsageError("--allow-scaledint-dtypes", expected="--legacy as well: it is a setting of that inference")
    source, stated = with_shapes(model, input_shape or ()), parse_ranges(input_range or ())
    if output is not None:
        from anybit.passes.types.annotate_types import AnnotateTypes

        annotating = AnnotateTypes(legacy=legacy, allow_scaledint_dtypes=allow_scaledint_dtypes, input_ranges=stated)
        applied = anybit.apply(source, [annotating])
        anybit.save(applied.model, output)
        print_steps(applied.steps, output, as_json=json)
        return
    rows = (
        _legacy(source, stated, allow_scaledint_dtypes=allow_scaledint_dtypes)
        if legacy
        else anybit.types(source, input_ranges=stated)
    )
    if json:
        print_json(rows)
        return

    shown = [t for t in rows if t.role is not Role.INITIALIZER]
    columns = ("tensor", "role", "type", "format", "integers", "scale", "zero point", "layout")
    cells = [
        (
            t.name,
            t.role.value,
            t.element_type,
            t.format,
            t.integers,
            t.scale,
            t.zero_point,
            None if t.layout is None else "".join(t.layout),
        )
        for t in shown
    ]
    print_table(f"{len(shown)} tensors; {len(rows) - len(shown)} initializers are in --json", columns, cells)


def _legacy(model: ModelSource, input_ranges: InputRanges, *, allow_scaledint_dtypes: bool) -> Sequence[TensorType]:
    from dataclasses import replace

    from anybit.analysis.qonnx_types import legacy_formats
    from anybit.analysis.types import types_of

    values = anybit.analyse(model, input_ranges=input_ranges)
    found = legacy_formats(values.model, allow_scaledint_dtypes=allow_scaledint_dtypes)
    formats = {str(v.name): datatype for v, datatype in found.items()}
    return [replace(t, format=formats.get(t.name, t.format)) for t in types_of(values)]
