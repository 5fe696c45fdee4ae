"""contractions: the multiply-accumulates of a node, from the shapes of its tensors."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from anybit.graph.attributes import integers
from anybit.graph.walk import shape_of
from anybit.ops.calls import is_call
from anybit.ops.channels_last.layout import DOMAIN as CHANNELS_LAST
from anybit.ops.evaluate import EVALUATION_ERRORS
from anybit.ops.finn.xnor_popcount_mat_mul import XNOR_POPCOUNT_MAT_MUL
from anybit.ops.standard.windows import Windows

_FREE = "give the shapes of the inputs: --input-shape NAME=1,3,224,224, or the pass SetInputShape"


class Uncountable(Exception):  # noqa: N818  (not an error of the model: the figure is left open)
    """The multiply-accumulates of a node do not follow from what is known about it; the text says why.

    Args:
        reason: Why.
        hint: What helps.
    """

    def __init__(self, reason: str, *, hint: str = "") -> None:
        super().__init__(reason)
        self.hint = hint


@dataclass(frozen=True)
class Contraction:
    """Products of two tensors that a node adds up. Each element of an operand takes part in equally many of them.

    Attributes:
        left: Index of the input that is the first operand; None for a state that the node holds itself.
        right: Index of the input that is the second operand; None for coefficients that the node computes itself.
        macs: Number of products. Those with the zeros of a padding, and those of results that are cropped, count.
        terms: Products in one sum, at most.
        zero_points: By index of an operand, the index of its zero point and the axes that follow the zero point's.
    """

    left: int | None
    right: int | None
    macs: int
    terms: int
    zero_points: Mapping[int, tuple[int, int]] = field(default_factory=dict[int, tuple[int, int]])


def contractions(node: ir.Node) -> tuple[Contraction, ...] | None:
    """What a node multiplies and adds up, None where its operator does no such thing.

    Raises:
        Uncountable: A dimension is not known, shapes contradict each other, or the operator's products are not counted.
    """
    counter = _counter(node)
    try:
        return None if counter is None else counter(node)
    except EVALUATION_ERRORS as error:
        raise Uncountable(f"shapes or attributes contradict each other: {error}") from error


def operands_of(node: ir.Node) -> tuple[int, ...] | None:
    """Indices of the inputs that a node multiplies by each other; None where that is not known."""
    if _counter(node) in (None, _uncounted):
        return None
    return _OPERANDS.get(node.op_type, (0, 1))


def _counter(node: ir.Node) -> _Counter | None:
    if node.domain == CHANNELS_LAST and node.op_type == "Conv":
        return _conv_channels_last
    if is_call(node, XNOR_POPCOUNT_MAT_MUL):
        return _COUNTERS["MatMul"]
    return _COUNTERS.get(node.op_type) if node.domain == "" else None


def known_shape(value: ir.Value | None, *, what: str) -> tuple[int, ...]:
    """The shape of a tensor.

    Raises:
        Uncountable: Its rank or a dimension is not known.
    """
    shape = None if value is None else shape_of(value)
    if value is None or shape is None:
        raise Uncountable(f"the rank of {what} is not known", hint=_FREE)
    sizes = tuple(d for d in shape if d is not None)
    if len(sizes) < len(shape):
        raise Uncountable(f"dimension {shape.index(None)} of {what} '{value.name}' is not known", hint=_FREE)
    return sizes


def _input(node: ir.Node, index: int) -> tuple[int, ...]:
    return known_shape(node.inputs[index] if index < len(node.inputs) else None, what=f"input {index}")


def _output(node: ir.Node) -> tuple[int, ...]:
    return known_shape(node.outputs[0], what="the output")


def _same(left: int, right: int, what: str) -> None:
    if left != right:
        raise Uncountable(f"the operands have {left} and {right} {what}")


def _conv(x: int, w: int, zero_points: Mapping[int, int]) -> Callable[[ir.Node], tuple[Contraction, ...]]:
    """N * output positions * elements of W: each weight meets one element of X at every output position."""

    def count(node: ir.Node) -> tuple[Contraction, ...]:
        weights, (batch, channels, *spatial) = _input(node, w), _input(node, x)
        _same(channels, weights[1] * node.attributes.get_int("group", 1), "channels")
        windows = Windows.of(spatial, weights[2:], {n: a.value for n, a in node.attributes.items()})
        macs = batch * math.prod(windows.output) * math.prod(weights)
        following = {i: (z, len(weights) - 1 if i == w else 0) for i, z in zero_points.items()}
        return (Contraction(x, w, macs, math.prod(weights[1:]), following),)

    return count


def _conv_channels_last(node: ir.Node) -> tuple[Contraction, ...]:
    """Conv on (N, spatial..., C), with weights (M, kernel..., C/group)."""
    weights, (batch, *spatial, channels) = _input(node, 1), _input(node, 0)
    _same(channels, weights[-1] * node.attributes.get_int("group", 1), "channels")
    windows = Windows.of(spatial, weights[1:-1], {n: a.value for n, a in node.attributes.items()})
    return (Contraction(0, 1, batch * math.prod(windows.output) * math.prod(weights), math.prod(weights[1:])),)


def _conv_transpose(node: ir.Node) -> tuple[Contraction, ...]:
    """N * input positions * elements of W: each weight meets every position of its input channel."""
    (batch, channels, *positions), (inputs, _, *kernel) = _input(node, 0), _input(node, 1)
    _same(channels, inputs, "channels")
    macs = batch * math.prod(positions) * math.prod(_input(node, 1))
    strides = integers(node, "strides", (1,) * len(kernel))
    taps = math.prod(math.ceil(k / s) for k, s in zip(kernel, strides, strict=True))
    return (Contraction(0, 1, macs, channels // node.attributes.get_int("group", 1) * taps),)


def _mat_mul(a: int, b: int, zero_points: Mapping[int, int]) -> Callable[[ir.Node], tuple[Contraction, ...]]:
    """Product of the broadcast leading axes * rows * columns * inner size."""

    def count(node: ir.Node) -> tuple[Contraction, ...]:
        left, right = _input(node, a), _input(node, b)
        if not left or not right:
            raise Uncountable("an operand is a scalar")
        _same(left[-1], right[max(len(right) - 2, 0)], "terms")
        rows, columns = left[-2:-1], right[-1:] if len(right) > 1 else ()
        macs = math.prod((*_broadcast(left[:-2], right[:-2]), *rows, *columns)) * left[-1]
        following = {i: (z, 1 if i == a else 0) for i, z in zero_points.items()}
        return (Contraction(a, b, macs, left[-1], following),)

    return count


def _broadcast(a: Sequence[int], b: Sequence[int]) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(tuple(a), tuple(b))
    except ValueError:
        raise Uncountable(f"shapes {list(a)} and {list(b)} do not broadcast") from None


def _gemm(node: ir.Node) -> tuple[Contraction, ...]:
    a, b = _input(node, 0), _input(node, 1)
    rows, inner = a[::-1] if node.attributes.get_int("transA", 0) else a
    terms, columns = b[::-1] if node.attributes.get_int("transB", 0) else b
    _same(inner, terms, "terms")
    return (Contraction(0, 1, rows * inner * columns, inner),)


def _einsum(node: ir.Node) -> tuple[Contraction, ...] | None:
    """Product of all sizes, for two operands whose every summed index is in both."""
    equation = node.attributes["equation"].as_string().replace(" ", "")
    operands, arrow, result = equation.partition("->")
    terms = operands.split(",")
    if len(terms) == 1:
        return None
    if not arrow:
        result = "".join(sorted(i for i, n in Counter(operands.replace(",", "")).items() if n == 1))
    labels = [set(t) for t in terms]
    diagonal = any(len(t) != len(s) for t, s in zip(terms, labels, strict=True))
    if len(terms) > 2 or "." in equation or diagonal or (labels[0] ^ labels[1]) - set(result):
        raise Uncountable(f"equation {equation} is no product of two tensors over their common indices")
    sizes: dict[str, int] = {}
    for index, term in enumerate(terms):
        sizes.update(zip(term, _input(node, index), strict=True))
    inner = math.prod(n for i, n in sizes.items() if i not in result)
    return (Contraction(0, 1, math.prod(sizes.values()), inner),)


def _recurrent(node: ir.Node) -> tuple[Contraction, ...]:
    """Steps * batch * elements of W, and of R: the products with the input and with the state of the step before."""
    steps, batch, features = _input(node, 0)
    if node.attributes.get_int("layout", 0):
        steps, batch = batch, steps
    weights, recurrence = _input(node, 1), _input(node, 2)
    return (
        Contraction(0, 1, steps * batch * math.prod(weights), features),
        Contraction(None, 2, steps * batch * math.prod(recurrence), recurrence[-1]),
    )


def _resize(node: ir.Node) -> tuple[Contraction, ...] | None:
    """Output elements * taps along each resized axis, 2 where linear, 4 where cubic; nothing where nearest."""
    mode = node.attributes.get_string("mode", "nearest")
    if mode == "nearest":
        return None
    if node.attributes.get_int("antialias", 0):
        raise Uncountable("the taps of an antialiasing filter are not counted")
    if node.attributes.get_string("coordinate_transformation_mode", "") == "tf_crop_and_resize":
        raise Uncountable("the taps of a crop are not counted")
    before, after = _input(node, 0), _output(node)
    resized = sum(b != a for b, a in zip(before, after, strict=True))
    taps = (4 if mode == "cubic" else 2) ** resized
    return (Contraction(0, None, math.prod(after) * taps, taps),) if resized else None


def _uncounted(node: ir.Node) -> tuple[Contraction, ...]:
    raise Uncountable(f"the products of {node.op_type} are not counted")


_UNCOUNTED = """AffineGrid Attention CausalConvWithState DeformConv Det DFT GridSample LinearAttention MelWeightMatrix
RoiAlign STFT""".split()
_Counter = Callable[[ir.Node], tuple[Contraction, ...] | None]
_COUNTERS: Mapping[str, _Counter] = {
    "Conv": _conv(0, 1, {}),
    "ConvInteger": _conv(0, 1, {0: 2, 1: 3}),
    "QLinearConv": _conv(0, 3, {0: 2, 3: 5}),
    "ConvTranspose": _conv_transpose,
    "MatMul": _mat_mul(0, 1, {}),
    "MatMulInteger": _mat_mul(0, 1, {0: 2, 1: 3}),
    "QLinearMatMul": _mat_mul(0, 3, {0: 2, 3: 5}),
    "Gemm": _gemm,
    "Einsum": _einsum,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
    "Resize": _resize,
    "Upsample": _resize,
    **dict.fromkeys(_UNCOUNTED, _uncounted),
}
_OPERANDS = {
    "QLinearConv": (0, 3),
    "QLinearMatMul": (0, 3),
    "LSTM": (0, 1, 2),
    "GRU": (0, 1, 2),
    "RNN": (0, 1, 2),
    "Resize": (0,),
    "Upsample": (0,),
}
