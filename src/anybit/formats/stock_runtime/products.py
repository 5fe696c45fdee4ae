"""What stock ONNX Runtime makes of products: rules of `anybit.formats.stock_runtime.notes`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array, is_power_of_two
from anybit.formats.dialect import Note, Remedy
from anybit.formats.integer.storage import LARGEST_SUM
from anybit.formats.stock_runtime import forms as stock_forms
from anybit.formats.stock_runtime.forms import bias_of, is_exact_bias, is_taken_for_blocks
from anybit.formats.stock_runtime.graph import MOVES, Linear, Place, dequantized, linear_of, only_reader, source
from anybit.graph.constants import constant
from anybit.graph.walk import shape_of
from anybit.ops.bipolar_quant import BIPOLAR_QUANT
from anybit.ops.calls import is_call
from anybit.ops.registry import QUANTIZERS

PRODUCTS = frozenset(("Conv", "Gemm", "MatMul"))
STEP = "levels at ties, by one step"
"""The significand of powers of two."""

_PAIR = 32767  # sums of two products that kernels without VNNI hold
_WIDEST = 255  # magnitude of a byte less its zero point
_SATURATES = "stock ONNX Runtime saturates sums of two products on x86 without VNNI"
_INTEGER_WEIGHTS = {"QLinearConv": 3, "QLinearMatMul": 3, "MatMulInteger": 1}
"""Operators on bytes whose kernels saturate, and which input the weights are."""

_SCALED = tuple(o for o in QUANTIZERS if o is not BIPOLAR_QUANT)  # which divides by nothing


def block_weights(place: Place) -> Iterator[Note]:
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


def rounded_constants(place: Place) -> Iterator[Note]:
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


def integer_bias(place: Place) -> Iterator[Note]:
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
    steps, own = (x.parameters.scale * w.parameters.scale).reshape(-1), bias.parameters.scale.reshape(-1)
    if own.size == steps.size and (own == steps).all():
        return
    yield place.note(
        "stock ONNX Runtime gives its bias the scale of the product (QGemm)", got="the bias times another factor"
    )


def takes_bias(conv: ir.Node) -> bool:
    """Whether QLinearConv can have the bias of a Conv: one of 32 bits, or one that is rounded to them."""
    if len(conv.inputs) < 3 or conv.inputs[2] is None:
        return True
    bias, x = dequantized(conv.inputs[2]), dequantized(conv.inputs[0])
    if bias is None:
        return x is not None and x.scales == 1
    real = bias.stored if bias.dtype == ir.DataType.INT32 else None
    return real is not None and is_exact_bias(bias.parameters.scale * real.astype(np.float32), conv)


def is_by_column(w: Linear, product: ir.Node) -> bool:
    """Whether a right operand has one scale, or is a matrix with one for each column."""
    shape = shape_of(product.inputs[1]) if product.inputs[1] is not None else None
    return w.scales == 1 or (shape is not None and len(shape) == 2 and w.node.attributes.get_int("axis", 1) in (1, -1))


def overflow(place: Place) -> Iterator[Note]:
    """Sums of products of bytes, with a bias, that int32 does not hold."""
    node = place.node
    factors = _byte_factors(place)
    if factors is None:
        return
    x, w, stored = factors
    weights = stored.astype(np.float64)
    centred = weights - w.parameters.zero_point
    is_by_row = node.op_type == "Conv" or bool(node.attributes.get_int("transB", 0))
    axes = tuple(range(1, weights.ndim)) if is_by_row else (max(weights.ndim - 2, 0),)
    sums = np.maximum(np.abs(weights), np.abs(centred)).sum(axis=axes) * (_largest(x) if _is_unsigned(x) else _WIDEST)
    bias = dequantized(node.inputs[2]) if node.op_type != "MatMul" and len(node.inputs) > 2 else None
    added = 0.0 if bias is None or bias.stored is None else np.abs(bias.stored.astype(np.float64)).max(initial=0)
    largest = float(sums.max(initial=0) + added)
    if largest > LARGEST_SUM:
        yield place.note(
            "stock ONNX Runtime adds it up in int32, which wraps around", got=f"sums of up to {largest:.0f}"
        )


def saturation(place: Place) -> Iterator[Note]:
    """Sums of pairs of products of bytes that x86 without VNNI does not hold."""
    factors = _byte_factors(place)
    if factors is None:
        return
    x, w, stored = factors
    if not _is_unsigned(x) or w.dtype != ir.DataType.INT8:
        return
    largest = _largest(x) * 2 * int(np.abs(stored.astype(np.int64)).max(initial=0))
    if largest > _PAIR:
        yield place.note(_SATURATES, got=f"sums of up to {largest}, {_PAIR} fit")


def _byte_factors(place: Place) -> tuple[Linear, Linear, Array] | None:
    """The bytes of a product that becomes one of bytes, and those of its weights; None where it does not."""
    node = place.node
    if node.op_type not in PRODUCTS:
        return None
    x, w = place.operands[0], place.operands[1]
    if x is None or w is None or w.stored is None or not (x.is_byte and w.is_byte):
        return None
    if node.op_type == "Conv" and (place.quantizer is None or not takes_bias(node)):
        return None
    return None if node.op_type == "MatMul" and not is_by_column(w, node) else (x, w, w.stored)


def _is_unsigned(x: Linear) -> bool:
    return x.dtype == ir.DataType.UINT8


def saturated_operator(place: Place) -> Iterator[Note]:
    """The same of the operators on bytes, at every level."""
    node = place.node
    if node.op_type not in _INTEGER_WEIGHTS:
        return
    weights, x = constant(node.inputs[_INTEGER_WEIGHTS[node.op_type]]), source(node.inputs[0])
    linear = None if x is None or x.op_type != "QuantizeLinear" else linear_of(x)
    if weights is None or weights.dtype != np.int8 or (node.inputs[0] and node.inputs[0].dtype != ir.DataType.UINT8):
        return
    highest = _clipped(node.inputs[0], ir.DataType.UINT8 if linear is None else linear.dtype)
    largest = highest * 2 * int(np.abs(weights.astype(np.int64)).max(initial=0))
    if largest > _PAIR:
        yield place.note(_SATURATES, got=f"sums of up to {largest}, {_PAIR} fit", remedy=Remedy.X64_PRECISION)


def _largest(x: Linear) -> int:
    return _clipped(x.node.inputs[0], x.dtype)


def _clipped(integers: ir.Value | None, dtype: ir.DataType) -> int:
    """The largest of integers that a Clip may bound."""
    clip = source(integers)
    bound = constant(clip.inputs[2]) if clip is not None and clip.op_type == "Clip" and len(clip.inputs) == 3 else None
    return int(np.iinfo(dtype.numpy()).max) if bound is None else int(bound.reshape(()))


def scaled_product(place: Place) -> Iterator[Note]:
    """A quantiser in arithmetic whose scale becomes a factor of the product before it: another rounding."""
    node = place.node
    is_quantizer = is_call(node, *_SCALED)
    if not is_quantizer and (node.op_type != "Div" or not _is_rounded(node)):
        return
    product = source(node.inputs[0]) if len(node.inputs) > 1 else None
    scale = constant(node.inputs[1]) if product is not None and product.op_type == "MatMul" else None
    if scale is None or scale.size != 1 or is_power_of_two(scale).all():
        return
    problem = "stock ONNX Runtime multiplies the product before it by 1 / scale (MatMulScaleFusion)"
    yield place.note(problem, got=STEP, remedy=Remedy.BASIC)


def scaled_sums(place: Place) -> Iterator[Note]:
    """Sums of integers that a number scales behind a MatMul: it becomes a factor of each of their parts."""
    found = stock_forms.scaled_sums(place.node)
    if found is None or found[0].op_type != "MatMul":
        return
    factor = constant(place.node.inputs[found[1]])
    if factor is not None and factor.size == 1:
        problem = "stock ONNX Runtime scales the parts of the sums before it (MatMulScaleFusion)"
        yield place.note(problem, got=STEP, remedy=Remedy.BASIC)


def _is_rounded(node: ir.Node) -> bool:
    """Whether a quotient is rounded next, within bounds."""
    reader = only_reader(node.outputs[0])
    while reader is not None and reader.domain == "" and reader.op_type in ("Add", "Clip", "Max", "Min"):
        reader = only_reader(reader.outputs[0])
    return reader is not None and reader.domain == "" and reader.op_type in ("Abs", "Ceil", "Floor", "Round")
