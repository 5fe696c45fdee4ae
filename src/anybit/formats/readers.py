"""READERS: what makes hub operators of those of other formats, in the order in which they work.

A reader may leave operators for those behind it, never for those before it: none is called again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from anybit.cleanup.fold_constants import FoldConstants
from anybit.cleanup.infer_shapes import InferShapes
from anybit.formats.dialect import Outcome
from anybit.formats.fake_quant.read import read_fake_quant
from anybit.formats.integer.read import read_integer, read_quantized
from anybit.formats.ort_contrib.blocks import read_blocks
from anybit.formats.ort_contrib.bytes import read_bytes
from anybit.formats.qdq.read import read_linear
from anybit.formats.qdq.trace import MOVEMENT
from anybit.formats.stock_runtime.forms import read_stock_forms
from anybit.formats.thresholds.read import read as read_thresholds
from anybit.ops.contributed import DOMAIN as CONTRIBUTED
from anybit.ops.operator import DOMAIN

OpType = tuple[str, str]
"""Domain and name of an operator."""


@dataclass(frozen=True)
class Reader:
    """One step on the way from any format to the hub.

    Attributes:
        name: What it reads.
        read: Reads it, in place; tells what it did not understand.
        consumes: The operators whose nodes it may take away, all that makes their constants aside.
        leaves: The operators that it puts in their place for the readers behind it.
        makes: The operators that it puts in their place and that mean in the hub what they say.
    """

    name: str
    read: Callable[[ir.Model], Outcome]
    consumes: frozenset[OpType] = frozenset()
    leaves: frozenset[OpType] = frozenset()
    makes: frozenset[OpType] = frozenset()


def _standard(names: str) -> frozenset[OpType]:
    return frozenset(("", name) for name in names.split())


def _ours(names: str) -> frozenset[OpType]:
    return frozenset((DOMAIN, name) for name in names.split())


def _contributed(names: str) -> frozenset[OpType]:
    return frozenset((CONTRIBUTED, name) for name in names.split())


def _read_forms(model: ir.Model) -> Outcome:
    read_stock_forms(model)
    return Outcome()


def _read_before_folding(model: ir.Model) -> Outcome:
    read_fake_quant(model)  # what it does not understand now it may when constants are folded
    return Outcome()


def _fold(model: ir.Model) -> Outcome:
    if FoldConstants()(model).modified:
        InferShapes()(model)
    return Outcome()


_LINEAR = _standard("QuantizeLinear DequantizeLinear")
_QUANT = _ours("Quant") | _standard("Clip Max Min")
"""A quantiser, and the bounds behind it that no grid has."""
_ZEROS = _standard("Identity Sum")
"""A second name of a tensor, and the addition of 0 that makes +0 of -0."""
_ROUNDING = _standard("Round Floor Ceil Clip Max Min Relu Mul Div Add Sub Neg Identity Cast Where LessOrEqual")

READERS: tuple[Reader, ...] = (
    Reader(
        "forms for stock ONNX Runtime",
        _read_forms,
        consumes=_standard("Max Min"),
        leaves=_standard("Clip Relu"),
    ),
    # Weights that are quantised by arithmetic would be plain numbers once constants are folded; other scales are known
    # only then. So fake quantisation is read before, and again behind.
    Reader(
        "fake quantisation, before constants are folded",
        _read_before_folding,
        consumes=_ROUNDING,
        makes=_QUANT | _ZEROS,
    ),
    Reader("constants", _fold),
    Reader("fake quantisation", read_fake_quant, consumes=_ROUNDING, makes=_QUANT | _ZEROS),
    Reader(
        "weights in blocks of ONNX Runtime",
        read_blocks,
        consumes=_contributed("MatMulNBits GatherBlockQuantized"),
        makes=_QUANT | _standard("Add Gather MatMul Mul Sub"),
    ),
    Reader(
        "operators of ONNX Runtime on bytes",
        read_bytes,
        consumes=_contributed(
            """MatMulIntegerToFloat NhwcMaxPool QGemm QLinearAdd QLinearAveragePool QLinearConcat QLinearConv
            QLinearGlobalAveragePool QLinearLeakyRelu QLinearMatMul QLinearMul QLinearSigmoid QLinearSoftmax
            QLinearWhere"""
        )
        | _standard("QLinearMatMul Concat"),
        leaves=_LINEAR | _standard("QLinearConv QLinearMatMul MatMulInteger"),
        makes=_standard(
            """Add Cast Concat Div Flatten Gather LeakyRelu MatMul MaxPool Mul Pad ReduceMax ReduceSum Reshape Round
            Shape Sigmoid Slice Sub Transpose Where"""
        ),
    ),
    Reader(
        "quantized-ops",
        read_quantized,
        consumes=_standard("QLinearConv QLinearMatMul Concat Reshape"),
        leaves=_LINEAR,
        makes=_QUANT | _standard("Add Concat Conv Div MatMul Mul"),
    ),
    Reader(
        "integer-ops",
        read_integer,
        consumes=_standard("ConvInteger MatMulInteger Cast Concat"),
        leaves=_LINEAR,
        makes=_QUANT | _ZEROS | _standard("Add Concat Conv Div MatMul Mul"),
    ),
    Reader(
        "thresholds",
        read_thresholds,
        consumes=_ours("MultiThreshold"),
        makes=_QUANT | _ZEROS | _ours("BipolarQuant") | _standard("Add Div Mul"),
    ),
    Reader(
        "QuantizeLinear and DequantizeLinear",
        read_linear,
        consumes=_LINEAR | _standard(" ".join(MOVEMENT)),
        leaves=_standard("DequantizeLinear"),  # what is fed as integers
        makes=_QUANT | _ZEROS | _ours("FloatQuant") | _standard(" ".join(MOVEMENT)),
    ),
)
"""Each reader stands before those that consume what it leaves."""
