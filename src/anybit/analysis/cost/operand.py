"""read_operand: the number format of a tensor that is multiplied, and what it is stored as."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import onnx_ir as ir

from anybit.analysis.values.interpreter import Values
from anybit.errors import AnybitError
from anybit.graph.annotations import annotated_number_format
from anybit.number_formats import FLOAT16, FLOAT32, FloatFormat, IntFormat, NumberFormat
from anybit.ops.calls import call_of, operator_of
from anybit.ops.traits import MOVING, standard

_SAME_ELEMENTS = standard(lambda t: t.keeps_elements)
_QUANTIZERS = frozenset("QuantizeLinear DequantizeLinear Clip Cast".split())

_FLOATS = {
    ir.DataType.FLOAT16: FLOAT16,
    ir.DataType.BFLOAT16: FloatFormat(8, 7, 127),
    ir.DataType.DOUBLE: FloatFormat(11, 52, 1023),
    ir.DataType.FLOAT8E4M3FN: FloatFormat(4, 3, 7),
    ir.DataType.FLOAT8E4M3FNUZ: FloatFormat(4, 3, 8),
    ir.DataType.FLOAT8E5M2: FloatFormat(5, 2, 15),
    ir.DataType.FLOAT8E5M2FNUZ: FloatFormat(5, 2, 16),
    ir.DataType.FLOAT6E2M3: FloatFormat(2, 3, 1),
    ir.DataType.FLOAT6E3M2: FloatFormat(3, 2, 3),
    ir.DataType.FLOAT4E2M1: FloatFormat(2, 1, 1),
}


@dataclass(frozen=True)
class Operand:
    """A tensor as an operator reads it.

    Attributes:
        format: Format of its integers where it is quantised, else of its numbers.
        stored: Equal for tensors that are one and the same in memory.
        constant: For a constant, equal where the same integers are computed from the same initializer.
    """

    format: NumberFormat
    stored: Hashable
    constant: Hashable


def read_operand(value: ir.Value, values: Values) -> Operand:
    """The operand that a tensor is, by the analysis of values."""
    known = values.tensors.get(value)
    grid = None if known is None else known.grid
    element = element_format(value.dtype)
    if grid is None or (grid.datatype is None and grid.integers.bits >= element.bits):
        source = _behind(value, _SAME_ELEMENTS)
        return Operand(_stated(value, values.model.opset_imports), source, source)
    alike = (str(grid.integers), grid.scale.tobytes(), grid.zero_point.tobytes())
    activation = _behind(value, _SAME_ELEMENTS | {"DequantizeLinear"})
    weight = _behind(value, _SAME_ELEMENTS | _QUANTIZERS, values.model.opset_imports)
    return Operand(grid.integers, (activation, *alike), (weight, *alike))


def element_format(dtype: ir.DataType | None) -> NumberFormat:
    """The format of an element type; FLOAT32 where it is not known."""
    if dtype is None or dtype not in _FLOATS:
        integer = dtype is not None and dtype.is_integer()
        return IntFormat(int(dtype.bitwidth), signed=dtype.is_signed()) if dtype is not None and integer else FLOAT32
    return _FLOATS[dtype]


def _behind(value: ir.Value, op_types: frozenset[str], opsets: dict[str, int] | None = None) -> ir.Value:
    """The tensor from which these operators, and with `opsets` ours, make the value out of their first input."""
    while True:
        node = value.producer()
        first = node.inputs[0] if node is not None and node.inputs else None
        if node is None or first is None:
            return value
        ours = opsets is not None and operator_of(node, opsets) is not None
        if not ours and (node.domain != "" or node.op_type not in op_types):
            return value
        value = first


def _stated(value: ir.Value, opsets: dict[str, int]) -> NumberFormat:
    """The format that the quantiser, the annotation or the element type behind a tensor states."""
    source = _behind(value, MOVING)
    node = source.producer()
    if node is None:
        return _annotated(source) or element_format(source.dtype)
    operator = operator_of(node, opsets)
    declared = None if operator is None else operator.number_format(call_of(node, operator))
    if declared is not None:
        return declared
    quantized = node.inputs[0] if node.domain == "" and node.op_type == "DequantizeLinear" else source
    return element_format(source.dtype if quantized is None else quantized.dtype)


def _annotated(value: ir.Value) -> NumberFormat | None:
    try:
        return annotated_number_format(value)
    except AnybitError:
        return None  # `check` says what is wrong with it
