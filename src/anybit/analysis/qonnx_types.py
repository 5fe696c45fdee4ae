"""legacy_types: the number formats that QONNX's own inference would write, for tools that expect them.

Measured on qonnx 1.0.0 (`InferDataTypes`), which follows operators, not values: sums of integers are INT32 or UINT32
whatever their range, those of scaled integers SCALEDINT<32> with `allow_scaledint_dtypes=True`, and FLOAT32 without,
as FINN wants them; what it does not know is FLOAT32. Where it differs from this file:

* it stops with an error at an operator that it does not know, at an input of a DequantizeLinear without a stated
  shape, and at a Resize without a mode; here the output is FLOAT32, or follows from the element type;
* it keeps an annotation that stands on the output of an operator that it does not know; here only what follows from
  the operators is written;
* it calls tensors of integer element types FLOAT32 unless a QuantizeLinear made them; here they have their own type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from anybit.arrays import Array
from anybit.errors import AnybitError
from anybit.graph.annotations import annotated_number_format
from anybit.number_formats import (
    FLOAT16,
    FLOAT32,
    BipolarFormat,
    FixedFormat,
    FloatFormat,
    IntFormat,
    NumberFormat,
    ScaledIntFormat,
)
from anybit.ops.calls import call_of, is_call, operator_of
from anybit.ops.channels_last.batch_normalization import BATCH_NORMALIZATION
from anybit.ops.channels_last.conv import CONV
from anybit.ops.channels_last.max_pool import MAX_POOL
from anybit.ops.finn.debug_marker import DEBUG_MARKER
from anybit.ops.finn.max_pool_nhwc import MAX_POOL_NHWC
from anybit.ops.finn.xnor_popcount_mat_mul import XNOR_POPCOUNT_MAT_MUL
from anybit.ops.im2col import IM2COL
from anybit.ops.multi_threshold import MULTI_THRESHOLD
from anybit.ops.operator import Operator
from anybit.ops.quant import QUANT
from anybit.ops.quant_avg_pool import QUANT_AVG_POOL
from anybit.ops.trunc import TRUNC

_ACCUMULATING = frozenset("MatMul Gemm Conv Add Sub Mul".split())
_PASSING = frozenset(
    """Clip Concat Expand Flatten Gather GatherElements GatherND GlobalMaxPool Identity MaxPool Pad Reshape Scatter
    ScatterElements ScatterND Slice Squeeze Tile Transpose Unsqueeze""".split()
)
_PASSING_OPERATORS = (IM2COL, DEBUG_MARKER, MAX_POOL_NHWC, MAX_POOL, BATCH_NORMALIZATION, CONV)
_RESIZING = frozenset(("Resize", "Upsample"))
_ACCUMULATOR_BITS = 32


def legacy_formats(model: ir.Model, *, allow_scaledint_dtypes: bool = False) -> Mapping[ir.Value, NumberFormat]:
    """The format of the first output of every node of the outermost graph, and of its other outputs as FLOAT32.

    Annotations of inputs and initializers are believed; nothing is written for them.

    Args:
        model: Any model.
        allow_scaledint_dtypes: The inference's setting of this name: SCALEDINT where integers are scaled, in place of
            FLOAT32.
    """
    formats: dict[ir.Value, NumberFormat] = {}
    for node in model.graph:
        operands = [_format(v, formats) for v in node.inputs]
        for output in node.outputs:
            formats[output] = _by_element_type(output)
        if node.outputs:
            found = _result(node, operands, model)
            scaled = isinstance(found, ScaledIntFormat) and not allow_scaledint_dtypes
            formats[node.outputs[0]] = FLOAT32 if scaled else found
    return formats


def _format(value: ir.Value | None, formats: Mapping[ir.Value, NumberFormat]) -> NumberFormat:
    if value is None:
        return FLOAT32
    known = formats.get(value)
    if known is not None:
        return known
    try:
        return annotated_number_format(value) or _by_element_type(value)
    except AnybitError:
        return _by_element_type(value)


def _by_element_type(value: ir.Value) -> NumberFormat:
    dtype = value.dtype
    if dtype is not None and dtype.is_integer():
        return IntFormat(dtype.bitwidth, signed=dtype.is_signed())
    return FLOAT16 if dtype == ir.DataType.FLOAT16 else FLOAT32


def _result(node: ir.Node, operands: Sequence[NumberFormat], model: ir.Model) -> NumberFormat:
    operator = operator_of(node, model.opset_imports)
    first, plain = operands[0] if operands else FLOAT32, _by_element_type(node.outputs[0])
    if operator is not None:
        passed = any(operator is known for known in _PASSING_OPERATORS)
        return first if passed else _of_quantizer(node, operator)
    if node.domain != "" or plain not in (FLOAT16, FLOAT32):
        return plain
    if node.op_type in _ACCUMULATING:
        return _accumulated(operands, negating=node.op_type == "Sub")
    if node.op_type in _PASSING or (node.op_type in _RESIZING and _mode(node) == "nearest"):
        return first
    if node.op_type == "DequantizeLinear":
        return ScaledIntFormat(first.bits) if isinstance(first, IntFormat) else FLOAT32
    return BipolarFormat() if node.op_type == "Sign" else FLOAT32


def _accumulated(operands: Sequence[NumberFormat], *, negating: bool) -> NumberFormat:
    if all(o.is_integer and not isinstance(o, FixedFormat) for o in operands):
        return IntFormat(_ACCUMULATOR_BITS, signed=negating or any(o.min < 0 for o in operands))
    return FLOAT32 if any(isinstance(o, FloatFormat) for o in operands) else ScaledIntFormat(_ACCUMULATOR_BITS)


def _mode(node: ir.Node) -> str:
    mode = node.attributes.get("mode")
    return "nearest" if mode is None or mode.is_ref() else str(mode.value)


def _of_quantizer(node: ir.Node, operator: Operator) -> NumberFormat:
    """The stated format of integers, SCALEDINT of scaled ones; FLOAT32 where it does not read the parameters."""
    if operator is XNOR_POPCOUNT_MAT_MUL:
        return IntFormat(_ACCUMULATOR_BITS, signed=False)
    call = call_of(node, operator)
    stated = operator.number_format(call)
    if stated is None or is_call(node, TRUNC):
        return FLOAT32
    if operator is QUANT_AVG_POOL:
        return stated
    if operator is MULTI_THRESHOLD:
        steps = [call.attributes[a] for a in ("out_scale", "out_bias")]
        whole = all(isinstance(s, float) and s.is_integer() for s in steps)
        return stated if whole else FLOAT32
    if operator is QUANT and not _reads_parameters(node):
        return FLOAT32
    scale = _stored(node.inputs[1])
    if scale is None:
        return FLOAT32
    if (scale == 1).all():
        return stated
    return ScaledIntFormat(stated.bits) if operator is QUANT else FLOAT32


def _reads_parameters(node: ir.Node) -> bool:
    """Whether zero point and bit width are ones that it takes: zeros, and one scalar."""
    zero_point, bits = map(_stored, node.inputs[2:4])
    return zero_point is not None and bits is not None and not zero_point.any() and bits.ndim == 0


def _stored(value: ir.Value | None) -> Array | None:
    """The array of an initializer: constants that a node makes are not looked at."""
    if value is None or not value.is_initializer() or value.is_graph_input() or value.const_value is None:
        return None
    return value.const_value.numpy()
