"""What stock ONNX Runtime makes of operators between quantisers: rules of `anybit.formats.stock_runtime.notes`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.tensor_values import Float64s
from anybit.arrays import is_power_of_two
from anybit.formats.dialect import Note, Remedy
from anybit.formats.stock_runtime.forms import pair_before
from anybit.formats.stock_runtime.graph import BELOW_BYTES, MOVES, Linear, Place, dequantized, quantizer_behind
from anybit.formats.stock_runtime.products import PRODUCTS, STEP, is_by_column, takes_bias
from anybit.graph.walk import shape_of

_POOLS = frozenset(("AveragePool", "GlobalAveragePool"))
_TABLES = frozenset(("LeakyRelu", "Sigmoid"))
_OF_TWO = frozenset(("Add", "Mul"))
FUSED = PRODUCTS | _POOLS | _TABLES | _OF_TWO | {"Concat", "Softmax", "Where"}
"""Operators that become operators on bytes where they stand between quantisers."""

_OUTPUT_TYPE = 21  # the first opset at which a moved QuantizeLinear states a type that contradicts its zero point
_TWO_BITS = 2
_IMAGE_AXES = 2  # of the windows that QLinearAveragePool has
_MOST = 64  # multiples, of each sign, that are tried
_REFUSED = "stock ONNX Runtime ends in an operator that has no such form, and refuses the model"


def softmax(place: Place) -> Iterator[Note]:
    """Softmax between bytes, which is computed from a table of exponentials."""
    x = place.operands[0] if place.node.op_type == "Softmax" else None
    if x is not None and x.is_byte and place.quantizer is not None:
        yield place.note("stock ONNX Runtime has a table of its exponentials (QLinearSoftmax)", got="one or two steps")


def by_channel(place: Place) -> Iterator[Note]:
    """Activations of a scale per channel, which quantised operators do not take."""
    node = place.node
    if node.op_type not in PRODUCTS | _POOLS | _TABLES | {"Where"}:
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
        fused = w is not None and w.is_byte and behind is not None and takes_bias(node)
        if fused and (x.scales > 1 or y_scales > 1):
            yield place.note(_REFUSED, got="QLinearConv of a scale per channel")
    elif node.op_type in _TABLES | _POOLS and behind is not None and (x.scales > 1 or y_scales > 1):
        if node.op_type == "AveragePool" and len(node.attributes.get_ints("kernel_shape", ())) != _IMAGE_AXES:
            return
        yield place.note(_REFUSED, got=f"QLinear{node.op_type} of a scale per channel")


def _matmul_by_channel(place: Place, x: Linear, behind: Linear | None) -> Iterator[Note]:
    w = place.operands[1]
    if w is None or not w.is_byte or behind is not None:
        return
    if (x.scales > 1 and x.dtype == ir.DataType.UINT8) or (x.scales == 1 and not is_by_column(w, place.node)):
        yield place.note(_REFUSED, got="MatMulIntegerToFloat of a scale per channel")


def moved_past(place: Place) -> Iterator[Note]:
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


def small_types(place: Place) -> Iterator[Note]:
    """Operators between quantisers of one type of 2 bits, and Conv of one of 4, which become operators on bytes."""
    node, behind = place.node, place.quantizer
    operands = place.operands if node.op_type in FUSED else []
    x = next((o for o in operands if o is not None), None)
    if x is None or behind is None or x.dtype not in BELOW_BYTES or behind.dtype != x.dtype:
        return
    w = operands[1] if node.op_type == "Conv" else None
    if x.dtype.bitwidth == _TWO_BITS or (w is not None and w.is_byte):
        yield place.note(_REFUSED, got=f"{node.op_type} of {x.dtype.name}")


def pair_of_words(place: Place) -> Iterator[Note]:
    """Two quantisers of 16 bits in a row, which become one; there is no Clip of 16 bits to part them."""
    inner = pair_before(place.node) if place.node.op_type == "QuantizeLinear" else None
    if inner is not None and not inner.is_byte:
        remedy = Remedy.DISABLE_ALL
        yield place.note("stock ONNX Runtime makes one of two QuantizeLinear", got="about one step", remedy=remedy)


def ties(place: Place) -> Iterator[Note]:
    """Quantised operators, where sums that are on a tie of the scales are rounded once more or once less."""
    node, behind = place.node, place.quantizer
    if node.op_type not in PRODUCTS | _POOLS | _OF_TWO or behind is None or not behind.is_byte:
        return
    operands = place.operands[:2]
    x, other = operands[0], operands[1] if len(operands) > 1 else None
    if x is None or not x.is_byte or x.scales > 1 or behind.scales > 1:
        return
    if node.op_type not in _POOLS and (other is None or not other.is_byte):
        return
    if node.op_type in _OF_TWO and other is not None and other.scales > 1:
        return
    if (node.op_type == "Conv" and not takes_bias(node)) or (
        node.op_type == "MatMul" and other is not None and not is_by_column(other, node)
    ):
        return
    terms = _terms(node, x, other)
    if terms is not None and _has_ties(terms, float(behind.parameters.scale.max())):
        name = {"Gemm": "QGemm"}.get(node.op_type, f"QLinear{node.op_type}")
        yield place.note(f"stock ONNX Runtime computes it with integers ({name})", got=STEP)


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


def _has_ties(terms: Sequence[Float64s], step: float) -> bool:
    """Whether small whole multiples are, but for rounding, halves of the step, and not so without any rounding."""
    scales = np.concatenate([*terms, [step]])
    if is_power_of_two(scales).all():  # all powers of two: nothing is rounded
        return False
    n = np.arange(-_MOST, _MOST + 1)
    ratios = [t / step for t in terms]
    two = len(ratios) == 2
    sums = np.add.outer(ratios[0][0] * n, ratios[1][0] * n) if two else np.multiply.outer(ratios[0], n)
    return bool((np.abs(np.abs(sums - np.floor(sums)) - 0.5) <= 1e-6 * np.maximum(np.abs(sums), 1)).any())
