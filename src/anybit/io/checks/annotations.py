"""annotation_findings: annotations that cannot be read, or that the tensors contradict.

An annotation is a statement of whoever wrote the file, which `types`, `cost`, the value analysis and the targets take
as true. So it is an error where it is certainly false or means nothing: a text that does not parse, a constant with
an element that is not in the format, elements of a kind that the format is not of. It is a warning where it may still
be true, though whoever wrote it was mistaken: a format that is wider than the element type, a layout of another rank.

FLOAT32 says nothing: tools write it for every tensor that they know nothing of, of whatever element type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx_ir as ir

from anybit.errors import AnybitError, Finding, Severity
from anybit.graph.annotations import annotated_layout, annotated_number_format, annotated_sparsity
from anybit.graph.constants import constant
from anybit.graph.walk import all_graphs, element_name
from anybit.io.repair.lost_annotations import LOST_ANNOTATIONS
from anybit.number_formats import FLOAT32, IntFormat, NumberFormat, ScaledIntFormat

_BINARY = IntFormat(1, signed=False)


def annotation_findings(model: ir.Model) -> Iterator[Finding]:
    """What is wrong with the annotations of a loaded model, those of tensors in subgraphs included."""
    yield from model.meta.get(LOST_ANNOTATIONS, ())
    for graph in all_graphs(model.graph):
        outputs = (o for node in graph for o in node.outputs)
        for value in dict.fromkeys((*graph.inputs, *graph.initializers.values(), *outputs)):
            yield from _value(value)


def _value(value: ir.Value) -> Iterator[Finding]:
    readings: tuple[Callable[[ir.Value], object], ...] = (annotated_layout, annotated_sparsity)
    for read in readings:
        try:
            read(value)
        except AnybitError as error:
            yield _unreadable(value, error)
    try:
        datatype = annotated_number_format(value)
    except AnybitError as error:
        yield _unreadable(value, error)
        datatype = None
    if datatype is not None and datatype != FLOAT32:
        yield from _contradiction(value, datatype)
    yield from _layout(value)


def _unreadable(value: ir.Value, error: AnybitError) -> Finding:
    told = error.diagnosis
    return Finding(
        rule="annotation",
        problem=f"an annotation that cannot be read: {told.problem}",
        node=_where(value),
        got=told.got,
        expected=told.expected,
        hint=told.hint or "correct or remove it",
    )


def _contradiction(value: ir.Value, datatype: NumberFormat) -> Iterator[Finding]:
    array = constant(value)
    if array is not None and not (allowed := datatype.allows(array)).all():
        yield Finding(
            rule="annotation",
            problem=f"{np.count_nonzero(~allowed)} elements are not in the annotated number format",
            node=_where(value),
            got=str(array[~allowed].flat[0]),
            expected=f"numbers of {datatype}",
            hint="annotate the format that the tensor has",
        )
    elif value.dtype is not None and not isinstance(datatype, ScaledIntFormat):
        yield from _element_type(value, value.dtype, datatype)


def _element_type(value: ir.Value, dtype: ir.DataType, datatype: NumberFormat) -> Iterator[Finding]:
    name = element_name(dtype)
    if dtype in (ir.DataType.BOOL, ir.DataType.STRING) or name.startswith("complex"):
        if dtype != ir.DataType.BOOL or datatype != _BINARY:
            yield _unfit(value, datatype, name, "BINARY" if dtype == ir.DataType.BOOL else "no number format")
        return
    if not dtype.is_integer():
        return
    if not datatype.is_integer:
        yield _unfit(value, datatype, name, "a format of integers")
        return
    held = IntFormat(int(dtype.bitwidth), signed=dtype.is_signed())
    if datatype.min < held.min or datatype.max > held.max:
        yield _unfit(value, datatype, name, f"numbers of {held}", Severity.WARNING)


def _unfit(
    value: ir.Value, datatype: NumberFormat, element: str, expected: str, severity: Severity = Severity.ERROR
) -> Finding:
    return Finding(
        rule="annotation",
        problem=f"annotated number format of elements of {element}",
        node=_where(value),
        got=str(datatype),
        expected=expected,
        severity=severity,
        hint="annotate a format that the element type holds",
    )


def _layout(value: ir.Value) -> Iterator[Finding]:
    try:
        layout = annotated_layout(value)
    except AnybitError:
        return  # told above
    if layout is not None and value.shape is not None and len(layout) != len(value.shape):
        yield Finding(
            rule="annotation",
            problem="tensor_layout names another number of axes than the tensor has",
            node=_where(value),
            got=str(list(layout)),
            expected=f"{len(value.shape)} axes",
            severity=Severity.WARNING,
            hint="correct or remove it",
        )


def _where(value: ir.Value) -> str:
    return f"tensor '{value.name}'"
