"""types: the number format of every tensor, in the spelling by which quantised ONNX files annotate them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from anybit.analysis.layouts import layouts_of
from anybit.analysis.roles import Role, roles_of
from anybit.analysis.values.input_range import InputRanges
from anybit.analysis.values.interpreter import Values, analyse
from anybit.analysis.values.tensor_values import LARGEST_INTEGER, Float64s, IntegerGrid, TensorValues, of_constant
from anybit.arguments import checked_apart
from anybit.arrays import Array, as_float64
from anybit.errors import InvalidModelError
from anybit.graph.annotations import annotated_layout
from anybit.graph.constants import constant
from anybit.io.load import ModelSource
from anybit.number_formats import (
    FLOAT16,
    FLOAT32,
    BipolarFormat,
    FixedFormat,
    FloatFormat,
    IntFormat,
    NumberFormat,
    ScaledIntFormat,
    TernaryFormat,
)
from anybit.ops.calls import call_of, operator_of
from anybit.records import Records

_PROBE = 4096  # elements by which most float weights are known to be no integers
_FLOATS = {
    ir.DataType.FLOAT16: FLOAT16,
    ir.DataType.FLOAT: FLOAT32,
    ir.DataType.DOUBLE: FloatFormat(11, 52, 1023),
    ir.DataType.BFLOAT16: FloatFormat(8, 7, 127),
    ir.DataType.FLOAT8E4M3FN: FloatFormat(4, 3, 7),
    ir.DataType.FLOAT8E5M2: FloatFormat(5, 2, 15),
    ir.DataType.FLOAT6E2M3: FloatFormat(2, 3, 1),
    ir.DataType.FLOAT6E3M2: FloatFormat(3, 2, 3),
}


@dataclass(frozen=True)
class Spread:
    """One number, or one for each channel.

    Attributes:
        smallest: The smallest of them.
        largest: The largest of them.
        entries: How many there are.
    """

    smallest: float
    largest: float
    entries: int

    def __str__(self) -> str:
        if self.smallest == self.largest:
            return f"{self.smallest:.6g}"
        return f"{self.smallest:.4g} .. {self.largest:.4g} ({self.entries})"


@dataclass(frozen=True)
class TensorType:
    """Number format of one tensor.

    Attributes:
        name: Its name.
        role: What it is in the model.
        element_type: Element type of the ONNX tensor, in ONNX's spelling; "?" where it is not known.
        format: Number format of its values; None where the interchange spelling has none (text, for one).
        integers: Format of the integers behind it: as declared, else the smallest; None where there are none.
        scale: Scale of these integers.
        zero_point: Zero point of these integers.
        layout: Names of its axes, such as N, C, H, W: those of the file, else those that follow from the operators;
            None where neither says.
    """

    name: str
    role: Role
    element_type: str
    format: NumberFormat | None
    integers: NumberFormat | None
    scale: Spread | None
    zero_point: Spread | None
    layout: tuple[str, ...] | None


@checked_apart("input_ranges")
def types(model: ModelSource, *, input_ranges: InputRanges | None = None) -> Records[TensorType]:
    """The number format of every tensor, in the order of the graph; model-local functions are inlined.

    Args:
        model: Path, bytes, ``onnx.ModelProto`` or ``onnx_ir.Model``.
        input_ranges: By input name, the smallest and the largest value that is fed (see `analyse`).

    Raises:
        ModelFileError: The model cannot be read.
        UsageError: A range is empty, does not fit its input, or names no input.
    """
    return types_of(analyse(model, input_ranges=input_ranges))


def types_of(values: Values) -> Records[TensorType]:
    """`types` of an analysed model."""
    roles, layouts = roles_of(values.model), layouts_of(values.model)
    return Records(_tensor_type(v, role, values, layouts.get(v)) for v, role in roles.items() if v.name)


def _tensor_type(value: ir.Value, role: Role, values: Values, inferred: tuple[str, ...] | None) -> TensorType:
    grid = grid_of(value, values)
    return TensorType(
        name=str(value.name),
        role=role,
        element_type="?" if value.dtype is None else value.dtype.name.lower(),
        format=format_of(value, values),
        integers=None if grid is None else integers_of(grid),
        scale=None if grid is None else _spread(grid.scale),
        zero_point=None if grid is None else _spread(grid.zero_point),
        layout=_layout(value) or inferred,
    )


def integers_of(grid: IntegerGrid) -> NumberFormat:
    """The format of the integers: as declared, else the smallest."""
    declared = isinstance(grid.datatype, IntFormat | BipolarFormat | TernaryFormat)
    return grid.integers if declared else grid.smallest


def _spread(parameter: Float64s) -> Spread:
    return Spread(float(parameter.min()), float(parameter.max()), parameter.size)


def _layout(value: ir.Value) -> tuple[str, ...] | None:
    try:
        return annotated_layout(value)
    except InvalidModelError:
        return None  # `check` says what is wrong with it


def format_of(value: ir.Value, values: Values) -> NumberFormat | None:
    """The number format that holds every value of a tensor of an analysed model.

    Integers are written as such where scale is 1 and the zero point can be taken off; FIXED<w,i> stands for signed
    integers at a power of two, SCALEDINT<n> for integers at any other scale, whose zero points are integers. What is
    on no such grid has the format of its element type.
    """
    grid = grid_of(value, values)
    if grid is None:
        return _float_format(value, values.model) or format_of_element(value.dtype)
    if isinstance(grid.datatype, FloatFormat):
        return _scaled_float(grid.datatype, grid.scale) or format_of_element(value.dtype)
    if not grid.is_centred:
        return format_of_element(value.dtype)
    centred = grid.centred() if (grid.scale == 1).all() else None
    if centred is not None:
        return centred.integers
    if value.dtype is not None and value.dtype.is_integer():
        return format_of_element(value.dtype)
    integers = integers_of(grid)
    exponent = _power_of_two(grid.scale)
    if exponent is None or grid.zero_point.any() or not _is_signed(integers):
        return ScaledIntFormat(integers.bits)
    return FixedFormat(integers.bits, integers.bits + exponent)


def _is_signed(integers: NumberFormat) -> bool:
    """Whether the two's complement integers of as many bits hold them all: not so for BIPOLAR, which has no 0."""
    return isinstance(integers, TernaryFormat) or (isinstance(integers, IntFormat) and integers.signed)


