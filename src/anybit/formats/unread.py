"""unread: quantised operators that no reader understands, each with the reason."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from anybit.errors import Refusal
from anybit.formats.vendor_names import SPELLINGS
from anybit.graph.walk import all_nodes, label

_FROM_DATA = "its scales are made from the data that it is given, a quantiser has constant ones"
_FROM_BLOCKS = "each block has an exponent that is made from its data, a quantiser has constant scales"
_UNKNOWN = "no reader for this operator"

_REASONS: dict[tuple[str, str], tuple[str, str]] = {
    ("", "DynamicQuantizeLinear"): (_FROM_DATA, "quantise the activations statically"),
    ("com.microsoft", "DynamicQuantizeMatMul"): (_FROM_DATA, "quantise the activations statically"),
    ("com.microsoft", "DynamicQuantizeLSTM"): (_FROM_DATA, "quantise the activations statically"),
    ("com.amd.quark", "BFPQuantizeDequantize"): (_FROM_BLOCKS, ""),
    ("com.amd.quark", "MXQuantizeDequantize"): (_FROM_BLOCKS, ""),
    ("com.vai.quantize", "BFPFixNeuron"): (_FROM_BLOCKS, ""),
    ("com.vai.quantize", "MXFixNeuron"): (_FROM_BLOCKS, ""),
    ("trt", "TRT_MXFP8QuantizeLinear"): (_FROM_BLOCKS, ""),
    ("trt", "TRT_MXFP8DequantizeLinear"): (_FROM_BLOCKS, ""),
    ("trt", "TRT_MXFP8DynamicQuantize"): (_FROM_BLOCKS, ""),
    ("trt", "TRT_FP4DynamicQuantize"): (_FROM_BLOCKS, ""),
}
"""Problem and next step, by domain and operator."""

_VENDORS = ("com.amd.quark", "com.vai.quantize", "trt")
_AIMET = "aimet.customop"
_RUNTIME = "com.microsoft"
_RUNTIME_OPERATORS = ("QLinear", "QGemm", "QAttention", "QEmbed", "QOrdered", "QMoE", "MatMulInteger", "MatMulBnb4")


def unread(model: ir.Model, refused: Iterable[Refusal]) -> tuple[Refusal, ...]:
    """A refusal for each quantised operator of a vendor that is left in a model, and has none yet."""
    known = {r.node for r in refused}
    found = [_reason(n) for n in all_nodes(model.graph)]
    return tuple(r for r in found if r is not None and r.node not in known)


def causes_first(refusals: Iterable[Refusal], model: ir.Model) -> tuple[Refusal, ...]:
    """The refusals in the order of the graph, those that name another refused node as the reason behind all others."""
    given = tuple(refusals)
    positions = {label(n): k for k, n in enumerate(all_nodes(model.graph))} if len(given) > 1 else {}
    names = {r.node for r in given}

    def place(refusal: Refusal) -> tuple[bool, int]:
        reason = refusal.got.split(" at ", 1)[0]
        return reason in names and reason != refusal.node, positions.get(refusal.node, len(positions))

    return tuple(sorted(given, key=place))


def _reason(node: ir.Node) -> Refusal | None:
    if (node.domain, node.op_type) in SPELLINGS:  # it, or its counterpart, has a refusal
        return None
    where, got = label(node), f"{node.domain or 'ai.onnx'}::{node.op_type}"
    if (node.domain, node.op_type) in _REASONS:
        problem, hint = _REASONS[node.domain, node.op_type]
        return Refusal(problem=problem, node=where, got=got, hint=hint)
    if node.domain.startswith(_AIMET):
        problem = "an operator of AIMET's simulation, whose parameters are not in the file"
        return Refusal(
            problem=problem, node=where, got=got, hint="export QuantizeLinear and DequantizeLinear: to_onnx_qdq"
        )
    runtime = node.domain == _RUNTIME and node.op_type.startswith(_RUNTIME_OPERATORS)
    return Refusal(problem=_UNKNOWN, node=where, got=got) if runtime or node.domain in _VENDORS else None
