"""anybit types: number formats."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import anybit
from anybit.cli.input_ranges import RangeOption, parse_ranges
from anybit.cli.input_shapes import ShapeOption, with_shapes
from anybit.cli.output import JsonOption, ModelArgument, print_json, print_steps, print_table

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
    input_range: RangeOption = None,
    input_shape: ShapeOption = None,
    json: JsonOption = False,
) -> None:
    """Number format, scale, zero point and layout of each tensor; with -o written into the file."""
    from anybit.analysis.roles import Role

    source = with_shapes(model, input_shape or ())
    if output is not None:
        _annotate(source, output, legacy=legacy, input_ranges=parse_ranges(input_range or ()), json=json)
        return
    stated = parse_ranges(input_range or ())
    rows = _legacy(source, stated) if legacy else anybit.types(source, input_ranges=stated)
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


def _annotate(model: ModelSource, output: Path, *, legacy: bool, input_ranges: InputRanges, json: bool) -> None:
    from anybit.passes.types.annotate_types import AnnotateTypes

    applied = anybit.apply(model, [AnnotateTypes(legacy=legacy, input_ranges=input_ranges)])
    anybit.save(applied.model, output)
    print_steps(applied.steps, output, as_json=json)


def _legacy(model: ModelSource, input_ranges: InputRanges) -> Sequence[TensorType]:
    from dataclasses import replace

    from anybit.analysis.qonnx_types import legacy_formats
    from anybit.analysis.types import types_of

    values = anybit.analyse(model, input_ranges=input_ranges)
    formats = {str(v.name): datatype for v, datatype in legacy_formats(values.model).items()}
    return [replace(t, format=formats.get(t.name, t.format)) for t in types_of(values)]
