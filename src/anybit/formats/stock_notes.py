"""stock_notes: where stock ONNX Runtime, at its default options, computes something else than an exact file says.

Each rule is a rewriting that was seen to change results, or to end in a model that is refused, in ONNX Runtime 1.32 on
x86; `anybit.formats.stock_forms` has written what there is another form for. Results that move by the rounding of
float sums alone, and levels that such a sum decides by chance, are no departure; levels of sums on ties are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.tensor import Float64s
from anybit.formats.format import Note, Remedy
from anybit.formats.stock_forms import bias_of, is_exact_bias, is_taken_for_blocks, pair_before
from anybit.formats.stock_graph import (
    BELOW_BYTES,
    MOVES,
    Linear,
    dequantized,
    linear_of,
    only_reader,
    quantizer_behind,
    source,
)
from anybit.ops.constants import constant
from anybit.ops.nodes import label, shape_of
from anybit.ops.operator import DOMAIN
from anybit.passes.rewriter import infer_missing

_PRODUCTS = frozenset(("Conv", "Gemm", "MatMul"))
_POOLS = frozenset(("AveragePool", "GlobalAveragePool"))
_TABLES = frozenset(("LeakyRelu", "Sigmoid"))
_OF_TWO = frozenset(("Add", "Mul"))
_OUTPUT_TYPE = 21  # the first opset at which a moved QuantizeLinear states a type that contradicts its zero point
_FUSED = _PRODUCTS | _POOLS | _TABLES | _OF_TWO | {"Concat", "Softmax", "Where"}
_TWO_BITS = 2
_IMAGE_AXES = 2  # of the windows that QLinearAveragePool has
_PAIR = 32767  # sums of two products that kernels without VNNI hold
_REFUSED = "stock ONNX Runtime ends in an operator that has no such form, and refuses the model"
_SATURATES = "stock ONNX Runtime saturates sums of two products on x86 without VNNI"
_STEP = "levels at ties, by one step"


def stock_notes(model: ir.Model) -> tuple[Note, ...]:
    """A note for each node of a model of standard operators that stock ONNX Runtime may compute otherwise.

    Args:
        model: What a writer made; shapes are inferred where there are none.
    """
    nodes = [n for n in model.graph.all_nodes() if n.domain in ("", DOMAIN)]
    infer_missing(model, [v for n in nodes if n.op_type in _FUSED | MOVES for v in (*n.inputs[:1], *n.outputs)])
    opset = model.opset_imports.get("", 1)
    places = [_Place(n, opset) for n in nodes]
    firsts = [next((note for rule in _RULES for note in rule(place)), None) for place in places]
    return tuple(note for note in firsts if note is not None)


@dataclass(frozen=True)
class _Place:
    """A node, in a model of an opset."""

    node: ir.Node
    opset: int

    @property
    def operands(self) -> list[Linear | None]:
        """What the inputs are dequantised from."""
        return [dequantized(v, moved=True) for v in self.node.inputs]

    @property
    def quantizer(self) -> Linear | None:
        """What alone reads the output, if it quantises it."""
        return quantizer_behind(self.node.outputs[0])

    def note(self, problem: str, *, got: str, remedy: Remedy = Remedy.DISABLE_QUANT_QDQ) -> Note:
        return Note(problem=problem, node=label(self.node), got=got, hint=remedy.value, remedy=remedy)


def _block_weights(place: _Place) -> Iterator[Note]:
    """Weights that MatMulNBits takes, and with it activations of 8 bits."""
    weights = dequantized(place.node.inputs[1]) if place.node.op_type in ("Gemm", "MatMul") else None
    turned = source(place.node.inputs[1]) if place.node.op_type in ("Gemm", "MatMul") else None
    by_transpose = turned is not None and turned.op_type == "Transpose"
    if by_transpose and turned is not None:
        weights = dequantized(turned.inputs[0])
    if weights is None or weights.stored is None or weights.stored.ndim != 2 or not is_taken_for_blocks(weights):
        return
    scale, axis = constant(weights.node.inputs[1]), weights.node.attributes.get_int("axis", 1)
    is_one = scale is None or scale.ndim == 0  # a vector of one scale is left alone, if its axis is not 1
    is_blocked = "block_size" in weights.node.attributes
    axes = {0, -2} if by_transpose else {0, 1} if is_blocked else {1}
    if is_one or axis in axes:
        yield place.note("stock ONNX Runtime quantises its input (MatMulNBits)", got="about 1 % of the largest result")


def _rounded_constants(place: _Place) -> Iterator[Note]:
    """Float weights and biases of products between quantised tensors, which become integers."""
    node = place.node
    product = bias_of(node) if node.op_type in ("Add", "Gemm") else None
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm") and (node.op_type != "Add" or product is None):
        return
    multiplies = node if product is None else product[0]
    if node.op_type == "Add" and len(shape_of(node.outputs[0]) or (0, 0)) != 2:
        return
    x, w = (dequantized(v, moved=True) for v in multiplies.inputs[:2])
    if x is None or x.scales > 1 or _bounded_quantizer(node.outputs[0]) is None:
        return
    position = 2 if product is None else product[1]
    given = node.inputs[position] if len(node.inputs) > position else None
    bias = constant(given)
    if given is not None and (bias is None or bias.ndim != 1):
        return
    if w is None and constant(multiplies.inputs[1]) is not None:
        yield place.note("stock ONNX Runtime rounds its weights to 8 bits (WeightBiasQuantization)", got="1 % and more")
    if w is None or bias is None or is_exact_bias(bias, multiplies):
        return
    step = float(x.parameters.scale.max() * w.parameters.scale.max())
    yield place.note("stock ONNX Runtime rounds its bias (WeightBiasQuantization)", got=f"up to half of {step:g}")


def _bounded_quantizer(value: ir.Value) -> Linear | None:
    """The QuantizeLinear behind a tensor, past any Relu, Clip, or what it is moved past."""
    node = only_reader(value)
    while node is not None and node.domain == "" and node.op_type in MOVES | {"Clip", "Relu"}:
        node = only_reader(node.outputs[0])
    return None if node is None or node.op_type != "QuantizeLinear" else linear_of(node)


def _integer_bias(place: _Place) -> Iterator[Note]:
    """A bias of 32 bits whose scale is taken for the product of the scales of the operands."""
    if place.node.op_type not in ("Add", "Gemm"):
        return
    found = bias_of(place.node)
    if found is None:
        return
    product, position = found
    bias = dequantized(place.node.inputs[position])
    x, w = dequantized(product.inputs[0]), dequantized(product.inputs[1])
    if bias is None or bias.dtype != ir.DataType.INT32 or x is None or w is None or not (x.is_byte and w.is_byte):
        return
    shape = shape_of(product.outputs[0])
    if place.node.op_type == "Add" and shape is not None and len(shape) != 2:
        return
    w_scale = constant(w.node.inputs[1])
    if w_scale is None:
        return
    steps = np.asarray(x.parameters.scale * w_scale, np.float32)
    own = np.asarray(constant(bias.node.inputs[1]), np.float32)
    if own.size == steps.size and (own.reshape(-1) == steps.reshape(-1)).all():
        return
    yield place.note(
        "stock ONNX Runtime gives its bias the scale of the product (QGemm)", got="the bias times another factor"
    )


def _softmax(place: _Place) -> Iterator[Note]:
    x = place.operands[0] if place.node.op_type == "Softmax" else None
    if x is not None and x.is_byte and place.quantizer is not None:
        yield place.note("stock ONNX Runtime has a table of its exponentials (QLinearSoftmax)", got="one or two steps")


def _by_channel(place: _Place) -> Iterator[Note]:
    """Activations of a scale per channel, which quantised operators do not take."""
    node = place.node
    if node.op_type not in _PRODUCTS | _POOLS | _TABLES | {"Where"}:
        return
    operands, behind = place.operands, place.quantizer
    x = operands[0] if node.op_type != "Where" else next((o for o in operands[1:] if o is not None), None)
    if x is None or not x.is_byte:
        return
    y_scales = 1 if behind is None else behind.scales
    if node.op_type == "Where":
        if behind is not None and (x.scales > 1 or y_scales > 1):
            yield place.note("stock ONNX Runtime takes one scale of many (QLinearWhere)", got="other results")
        return
    if node.op_type == "MatMul":
        yield from _matmul_by_channel(place, x, behind)
    elif node.op_type == "Conv":
        w = operands[1]
        fused = w is not None and w.is_byte and behind is not None and _takes_bias(node)
        if fused and (x.scales > 1 or y_scales > 1):
            yield place.note(_REFUSED, got="QLinearConv of a scale per channel")
    elif node.op_type in _TABLES | _POOLS and behind is not None and (x.scales > 1 or y_scales > 1):
        if node.op_type == "AveragePool" and len(node.attributes.get_ints("kernel_shape", ())) != _IMAGE_AXES:
            return
        yield place.note(_REFUSED, got=f"QLinear{node.op_type} of a scale per channel")


def _takes_bias(conv: ir.Node) -> bool:
    """Whether QLinearConv can have the bias of a Conv: one of 32 bits, or one that is rounded to them."""
    if len(conv.inputs) < 3 or conv.inputs[2] is None:
        return True
    bias, x = dequantized(conv.inputs[2]), dequantized(conv.inputs[0])
    if bias is None:
        return x is not None and x.scales == 1
    real = bias.stored if bias.dtype == ir.DataType.INT32 else None
    return real is not None and is_exact_bias(bias.parameters.scale * real.astype(np.float32), conv)


def _matmul_by_channel(place: _Place, x: Linear, behind: Linear | None) -> Iterator[Note]:
    w = place.operands[1]
    if w is None or not w.is_byte or behind is not None:
        return
    if (x.scales > 1 and x.dtype == ir.DataType.UINT8) or (x.scales == 1 and not _is_by_column(w, place.node)):
        yield place.note(_REFUSED, got="MatMulIntegerToFloat of a scale per channel")


def _is_by_column(w: Linear, product: ir.Node) -> bool:
    """Whether a right operand has one scale, or is a matrix with one for each column."""
    shape = shape_of(product.inputs[1]) if product.inputs[1] is not None else None
    return w.scales == 1 or (shape is not None and len(shape) == 2 and w.node.attributes.get_int("axis", 1) in (1, -1))


def _moved(place: _Place) -> Iterator[Note]:
    """Operators past which a DequantizeLinear is moved, with a QuantizeLinear that is refused."""
    node = place.node
    x = dequantized(node.inputs[0]) if node.op_type in MOVES else None
    if x is None or x.stored is not None or x.scales > 1 or quantizer_behind(node.outputs[0], moved=False) is not None:
        return
    if x.dtype == ir.DataType.INT8 and place.opset >= _OUTPUT_TYPE:
        yield place.note(
            "stock ONNX Runtime moves a QuantizeLinear past it whose types part", got="the model is refused"
        )
    elif x.dtype in BELOW_BYTES and (node.op_type == "MaxPool" or x.dtype.bitwidth == _TWO_BITS):
        yield place.note(_REFUSED, got=f"{node.op_type} of {x.dtype.name}")


def _small_types(place: _Place) -> Iterator[Note]:
    """Operators between quantisers of one type of 2 bits, and Conv of one of 4, which become operators on bytes."""
    node, behind = place.node, place.quantizer
    operands = place.operands if node.op_type in _FUSED else []
    x = next((o for o in operands if o is not None), None)
    if x is None or behind is None or x.dtype not in BELOW_BYTES or behind.dtype != x.dtype:
        return
    w = operands[1] if node.op_type == "Conv" else None
    if x.dtype.bitwidth == _TWO_BITS or (w is not None and w.is_byte):
        yield place.note(_REFUSED, got=f"{node.op_type} of {x.dtype.name}")


def _pair_of_words(place: _Place) -> Iterator[Note]:
    inner = pair_before(place.node) if place.node.op_type == "QuantizeLinear" else None
    if inner is not None and not inner.is_byte:
        remedy = Remedy.DISABLE_ALL
        yield place.note("stock ONNX Runtime makes one of two QuantizeLinear", got="about one step", remedy=remedy)


def _saturation(place: _Place) -> Iterator[Note]:
    """Sums of pairs of products of bytes that x86 without VNNI does not hold."""
    node = place.node
    if node.op_type not in _PRODUCTS:
        return
    x, w = place.operands[0], place.operands[1]
    if x is None or w is None or w.stored is None or x.dtype != ir.DataType.UINT8 or w.dtype != ir.DataType.INT8:
        return
    if node.op_type == "Conv" and (place.quantizer is None or not _takes_bias(node)):
        return
    if node.op_type == "MatMul" and not _is_by_column(w, node):
        return
    largest = _largest(x) * 2 * int(np.abs(w.stored.astype(np.int64)).max(initial=0))
    if largest > _PAIR:
        yield place.note(_SATURATES, got=f"sums of up to {largest}, {_PAIR} fit")


_INTEGER_WEIGHTS = {"QLinearConv": 3, "QLinearMatMul": 3, "MatMulInteger": 1}
"""Operators on bytes whose kernels saturate, and which input the weights are."""


def _saturated_operator(place: _Place) -> Iterator[Note]:
    """The same of the operators on bytes, at every level."""
    node = place.node
    weights = constant(node.inputs[_INTEGER_WEIGHTS[node.op_type]]) if node.op_type in _INTEGER_WEIGHTS else None
    x = source(node.inputs[0])
    linear = None if x is None or x.op_type != "QuantizeLinear" else linear_of(x)
    if weights is None or weights.dtype != np.int8 or (node.inputs[0] and node.inputs[0].dtype != ir.DataType.UINT8):
        return
    highest = _clipped(node.inputs[0], ir.DataType.UINT8 if linear is None else linear.dtype)
    largest = highest * 2 * int(np.abs(weights.astype(np.int64)).max(initial=0))
    if largest > _PAIR:
        problem, got = (
            "stock ONNX Runtime saturates sums of two products on x86 without VNNI",
            f"sums of up to {largest}",
        )
        yield place.note(problem, got=f"{got}, {_PAIR} fit", remedy=Remedy.X64_PRECISION)


def _largest(x: Linear) -> int:
    return _clipped(x.node.inputs[0], x.dtype)


def _clipped(integers: ir.Value | None, dtype: ir.DataType) -> int:
    """The largest of integers that a Clip may bound."""
    clip = source(integers)
    bound = constant(clip.inputs[2]) if clip is not None and clip.op_type == "Clip" and len(clip.inputs) == 3 else None
    return int(np.iinfo(dtype.numpy()).max) if bound is None else int(bound.reshape(()))


def _ties(place: _Place) -> Iterator[Note]:
    """Quantised operators, where sums that are on a tie of the scales are rounded once more or once less."""
    node, behind = place.node, place.quantizer
    if node.op_type not in _PRODUCTS | _POOLS | _OF_TWO or behind is None or not behind.is_byte:
        return
    operands = place.operands[:2]
    x, other = operands[0], operands[1] if len(operands) > 1 else None
    if x is None or not x.is_byte or x.scales > 1 or behind.scales > 1:
        return
    if node.op_type not in _POOLS and (other is None or not other.is_byte):
        return
    if node.op_type in _OF_TWO and other is not None and other.scales > 1:
        return
    if (node.op_type == "Conv" and not _takes_bias(node)) or (
        node.op_type == "MatMul" and other is not None and not _is_by_column(other, node)
    ):
        return
    terms = _terms(node, x, other)
    if terms is not None and _has_ties(terms, float(behind.parameters.scale.max())):
        name = {"Gemm": "QGemm"}.get(node.op_type, f"QLinear{node.op_type}")
        yield place.note(f"stock ONNX Runtime computes it with integers ({name})", got=_STEP)


def _terms(node: ir.Node, x: Linear, other: Linear | None) -> list[Float64s] | None:
    """Real numbers that results are sums of whole multiples of."""
    scale = x.parameters.scale.astype(np.float64).reshape(-1)
    if node.op_type == "AveragePool":
        return [scale / float(np.prod(node.attributes.get_ints("kernel_shape", [1])))]
    if node.op_type == "GlobalAveragePool":
        shape = None if node.inputs[0] is None else shape_of(node.inputs[0])
        sides = (shape or ())[2:]
        return None if None in sides else [scale / float(np.prod([d or 1 for d in sides]))]
    if other is None:
        return None
    second = other.parameters.scale.astype(np.float64).reshape(-1)
    return [scale, second] if node.op_type == "Add" else [scale[:1] * second]


_POWER = 0.5  # the significand of powers of two
_MOST = 64  # multiples, of each sign, that are tried


def _has_ties(terms: Sequence[Float64s], step: float) -> bool:
    """Whether small whole multiples are, but for rounding, halves of the step, and not so without any rounding."""
    scales = np.concatenate([*terms, [step]])
    if (np.frexp(scales)[0] == _POWER).all():  # all powers of two: nothing is rounded
        return False
    n = np.arange(-_MOST, _MOST + 1)
    ratios = [t / step for t in terms]
    two = len(ratios) == 2
    sums = np.add.outer(ratios[0][0] * n, ratios[1][0] * n) if two else np.multiply.outer(ratios[0], n)
    return bool((np.abs(np.abs(sums - np.floor(sums)) - 0.5) <= 1e-6 * np.maximum(np.abs(sums), 1)).any())


def _scaled_product(place: _Place) -> Iterator[Note]:
    """A quantiser in arithmetic whose scale becomes a factor of the product before it: another rounding."""
    node = place.node
    is_quantizer = node.domain == DOMAIN and node.op_type in ("Quant", "IntQuant")
    if not is_quantizer and (node.op_type != "Div" or not _is_rounded(node)):
        return
    product = source(node.inputs[0]) if len(node.inputs) > 1 else None
    scale = constant(node.inputs[1]) if product is not None and product.op_type == "MatMul" else None
    if scale is None or scale.size != 1 or (np.frexp(scale)[0] == _POWER).all():
        return
    problem = "stock ONNX Runtime multiplies the product before it by 1 / scale (MatMulScaleFusion)"
    yield place.note(problem, got=_STEP, remedy=Remedy.BASIC)


def _is_rounded(node: ir.Node) -> bool:
    """Whether a quotient is rounded next, within bounds."""
    reader = only_reader(node.outputs[0])
    while reader is not None and reader.domain == "" and reader.op_type in ("Add", "Clip", "Max", "Min"):
        reader = only_reader(reader.outputs[0])
    return reader is not None and reader.domain == "" and reader.op_type in ("Abs", "Ceil", "Floor", "Round")


_RULES: tuple[Callable[[_Place], Iterator[Note]], ...] = (
    _block_weights,
    _rounded_constants,
    _integer_bias,
    _softmax,
    _by_channel,
    _moved,
    _small_types,
    _pair_of_words,
    _saturation,
    _saturated_operator,
    _ties,
    _scaled_product,
)
