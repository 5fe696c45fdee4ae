"""Format: the languages that quantised models are written in, and what came of a translation."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import onnx_ir as ir

from anybit.errors import Diagnosis, Refusal
from anybit.exact.certificate import Certificate
from anybit.records import Record


class Dialect(enum.Enum):
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


@dataclass(frozen=True, kw_only=True)
class Substitution(Diagnosis):
    """A node that the format cannot carry, in standard operators that compute the same; `got` names them."""


class Remedy(enum.Enum):
    """What makes stock ONNX Runtime compute an exact file exactly."""

    DISABLE_QUANT_QDQ = 'session option "session.disable_quant_qdq" = "1"'
    """No rewriting of QuantizeLinear and DequantizeLinear."""
    BASIC = "graph_optimization_level = ORT_ENABLE_BASIC"
    """None of the fusions of the extended level."""
    DISABLE_ALL = "graph_optimization_level = ORT_DISABLE_ALL"
    """No optimisation at all."""
    X64_PRECISION = 'session option "session.x64quantprecision" = "1", or a processor with VNNI'
    """Weights of bytes are multiplied without saturating sums of pairs; together with DISABLE_QUANT_QDQ or alone."""


@dataclass(frozen=True, kw_only=True)
class Note(Diagnosis):
    """What stock ONNX Runtime may make of a node of an exact file at its default options; `got` says how far off.

    Attributes:
        remedy: The option under which it computes what the file says.
    """

    remedy: Remedy


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
class Conversion(Record):
    """A translated model.

    Attributes:
        model: The model; it means the same as the source wherever no approximation is listed.
        refusals: Nodes that the format cannot carry, and why; they are in the model as they were.
        approximations: What was changed where the caller allowed that.
        substitutions: Nodes that the format cannot carry, where standard operators were asked for instead.
        notes: Nodes that stock ONNX Runtime may compute otherwise than the file says, and the option that helps.
        certificate: How it was compared with the source; None if it was not.
    """

    model: ir.Model = field(repr=False)
    refusals: tuple[Refusal, ...]
    approximations: tuple[Approximation, ...]
    substitutions: tuple[Substitution, ...] = ()
    notes: tuple[Note, ...] = ()
    certificate: Certificate | None = None
