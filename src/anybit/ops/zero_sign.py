"""The sign of zero: which operators tell -0 from +0, which pass the difference on, and which end it.

    1 / -0 = -inf,  1 / +0 = +inf;    -0 * 3 = -0,  +0 * 3 = +0;    exp(-0) = exp(+0) = 1

-0 and +0 are one number, so two models whose outputs differ by that alone are equal. A tensor inside of a model may
have zeros of the other sign only if no operator tells them apart, directly or behind operators that pass the sign on.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array, as_float64
from anybit.errors import Refusal
from anybit.graph.constants import constant
from anybit.graph.walk import all_nodes, label, subgraphs
from anybit.ops.calls import operator_of
from anybit.ops.channels_last import layout
from anybit.ops.operator import DOMAIN

_VENDOR = "com.microsoft"


class ZeroSign(enum.Enum):
    """What an operator makes of zeros of an input that have the other sign."""

    ENDED = "ended"
    """The output is the same, bit for bit."""
    PASSED_ON = "passed on"
    """Zeros of the output may have the other sign; it is the same number."""
    TOLD = "told"
    """The output may be another number."""


# Operators that compare, count, or compute a function f with f(-0) = f(+0), which is no zero.
_ENDING = frozenset(
    """Abs Acos Acosh And ArgMax ArgMin Bernoulli BlackmanWindow ConvInteger Cos Cosh DynamicQuantizeLinear Equal Exp
    EyeLike Greater GreaterOrEqual HammingWindow HannWindow Hardmax IsInf IsNaN Less LessOrEqual Log MatMulInteger
    MelWeightMatrix Multinomial NonMaxSuppression NonZero Not Or QLinearConv QLinearMatMul RandomNormalLike
    RandomUniformLike ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceSumSquare SequenceLength Shape Sigmoid
    Size Softmax Softplus Xor""".split()
)
# Operators that move, scale or add up, or compute a function f with f(0) = 0. Some end the sign at times: a sum of
# zeros is -0 only if all of them are; of a maximum of -0 and +0, or a sum of products, implementations make either.
_PASSING = frozenset(
    """Add AffineGrid Asin Asinh Atan Atanh Attention AveragePool BatchNormalization Cast CastLike Ceil Celu
    CenterCropPad Clip Col2Im Compress Concat ConcatFromSequence Conv ConvTranspose CumProd CumSum DFT DeformConv
    DepthToSpace DequantizeLinear Det Div Dropout Einsum Elu Erf Expand Flatten Floor GRU Gather GatherElements
    GatherND Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool GridSample GroupNormalization HardSigmoid
    HardSwish Identity If InstanceNormalization LRN LSTM LayerNormalization LeakyRelu LogSoftmax Loop
    LpNormalization LpPool MatMul Max MaxPool MaxRoiPool MaxUnpool Mean MeanVarianceNormalization Min Mish Mod Mul
    Neg NegativeLogLikelihoodLoss OneHot Optional OptionalGetElement OptionalHasElement PRelu Pad QuantizeLinear
    RMSNormalization RNN Range ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Relu Reshape Resize
    ReverseSequence RoiAlign RotaryEmbedding Round STFT Scan Scatter ScatterElements ScatterND Selu SequenceAt
    SequenceConstruct SequenceErase SequenceInsert SequenceMap Shrink Sign Sin Sinh Slice SoftmaxCrossEntropyLoss
    Softsign SpaceToDepth Split SplitToSequence Sqrt Squeeze Sub Sum SwiGLU Swish Tan Tanh TensorScatter
    ThresholdedRelu Tile TopK Transpose Trilu Unique Unsqueeze Upsample Where""".split()
)
_VENDOR_PASSING = frozenset(
    """BiasGelu DequantizeLinear DynamicQuantizeMatMul FastGelu FusedConv FusedGemm FusedMatMul GatherBlockQuantized
    Gelu MatMulInteger16 MatMulIntegerToFloat MatMulNBits NhwcFusedConv QuickGelu SimplifiedLayerNormalization
    SkipLayerNormalization SkipSimplifiedLayerNormalization""".split()
)
_OURS: dict[tuple[str, str], dict[int, ZeroSign]] = {
    (DOMAIN, "BipolarQuant"): {0: ZeroSign.ENDED},
    (DOMAIN, "FloatQuant"): {1: ZeroSign.TOLD},
    (DOMAIN, "Im2Col"): {},
    (DOMAIN, "MultiThreshold"): {0: ZeroSign.ENDED, 1: ZeroSign.ENDED},
    (DOMAIN, "Quant"): {0: ZeroSign.ENDED, 1: ZeroSign.TOLD, 3: ZeroSign.ENDED},  # X / scale + zeropt is never -0
    (DOMAIN, "QuantAvgPool2d"): {},
    (DOMAIN, "Trunc"): {1: ZeroSign.TOLD},
    **{(layout.DOMAIN, name): {} for name in "AveragePool BatchNormalization Conv GlobalAveragePool MaxPool".split()},
}
"""Our operators, and the inputs of which they do not pass the sign on."""


def zero_sign(node: ir.Node, place: int, opsets: Mapping[str, int]) -> ZeroSign:
    """What a node makes of zeros of one of its inputs that have the other sign; told, where it is not known.

    Args:
        node: The node.
        place: Position of the input.
        opsets: Version by domain.
    """
    value = node.inputs[place]
    dtype = None if value is None else value.dtype
    if value is None or (dtype is not None and not _has_signed_zeros(dtype)):
        return ZeroSign.ENDED
    if node.domain == "":
        return _of_standard(node, place)
    if node.domain == _VENDOR:
        if node.op_type == "QuantizeLinear":
            return ZeroSign.TOLD if place == 1 else ZeroSign.ENDED
        return ZeroSign.PASSED_ON if node.op_type in _VENDOR_PASSING else ZeroSign.TOLD
    operator = operator_of(node, dict(opsets))
    known = None if operator is None else _OURS.get((operator.domain, operator.name))
    return ZeroSign.TOLD if known is None else known.get(place, ZeroSign.PASSED_ON)


def tensors_of_told_zeros(model: ir.Model) -> dict[ir.Value, ir.Node]:
    """The tensors of which some operator tells the sign of zeros, and that operator; one walk, against the flow.

    A tensor that is not among them may have zeros of the other sign, and no output of the model is another number.
    Constants and inputs of the model are left out: their zeros have the sign that they have.
    """
    opsets, nodes = model.opset_imports, list(all_nodes(model.graph))
    owners = {graph: node for node in nodes for graph in subgraphs(node)}
    pending = [
        (value, node)
        for node in nodes
        for place, value in enumerate(node.inputs)
        if value is not None and _is_made(value, owners) and zero_sign(node, place, opsets) is ZeroSign.TOLD
    ]
    found: dict[ir.Value, ir.Node] = {}
    while pending:
        value, teller = pending.pop()
        if value not in found:
            found[value] = teller
            pending += [(source, teller) for source in _sources(value, owners, opsets)]
    return found


def _is_made(value: ir.Value, owners: Mapping[ir.Graph, ir.Node]) -> bool:
    """Whether a node makes a tensor, or hands it to its subgraph."""
    maker = value.producer()
    if maker is None:
        return not value.is_initializer() and isinstance(value.graph, ir.Graph) and value.graph in owners
    return maker.op_type != "Constant" or maker.domain != ""


def _sources(value: ir.Value, owners: Mapping[ir.Graph, ir.Node], opsets: Mapping[str, int]) -> Iterator[ir.Value]:
    """The tensors that a tensor has its signs of zeros from."""
    maker = value.producer()
    if maker is None and isinstance(value.graph, ir.Graph) and value.is_graph_input():
        maker = owners.get(value.graph)  # what a Loop hands to its body comes from its inputs, or from the body itself
    if maker is None:
        return
    for place, source in enumerate(maker.inputs):
        is_passed_on = zero_sign(maker, place, opsets) is ZeroSign.PASSED_ON
        if source is not None and is_passed_on and _is_made(source, owners):
            yield source
    for graph in subgraphs(maker):
        yield from graph.outputs


def refusal_where_told(value: ir.Value, told: Mapping[ir.Value, ir.Node]) -> Refusal | None:
    """Why the zeros of a tensor have to keep their sign; None if no operator tells it.

    Args:
        value: The tensor.
        told: See `tensors_of_told_zeros`.
    """
    teller = told.get(value)
    if teller is None:
        return None
    return Refusal(
        problem="it may make -0, what would replace it +0, and a later operator tells them apart",
        got=label(teller),
        expected="operators for which both are one number",
        hint="if +0 is meant, put Sum(x, 0) before that operator",
    )


def is_negative_zero(array: Array) -> Array:
    """Where an array has -0."""
    return (array == 0) & np.signbit(array) if array.dtype.kind == "f" else np.zeros(array.shape, np.bool_)


def has_subgraphs(node: ir.Node) -> bool:
    """Whether a node is an If, Loop or the like."""
    return any(True for _ in subgraphs(node))


def _has_signed_zeros(dtype: ir.DataType) -> bool:
    return dtype.is_floating_point() or dtype in (ir.DataType.COMPLEX64, ir.DataType.COMPLEX128)


def _of_standard(node: ir.Node, place: int) -> ZeroSign:
    if (node.op_type, place) in _TOLD:
        return ZeroSign.TOLD
    if (node.op_type, place) in _CONDITIONS:
        return ZeroSign.ENDED
    rule = _RULES.get(node.op_type)
    found = None if rule is None else rule(node, place)
    if found is not None:
        return found
    if node.op_type in _ENDING:
        return ZeroSign.ENDED
    return ZeroSign.PASSED_ON if node.op_type in _PASSING else ZeroSign.TOLD


def _of_product(node: ir.Node, place: int) -> ZeroSign | None:
    """A square is no -0."""
    del place
    return ZeroSign.ENDED if node.inputs[0] is node.inputs[1] else None


def _of_power(node: ir.Node, place: int) -> ZeroSign:
    """(-0)^n is -0 for odd n > 0, -inf for odd n < 0, (+0)^n for even n; of roots, implementations make either."""
    if place == 1:
        return ZeroSign.ENDED
    exponent = constant(node.inputs[1])
    if exponent is None:
        return ZeroSign.TOLD
    uneven = as_float64(exponent) % 2 != 0
    if not uneven.any():
        return ZeroSign.ENDED
    return ZeroSign.TOLD if (uneven & (exponent < 0)).any() else ZeroSign.PASSED_ON


def _of_cast(node: ir.Node, place: int) -> ZeroSign:
    """Text begins with "-"; numbers of a float type have the sign, others have none."""
    if place > 0:  # of CastLike
        return ZeroSign.ENDED
    dtype = ir.DataType(node.attributes.get_int("to", 0)) if "to" in node.attributes else node.outputs[0].dtype
    if dtype is None or dtype in (ir.DataType.UNDEFINED, ir.DataType.STRING):
        return ZeroSign.TOLD
    return ZeroSign.PASSED_ON if _has_signed_zeros(dtype) else ZeroSign.ENDED


def _of_quantizer(node: ir.Node, place: int) -> ZeroSign | None:
    dtype = node.outputs[0].dtype
    return ZeroSign.ENDED if place == 0 and dtype is not None and not _has_signed_zeros(dtype) else None


def _of_sum(node: ir.Node, place: int) -> ZeroSign | None:
    """A constant that is nowhere -0, or subtracted and nowhere +0: the sum of it and a zero of any sign is it."""
    is_minuend = node.op_type == "Sub" and place == 0
    for other, value in enumerate(node.inputs):
        array = None if other == place else constant(value)
        if array is not None and not (array == 0)[is_negative_zero(array) != is_minuend].any():
            return ZeroSign.ENDED
    return None


def _of_clip(node: ir.Node, place: int) -> ZeroSign | None:
    """Bounds that 0 is not between end its sign."""
    lower, upper = (constant(v) for v in (*node.inputs, None, None)[1:3])
    apart = (lower is not None and bool((lower > 0).all())) or (upper is not None and bool((upper < 0).all()))
    return ZeroSign.ENDED if place == 0 and apart else None


_CONDITIONS = frozenset((("If", 0), ("Loop", 0), ("Loop", 1), ("Where", 0)))
_TOLD = frozenset(
    (
        ("BitCast", 0),
        ("Div", 1),
        ("QLinearConv", 6),
        ("QLinearMatMul", 6),
        ("QuantizeLinear", 1),
        ("Range", 2),
        ("Reciprocal", 0),
    )
)
"""The inputs by which an operator divides, or whose bits it takes as they are."""
_RULES: dict[str, Callable[[ir.Node, int], ZeroSign | None]] = {
    "Add": _of_sum,
    "Cast": _of_cast,
    "CastLike": _of_cast,
    "Clip": _of_clip,
    "Mul": _of_product,
    "Pow": _of_power,
    "QuantizeLinear": _of_quantizer,
    "Sub": _of_sum,
    "Sum": _of_sum,
}
"""For operators of which other inputs, or types, decide; None where they do not."""
