"""read_bytes: ONNX Runtime's contributed operators on bytes as float operators between quantisers.

    QLinearX(a, b):  QuantizeLinear(X(DequantizeLinear(a), DequantizeLinear(b)))

Only where that gives the byte that ONNX Runtime gives, each time: LeakyRelu, Where, Concat, GlobalAveragePool and
MatMul always; Add, Mul and Sigmoid where no byte, or pair of bytes, tells them apart, see `byte_operators`. QGemm
becomes QLinearConv, and MatMulIntegerToFloat becomes MatMulInteger. Other readers go on from there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from anybit.errors import Refusal
from anybit.formats.byte_operators import PairForm, Scaled, pair_form, ratios, scaled, sigmoid_ties
from anybit.formats.format import Outcome
from anybit.formats.integer_region import Region
from anybit.formats.written import Written
from anybit.ops.constants import constant
from anybit.ops.nodes import label, shape_of
from anybit.passes.rewriter import Rewriter, infer_missing

_VENDOR = "com.microsoft"
_OF_KNOWN_SHAPE = frozenset(("QLinearGlobalAveragePool", "QLinearMatMul"))
_LARGEST = 1 << 24  # float32 holds the sums exactly
_WIDEST = 255  # magnitude of a byte without its zero point
_AXES_AS_INPUT = 13  # first opset of that ReduceSum
_SLOPE = 0.01  # of LeakyRelu, where it does not say


def read_bytes(model: ir.Model) -> Outcome:
    """Makes standard nodes of contributed operators on bytes, in place.

    Returns:
        A refusal for each that is known here and stays.
    """
    rewriter, refusals = Rewriter(model, "read"), list[Refusal]()
    nodes = [n for n in model.graph.all_nodes() if _is_known(n)]
    done: list[Written] = []
    for node in sorted(nodes, key=lambda n: n.op_type in _OF_KNOWN_SHAPE):
        if node.op_type in _OF_KNOWN_SHAPE:
            infer_missing(model, [node.inputs[0]])
        written = Written(rewriter, node)
        refusal = _WRITERS[node.op_type](written)
        if refusal is not None:
            refusals.append(refusal)
            continue
        written.put()
        done.append(written)
    region = Region(rewriter)
    for written in done:
        written.join(region)
    refusals += region.apply()
    rewriter.result(bool(done))
    return Outcome(tuple(refusals))


def _is_known(node: ir.Node) -> bool:
    """Whether there is a rule; QLinearMatMul of constant weights is left to `read_products`."""
    if node.domain == "" and node.op_type == "QLinearMatMul":
        return len(node.inputs) > 3 and constant(node.inputs[3]) is None
    return node.domain == _VENDOR and node.op_type in _WRITERS


def _operands(node: ir.Node, *places: int, output: int) -> list[Scaled] | Refusal:
    """The tensors of bytes whose scales and zero points stand behind them, and the output, whose stand at `output`."""
    found = [scaled(node, p, node.inputs[p] if p < len(node.inputs) else None) for p in places]
    found.append(scaled(node, 0, node.outputs[0], (output, output + 1)))
    refusal = next((f for f in found if isinstance(f, Refusal)), None)
    return refusal or [f for f in found if isinstance(f, Scaled)]


def _pair(written: Written) -> Refusal | None:
    node = written.node
    operands = _operands(node, 0, 3, output=6)
    if isinstance(operands, Refusal):
        return operands
    a, b, y = operands
    shapes = [shape_of(v) for v in (a.value, b.value)]
    same = shapes[0] is not None and shapes[0] == shapes[1] and None not in shapes[0]
    form = pair_form(node.op_type, a, b, y, is_broadcast=not same)
    if isinstance(form, int):
        return Refusal(
            problem="float32 and ONNX Runtime's kernel round to different bytes",
            node=label(node),
            got=f"{form} of {a.centred.size * b.centred.size} pairs of bytes",
            expected="none",
        )
    op_type = node.op_type.removeprefix("QLinear")
    if form is PairForm.REAL:
        reals = [written.real(v, n) for v, n in ((a, "a"), (b, "b"))]
        written.quantized(written.add(op_type, [*reals], "real", like=written.output), y)
        return None
    factors = ratios(node.op_type, a, b, y)
    parts = [written.centred(v, n) for v, n in ((a, "a"), (b, "b"))]
    if op_type == "Add":
        parts = [written.times(p, f, n) for p, f, n in zip(parts, factors, ("a/ratio", "b/ratio"), strict=True)]
    result = written.add(op_type, [*parts], "levels", like=written.output)
    written.rounded(written.times(result, factors[0], "ratio") if op_type == "Mul" else result, y)
    return None


def _leaky_relu(written: Written) -> Refusal | None:
    operands = _operands(written.node, 0, output=3)
    if isinstance(operands, Refusal):
        return operands
    x, y = operands
    alpha = written.node.attributes.get_float("alpha", _SLOPE)
    result = written.add("LeakyRelu", [written.real(x, "x")], "real", like=x.value, alpha=float(alpha))
    written.quantized(result, y)
    return None


def _sigmoid(written: Written) -> Refusal | None:
    operands = _operands(written.node, 0, output=3)
    if isinstance(operands, Refusal):
        return operands
    x, y = operands
    ties = sigmoid_ties(x, y)
    if ties:
        return Refusal(
            problem="a sigmoid lies on a rounding tie, implementations of it differ there",
            node=label(written.node),
            got=f"{ties} of {x.centred.size} bytes",
            expected="none",
        )
    written.quantized(written.add("Sigmoid", [written.real(x, "x")], "real", like=x.value), y)
    return None


def _where(written: Written) -> Refusal | None:
    operands = _operands(written.node, 1, 4, output=7)
    if isinstance(operands, Refusal):
        return operands
    a, b, y = operands
    inputs = [written.node.inputs[0], written.real(a, "a"), written.real(b, "b")]
    written.quantized(written.add("Where", inputs, "real", like=written.output), y)
    return None


def _concat(written: Written) -> Refusal | None:
    node = written.node
    if len(node.inputs) < 5 or (len(node.inputs) - 2) % 3:
        return Refusal(problem="number of inputs", node=label(node), expected="2, and 3 for each tensor")
    operands = _operands(node, *range(2, len(node.inputs), 3), output=0)
    if isinstance(operands, Refusal):
        return operands
    reals = [written.real(x, f"x{i}") for i, x in enumerate(operands[:-1])]
    axis = node.attributes.get_int("axis", 0)
    written.quantized(written.add("Concat", [*reals], "real", like=written.output, axis=axis), operands[-1])
    return None


def _global_average(written: Written) -> Refusal | None:
    node = written.node
    operands = _operands(node, 0, output=3)
    if isinstance(operands, Refusal):
        return operands
    x, y = operands
    shape = shape_of(x.value)
    if node.attributes.get_int("channels_last", 0):
        return Refusal(problem="its channels are the last axis", node=label(node), expected="channels_last 0")
    if shape is None or any(d is None for d in shape[2:]):
        return Refusal(problem="the size of the image is not known", node=label(node), got=str(shape))
    count = int(np.prod([d for d in shape[2:] if d is not None]))
    if count * _WIDEST >= _LARGEST:
        return Refusal(problem="float32 does not hold its sums", node=label(node), got=f"{count} bytes")
    opset = written.rewriter.model.opset_imports.get("", 1)
    if opset < _AXES_AS_INPUT:
        return Refusal(
            problem="ReduceSum has no axes as an input", node=label(node), got=f"opset {opset}", expected="13"
        )
    axes = written.constant("axes", np.arange(2, len(shape), dtype=np.int64))
    sums = written.add("ReduceSum", [written.centred(x, "x"), axes], "sums", like=written.output)
    factor = np.float32(x.scale / np.float32(y.scale * np.float32(count)))  # in the order of ONNX Runtime
    written.rounded(written.times(sums, factor, "levels"), y)
    return None


def _matmul(written: Written) -> Refusal | None:
    """QLinearMatMul of two tensors that are both computed."""
    node = written.node
    operands = _operands(node, 0, 3, output=6)
    if isinstance(operands, Refusal):
        return operands
    a, b, y = operands
    terms = (shape_of(a.value) or (None,))[-1]
    if terms is None:
        return Refusal(problem="the number of terms of its sums is not known", node=label(node))
    if terms * _WIDEST**2 >= _LARGEST:
        return Refusal(problem="float32 does not hold its sums", node=label(node), got=f"{terms} products of bytes")
    sums = written.add("MatMul", [written.centred(a, "a"), written.centred(b, "b")], "sums", like=written.output)
    factor = np.float32(a.scale * b.scale / y.scale)  # in the order of ONNX Runtime
    written.rounded(written.times(sums, factor, "levels"), y)
    return None


def _gemm(written: Written) -> Refusal | None:
    """QGemm is a convolution of one tap over rows, which QLinearConv has a bias for."""
    node = written.node
    inputs = [*node.inputs, *[None] * 9][:9]
    weights, bias = constant(inputs[3]), constant(inputs[6])
    if inputs[7] is None or node.attributes.get_float("alpha", 1.0) != 1.0 or node.attributes.get_int("transA", 0):
        return Refusal(problem="a form of QGemm", node=label(node), expected="an output scale, alpha 1 and transA 0")
    if weights is None or weights.ndim != 2 or (inputs[6] is not None and bias is None):
        return Refusal(problem="the weights or the bias are computed, or no matrix", node=label(node))
    rows = weights if node.attributes.get_int("transB", 0) else weights.T
    if bias is not None and bias.size not in (1, len(rows)):
        return Refusal(problem="shape of the bias", node=label(node), got=str(bias.shape), expected=f"({len(rows)},)")
    x, y_zero = constant(inputs[2]), constant(inputs[8])
    if inputs[0] is None or x is None or y_zero is None:
        return Refusal(problem="a zero point is computed, or missing", node=label(node), expected="constants")
    types = [ir.DataType.from_numpy(z.dtype) for z in (x, y_zero)]
    split_shape = written.constant("rows", np.array([-1, rows.shape[1], 1, 1], np.int64))
    split = written.add("Reshape", [inputs[0], split_shape], "split", types[0])
    split.shape = ir.Shape([None, rows.shape[1], 1, 1])
    convolved: list[ir.Value | None] = [split, *inputs[1:3]]
    convolved.append(written.constant("weights", np.ascontiguousarray(rows)[:, :, None, None]))
    convolved += [*inputs[4:6], *inputs[7:9]]
    if bias is not None:
        spread = np.broadcast_to(bias.reshape(-1), (len(rows),)).astype(np.int32)
        convolved.append(written.constant("bias", np.ascontiguousarray(spread)))
    y = written.add("QLinearConv", convolved, "convolved", types[1])
    y.shape = ir.Shape([None, len(rows), 1, 1])
    joined = written.constant("shape", np.array([-1, len(rows)], np.int64))
    written.add("Reshape", [y, joined], "bytes", types[1], like=written.output)
    return None


def _matmul_to_float(written: Written) -> Refusal | None:
    node = written.node
    inputs = [*node.inputs, *[None] * 7][:7]
    scales = [constant(v) for v in inputs[2:4]]
    a_scale, b_scale = scales
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


_WRITERS: dict[str, Callable[[Written], Refusal | None]] = {
    "MatMulIntegerToFloat": _matmul_to_float,
    "QGemm": _gemm,
    "QLinearAdd": _pair,
    "QLinearConcat": _concat,
    "QLinearGlobalAveragePool": _global_average,
    "QLinearLeakyRelu": _leaky_relu,
    "QLinearMatMul": _matmul,
    "QLinearMul": _pair,
    "QLinearSigmoid": _sigmoid,
    "QLinearWhere": _where,
}
