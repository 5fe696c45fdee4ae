"""Format: the languages that quantised models are written in, and what came of a translation."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import onnx_ir as ir

from anybit.errors import Diagnosis, Refusal
from anybit.formats.certificate import Certificate


class Format(enum.Enum):
    """A way to say in ONNX that a network is quantised."""

    QONNX = "qonnx"
    """Quant, BipolarQuant, Trunc, FloatQuant: the hub, which can say everything."""
    QCDQ = "qcdq"
    """QuantizeLinear, Clip, DequantizeLinear: standard operators, up to 8 bits."""
    QDQ = "qdq"
    """QuantizeLinear, DequantizeLinear: the widths that ONNX has element types for."""
    QUANTIZED_OPS = "quantized-ops"
    """QLinearConv, QLinearMatMul, and Clip for widths below 8 bits."""
    INTEGER_OPS = "integer-ops"
    """ConvInteger, MatMulInteger, and rescaling in float."""
    FINN = "finn"
    """Integer products, and MultiThreshold between them."""


@dataclass(frozen=True, kw_only=True)
class Approximation(Diagnosis):
    """What a translation changed because it was allowed to; `problem` says what, `got` how far results may move."""


@dataclass(frozen=True)
class Outcome:
    """What a translator did to a model.

    Attributes:
        refusals: Nodes that the format cannot carry, and why; they were left as they are.
        approximations: What it changed where the caller allowed that.
    """

    refusals: tuple[Refusal, ...] = ()
    approximations: tuple[Approximation, ...] = ()

    def __add__(self, other: Outcome) -> Outcome:
        """Both, one after the other."""
        return Outcome(self.refusals + other.refusals, self.approximations + other.approximations)


@dataclass(frozen=True)
class Conversion:
    """A translated model.

    Attributes:
        model: The model; it means the same as the source wherever no approximation is listed.
        refusals: Nodes that the format cannot carry, and why; they are in the model as they were.
        approximations: What was changed where the caller allowed that.
        certificate: How it was compared with the source; None if it was not.
    """

    model: ir.Model
    refusals: tuple[Refusal, ...]
    approximations: tuple[Approximation, ...]
    certificate: Certificate | None = None
