"""of_annotation: what a file states about a tensor by its number format, as values."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.tensor_values import IntegerGrid, TensorValues, bounded, integers
from anybit.errors import AnybitError
from anybit.graph.annotations import annotated_number_format
from anybit.number_formats import FixedFormat, FloatFormat, NumberFormat, ScaledIntFormat


def of_annotation(value: ir.Value) -> TensorValues | None:
    """The values that the annotated number format allows, None where there is none or it bounds nothing.

    An annotation is a statement of whoever wrote the file: it is taken for inputs and initializers only, never for
    what the model computes.
    """
    try:
        datatype = annotated_number_format(value)
    except AnybitError:
        return None  # `check` says what is wrong with it
    return None if datatype is None else _of_datatype(datatype)


def _of_datatype(datatype: NumberFormat) -> TensorValues | None:
    try:
        lo, hi = float(datatype.min), float(datatype.max)
    except OverflowError:
        return None  # all that float64 holds
    match datatype:
        case ScaledIntFormat():
            return None  # the integers are bounded, their scale is not known
        case FloatFormat():
            return bounded(lo, hi) if datatype.bits < 16 else None
        case FixedFormat():
            step = float(datatype.step)
            if not step:  # too fine for float64
                return bounded(lo, hi)
            grid = IntegerGrid(np.asarray(step), np.zeros(()), np.asarray(lo / step), np.asarray(hi / step), datatype)
            return bounded(lo, hi, grid)
        case _:
            return integers(lo, hi, datatype)
