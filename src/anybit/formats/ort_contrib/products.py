"""byte_products: QLinearMatMul of computed tensors, QGemm, MatMulIntegerToFloat and QLinearConv of `com.microsoft`.

They become float products of integers, or standard QLinearConv and MatMulInteger, which have readers of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.errors import Refusal
from anybit.formats.ort_contrib.emit import ReplacementNodes
from anybit.formats.ort_contrib.kernels import LARGEST, WIDEST, operands
from anybit.graph.constants import constant
from anybit.graph.walk import label, shape_of
from anybit.ops.channels_last.layout import to_first, to_last

_CHANNELS_LAST = "channels_last"


def matmul(written: ReplacementNodes) -> Refusal | None:
    """QLinearMatMul of two tensors that are both computed."""
    node = written.node
    found = operands(node, 0, 3, output=6)
    if isinstance(found, Refusal):
        return found
    a, b, y = found
    terms = (shape_of(a.value) or (None,))[-1]
    if terms is None:
        return Refusal(problem="the number of terms of its sums is not known", node=label(node))
    if terms * WIDEST**2 >= LARGEST:
        return Refusal(problem="float32 does not hold its sums", node=label(node), got=f"{terms} products of bytes")
    sums = written.add("MatMul", [written.centred(a, "a"), written.centred(b, "b")], "sums", like=written.output)
    factor = np.float32(a.scale * b.scale / y.scale)  # in the order of ONNX Runtime
    written.rounded(written.times(sums, factor, "levels"), y)
    return None


@dataclass(frozen=True)
class _Gemm:
    """The parts of a QGemm.

    Attributes:
        x: The first operand, a row for each of the output's.
        x_scale: Its scale, times alpha.
        rows: The weights, a row for each column of the output.
        w_scale: Their scales.
        bias: C, by column; None if there is none.
    """

    x: ir.Value
    x_scale: np.float32
    rows: Array
    w_scale: Array
    bias: Array | None


def gemm(written: ReplacementNodes) -> Refusal | None:
    """A convolution of one tap over rows, which has a bias; MatMulInteger where the output is real."""
    inputs = [*written.node.inputs, *[None] * 9][:9]
    found = _gemm(written, inputs)
    if isinstance(found, Refusal):
        return found
    return _real_gemm(written, inputs, found) if inputs[7] is None else _byte_gemm(written, inputs, found)


def _gemm(written: ReplacementNodes, inputs: list[ir.Value | None]) -> _Gemm | Refusal:
    node, x = written.node, inputs[0]
    scale, weights, w_scale, bias = (constant(inputs[k]) for k in (1, 3, 4, 6))
    if weights is None or weights.ndim != 2 or (inputs[6] is not None and bias is None):
        return Refusal(problem="the weights or the bias are computed, or no matrix", node=label(node))
    if x is None or x.dtype is None or scale is None or w_scale is None or constant(inputs[2]) is None:
        return Refusal(problem="a scale or zero point is computed, or missing", node=label(node), expected="constants")
    rows = np.ascontiguousarray(weights if node.attributes.get_int("transB", 0) else weights.T)
    if bias is not None and bias.size not in (1, len(rows)):
        return Refusal(problem="shape of the bias", node=label(node), got=str(bias.shape), expected=f"({len(rows)},)")
    if scale.size != 1 or scale.dtype != np.float32:
        return Refusal(problem="scale of A", node=label(node), got=str(scale.shape), expected="one float32")
    x_scale = np.float32(np.float32(node.attributes.get_float("alpha", 1.0)) * scale.reshape(()))
    if node.attributes.get_int("transA", 0):
        x = written.add("Transpose", [x], "rows", x.dtype, perm=[1, 0])
    spread = None if bias is None else np.broadcast_to(bias.reshape(-1), (len(rows),)).astype(np.int32)
    return _Gemm(x, x_scale, rows, w_scale, spread)


def _byte_gemm(written: ReplacementNodes, inputs: list[ir.Value | None], found: _Gemm) -> Refusal | None:
    y_zero, terms = constant(inputs[8]), found.rows.shape[1]
    if y_zero is None:
        return Refusal(problem="a zero point is computed, or missing", node=label(written.node), expected="constants")
    bytes_in, bytes_out = found.x.dtype or ir.DataType.UINT8, ir.DataType.from_numpy(y_zero.dtype)
    split_shape = written.constant("split/shape", np.array([-1, terms, 1, 1], np.int64))
    split = written.add("Reshape", [found.x, split_shape], "split", bytes_in)
    split.shape = ir.Shape([None, terms, 1, 1])
    convolved: list[ir.Value | None] = [split, written.constant("x_scale", np.asarray(found.x_scale)), inputs[2]]
    convolved.append(written.constant("weights", found.rows[:, :, None, None]))
    convolved += [*inputs[4:6], *inputs[7:9]]
    if found.bias is not None:
        convolved.append(written.constant("bias", found.bias))
    y = written.add("QLinearConv", convolved, "convolved", bytes_out)
    y.shape = ir.Shape([None, len(found.rows), 1, 1])
    joined = written.constant("shape", np.array([-1, len(found.rows)], np.int64))
    written.add("Reshape", [y, joined], "bytes", bytes_out, like=written.output)
    return None


def _real_gemm(written: ReplacementNodes, inputs: list[ir.Value | None], found: _Gemm) -> Refusal | None:
    bias = 0 if found.bias is None else int(np.abs(found.bias.astype(np.int64)).max(initial=0))
    if found.rows.shape[1] * WIDEST**2 + bias >= LARGEST:
        got = f"{found.rows.shape[1]} products of bytes"
        return Refusal(problem="float32 does not hold its sums", node=label(written.node), got=got)
    weights = written.constant("weights", np.ascontiguousarray(found.rows.T))
    y = written.output
    sums = written.add("MatMulInteger", [found.x, weights, inputs[2], inputs[5]], "sums", ir.DataType.INT32, like=y)
    sums.type = ir.TensorType(ir.DataType.INT32)
    real = written.add("Cast", [sums], "cast", like=y, to=ir.DataType.FLOAT.value)
    if found.bias is not None:
        real = written.add("Add", [real, written.constant("bias", found.bias.astype(np.float32))], "biased", like=y)
    factor = written.constant("factor", np.asarray(found.x_scale * found.w_scale, np.float32))
    written.add("Mul", [real, factor], "scaled", like=y)
    return None


def matmul_to_float(written: ReplacementNodes) -> Refusal | None:
    """MatMulInteger, Cast and a factor."""
    node = written.node
    inputs = [*node.inputs, *[None] * 7][:7]
    a_scale, b_scale = (constant(v) for v in inputs[2:4])
    if a_scale is None or b_scale is None or a_scale.size != 1 or a_scale.dtype != np.float32:
        return Refusal(problem="a scale is computed", node=label(node), expected="constants, and one scale for A")
    product: list[ir.Value | None] = [*inputs[:2], *inputs[4:6]]
    while product[-1] is None:
        product.pop()
    y = node.outputs[0]
    sums = written.add("MatMulInteger", product, "sums", ir.DataType.INT32, like=y)
    real = written.add("Cast", [sums], "cast", like=y, to=ir.DataType.FLOAT.value)
    factor = written.constant("factor", np.asarray(a_scale.reshape(()) * b_scale, np.float32))
    result = written.add("Mul", [real, factor], "scaled", like=y)
    if inputs[6] is not None:
        written.add("Add", [result, inputs[6]], "biased", like=y)
    return None


def convolution(written: ReplacementNodes) -> Refusal | None:
    """The standard operator, between two Transposes where the channels are the last axis."""
    node = written.node
    inputs = [*node.inputs, *[None] * 8][:8]
    x, y_zero = inputs[0], constant(inputs[7])
    attributes = {name: a.value for name, a in node.attributes.items() if name != _CHANNELS_LAST}
    if x is None or x.dtype is None or x.shape is None or y_zero is None:
        return Refusal(problem="type or rank of X is not known, or the zero point of Y is computed", node=label(node))
    dtype, rank = ir.DataType.from_numpy(y_zero.dtype), x.shape.rank()
    if not node.attributes.get_int(_CHANNELS_LAST, 0):
        written.add("QLinearConv", list(node.inputs), "convolved", dtype, like=written.output, **attributes)
        return None
    first = written.add("Transpose", [x], "first", x.dtype, perm=to_first(rank))
    convolved = written.add("QLinearConv", [first, *node.inputs[1:]], "convolved", dtype, **attributes)
    written.add("Transpose", [convolved], "last", dtype, like=written.output, perm=to_last(rank))
    return None
