"""read_bytes: ONNX Runtime's contributed operators on bytes as standard operators between quantisers.

    QLinearX(a, b):  QuantizeLinear(X(DequantizeLinear(a), DequantizeLinear(b)))

Only where that gives the byte that the installed ONNX Runtime gives, each time: the order of its float operations has
to be that of the reference, see `float_order`. Where standard float32 operators round in another order than the
kernel, they are written in the form that does not. Sigmoid is refused where a byte lies next to a tie. QGemm
becomes QLinearConv, and MatMulIntegerToFloat becomes MatMulInteger. Other readers go on from there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from anybit.cleanup.infer_shapes import infer_missing
from anybit.errors import Refusal
from anybit.formats.dialect import Outcome
from anybit.formats.integer.region import Region
from anybit.formats.ort_contrib.emit import ReplacementNodes
from anybit.formats.ort_contrib.float_order import refusal_of_order
from anybit.formats.ort_contrib.kernels import PairForm, Scaled, offsets, operands, pair_form, ratios, sigmoid_ties
from anybit.formats.ort_contrib.pools import average_pool, global_average_pool, max_pool, softmax
from anybit.formats.ort_contrib.products import convolution, gemm, matmul, matmul_to_float
from anybit.graph.constants import constant
from anybit.graph.editor import Editor
from anybit.graph.walk import all_nodes, label, shape_of
from anybit.ops.contributed import DOMAIN
from anybit.ops.contributed.elementwise import SLOPE, is_exchanged


def read_bytes(model: ir.Model) -> Outcome:
    """Makes standard nodes of contributed operators on bytes, in place.

    Returns:
        A refusal for each that is known here and stays.
    """
    refusals, done = list[Refusal](), list[ReplacementNodes]()
    nodes = [n for n in all_nodes(model.graph) if _is_known(n)]
    infer_missing(model, [v for n in nodes for v in (*n.inputs, *n.outputs)])
    with Editor(model, rule="read") as edit:
        region = Region(edit)
        for written in [ReplacementNodes(edit, n) for n in nodes]:
            refusal = refusal_of_order(written.node) or _WRITERS[written.node.op_type](written)
            if refusal is None:
                written.put()
                done.append(written)
            else:
                refusals.append(refusal)
        for written in done:
            written.join(region)
        refusals += region.apply()
    return Outcome(tuple(refusals))


def _is_known(node: ir.Node) -> bool:
    """Whether there is a rule; QLinearMatMul of constant weights is left to `read_products`."""
    if node.domain == "" and node.op_type == "QLinearMatMul":
        return len(node.inputs) > 3 and constant(node.inputs[3]) is None
    return node.domain == DOMAIN and node.op_type in _WRITERS


def _pair(written: ReplacementNodes) -> Refusal | None:
    node = written.node
    found = operands(node, 0, 3, output=6)
    if isinstance(found, Refusal):
        return found
    a, b, y = found
    shapes = [shape_of(v) for v in (a.value, b.value)]
    order = None if shapes[0] is None or shapes[1] is None else is_exchanged(shapes[0], shapes[1])
    form = pair_form(node.op_type, a, b, y, is_exchanged=order)
    if isinstance(form, int):
        return Refusal(
            problem="float32 and ONNX Runtime's kernel round to different bytes",
            node=label(node),
            got=f"{form} of {a.held.size * b.held.size} pairs of bytes",
            expected="none",
        )
    op_type = node.op_type.removeprefix("QLinear")
    match form:
        case PairForm.REAL:
            reals = [written.real(v, n) for v, n in ((a, "a"), (b, "b"))]
            written.quantized(written.add(op_type, [*reals], "real", like=written.output), y)
        case _ if op_type == "Mul":
            _product(written, (a, b, y), is_shifted=form is PairForm.KERNEL)
        case PairForm.RATIO:
            _sum(written, (a, b, y))
        case PairForm.KERNEL:
            _fused(written, (b, a, y) if order else (a, b, y))
    return None


def _sum(written: ReplacementNodes, scales: tuple[Scaled, Scaled, Scaled]) -> None:
    a, b, y = scales
    factors = ratios("QLinearAdd", a, b, y)
    parts = [
        written.times(written.centred(v, n), f, f"{n}/ratio") for v, f, n in zip((a, b), factors, "ab", strict=True)
    ]
    written.rounded(written.add("Add", [*parts], "levels", like=written.output), y)


def _product(written: ReplacementNodes, scales: tuple[Scaled, Scaled, Scaled], *, is_shifted: bool) -> None:
    """A product of integers, and a factor; the zero point is added before it is rounded where it says so."""
    a, b, y = scales
    result = written.add("Mul", [written.centred(a, "a"), written.centred(b, "b")], "levels", like=written.output)
    steps = written.times(result, ratios("QLinearMul", a, b, y)[0], "ratio")
    steps.type = ir.TensorType(ir.DataType.FLOAT)
    if is_shifted:
        written.shifted(steps, y)
    else:
        written.rounded(steps, y)


def _fused(written: ReplacementNodes, scales: tuple[Scaled, Scaled, Scaled]) -> None:
    """fma(a, p, fma(b, q, fixed)): products in float64, where they are exact, and both sums rounded to float32."""
    a, b, y = scales
    products: list[ir.Value] = []
    factors = zip(ratios("QLinearAdd", a, b, y), offsets(a, b, y), strict=True)
    for (v, n), (factor, offset) in zip(((a, "a"), (b, "b")), factors, strict=True):
        wide = written.wide(written.centred(v, n), f"{n}/wide")
        constants = [
            written.constant(f"{n}/{k}", np.asarray(c, np.float64)) for k, c in (("p", factor), ("shift", offset))
        ]
        product = written.add("Mul", [wide, constants[0]], f"{n}/product", ir.DataType.DOUBLE, like=wide)
        products.append(written.add("Add", [product, constants[1]], f"{n}/shifted", ir.DataType.DOUBLE, like=wide))
    inner = written.wide(written.narrow(products[1], "inner"), "inner/wide")
    total = written.add("Add", [products[0], inner], "total", ir.DataType.DOUBLE, like=written.output)
    total.type = ir.TensorType(ir.DataType.DOUBLE)
    written.nearest(written.narrow(total, "outer"), y)


def _leaky_relu(written: ReplacementNodes) -> Refusal | None:
    found = operands(written.node, 0, output=3)
    if isinstance(found, Refusal):
        return found
    x, y = found
    alpha = written.node.attributes.get_float("alpha", SLOPE)
    result = written.add("LeakyRelu", [written.real(x, "x")], "real", like=x.value, alpha=float(alpha))
    written.quantized(result, y)
    return None


def _sigmoid(written: ReplacementNodes) -> Refusal | None:
    found = operands(written.node, 0, output=3)
    if isinstance(found, Refusal):
        return found
    x, y = found
    ties = sigmoid_ties(x, y)
    if ties:
        return Refusal(
            problem="a sigmoid lies on a rounding tie, implementations of it differ there",
            node=label(written.node),
            got=f"{ties} of {x.held.size} bytes",
            expected="none",
            hint="quantise its output with a scale that is a little smaller or larger",
        )
    written.quantized(written.add("Sigmoid", [written.real(x, "x")], "real", like=x.value), y)
    return None


def _where(written: ReplacementNodes) -> Refusal | None:
    found = operands(written.node, 1, 4, output=7)
    if isinstance(found, Refusal):
        return found
    a, b, y = found
    inputs = [written.node.inputs[0], written.real(a, "a"), written.real(b, "b")]
    written.quantized(written.add("Where", inputs, "real", like=written.output), y)
    return None


def _concat(written: ReplacementNodes) -> Refusal | None:
    node = written.node
    if len(node.inputs) < 5 or (len(node.inputs) - 2) % 3:
        return Refusal(problem="number of inputs", node=label(node), expected="2, and 3 for each tensor")
    found = operands(node, *range(2, len(node.inputs), 3), output=0)
    if isinstance(found, Refusal):
        return found
    reals = [written.real(x, f"x{i}") for i, x in enumerate(found[:-1])]
    axis = node.attributes.get_int("axis", 0)
    written.quantized(written.add("Concat", [*reals], "real", like=written.output, axis=axis), found[-1])
    return None


_WRITERS: dict[str, Callable[[ReplacementNodes], Refusal | None]] = {
    "MatMulIntegerToFloat": matmul_to_float,
    "NhwcMaxPool": max_pool,
    "QGemm": gemm,
    "QLinearAdd": _pair,
    "QLinearAveragePool": average_pool,
    "QLinearConcat": _concat,
    "QLinearConv": convolution,
    "QLinearGlobalAveragePool": global_average_pool,
    "QLinearLeakyRelu": _leaky_relu,
    "QLinearMatMul": matmul,
    "QLinearMul": _pair,
    "QLinearSigmoid": _sigmoid,
    "QLinearSoftmax": softmax,
    "QLinearWhere": _where,
}