def _power_of_two(scale: Float64s) -> int | None:
    """k where every scale is 2^k."""
    significand, exponent = math.frexp(float(scale.flat[0]))
    return exponent - 1 if significand == 0.5 and (scale == scale.flat[0]).all() else None


def grid_of(value: ir.Value, values: Values) -> IntegerGrid | None:
    """The integers behind a tensor; those of an initializer that holds nothing but integers are themselves."""
    known = values.tensors.get(value)
    if known is not None and known.grid is not None:
        return known.grid
    array = constant(value) if value.is_initializer() else None
    return None if array is None else _integers_of(array, known)


def _integers_of(array: Array, known: TensorValues | None) -> IntegerGrid | None:
    if array.dtype.kind in "iu":
        return of_constant(array).grid
    if array.dtype.kind != "f" or not array.size or not _is_whole(array.reshape(-1)[:_PROBE]) or not _is_whole(array):
        return None
    lo, hi = np.asarray(array.min(), np.float64), np.asarray(array.max(), np.float64)
    if known is not None and known.lo.size > 1:
        lo, hi = known.lo, known.hi
    declared = BipolarFormat() if lo.min() == -1 and (np.abs(array) == 1).all() and hi.max() == 1 else None
    return IntegerGrid(np.ones(()), np.zeros(()), lo, hi, declared)


def _is_whole(array: Array) -> bool:
    wide = as_float64(array)
    # infinities and NaN are not below the largest integer
    return bool((np.abs(wide) <= LARGEST_INTEGER).all() and (wide == np.floor(wide)).all())


def _float_format(value: ir.Value, model: ir.Model) -> NumberFormat | None:
    """The small float format that a quantiser declares, where it is too wide for a grid of integers."""
    node = value.producer()
    operator = None if node is None else operator_of(node, model.opset_imports)
    if node is None or operator is None:
        return None
    call = call_of(node, operator)
    stated, scale = operator.number_format(call), call.constants.get("scale")
    if not isinstance(stated, FloatFormat) or scale is None or not scale.size:
        return None
    return _scaled_float(stated, np.ldexp(scale.astype(np.float64), 1 - stated.bias - stated.mantissa_bits))


def _scaled_float(stated: FloatFormat, step: Float64s) -> FloatFormat | None:
    """The format with the bias at which the distance of its smallest numbers, 2^(1 - bias - m), is `step`."""
    exponent = _power_of_two(step)
    return None if exponent is None else replace(stated, bias=1 - stated.mantissa_bits - exponent)


def format_of_element(dtype: ir.DataType | None) -> NumberFormat | None:
    """The number format of an element type; None where it has none."""
    if dtype == ir.DataType.BOOL:
        return IntFormat(1, signed=False)
    if dtype is not None and dtype.is_integer():
        return IntFormat(dtype.bitwidth, signed=dtype.is_signed())
    return None if dtype is None else _FLOATS.get(dtype)
