"""Thresholds: integer products and MultiThreshold between them, the dialect that FINN computes in.

    number = sum of products of integers;   level = lowest + |{t : number >= t}|

Every quantiser behind a product becomes the thresholds of the numbers at which its level rises, whatever stands
between them; they are found on the model's own operators. See `anybit.formats.thresholds.rows` for the proof.
"""

from __future__ import annotations

import onnx_ir as ir

from anybit.analysis.values.interpreter import Values, values_of
from anybit.cleanup.fold_constants import FoldConstants
from anybit.cleanup.infer_shapes import InferShapes
from anybit.cleanup.remove_unused import RemoveUnused
from anybit.errors import Refusal
from anybit.formats.dialect import Outcome
from anybit.formats.thresholds.levels import ThresholdLayer
from anybit.formats.thresholds.read import read
from anybit.formats.thresholds.walk import Flow
from anybit.graph.editor import Editor
from anybit.graph.walk import all_nodes
from anybit.ops.calls import is_call
from anybit.ops.registry import QUANTIZERS

__all__ = ["read", "write", "write_layers"]


def write(model: ir.Model, *, approximate: bool = False, values: Values | None = None) -> Outcome:
    """Writes every quantiser that can be written, in place; there is nothing to approximate.

    Args:
        model: Hub model.
        approximate: Not used: what is written is exact.
        values: What its tensors can hold, where that is known.
    """
    del approximate
    outcome, _ = write_layers(model, values=values)
    return outcome


def write_layers(
    model: ir.Model, *, ties: bool = False, values: Values | None = None
) -> tuple[Outcome, tuple[ThresholdLayer, ...]]:
    """`write`, and for each quantiser what became of it and how that was proven.

    Args:
        model: Hub model.
        ties: Whether a quantiser may be written whose level float32 leaves open for some sums of two tensors, since
            it rounds either summand first. The level of such a sum is then that of the sum rounded once, and
            `ThresholdLayer.ties` says which they are; else the quantiser is refused.
        values: What its tensors can hold, where that is known.
    """
    changed = InferShapes()(model).modified
    with Editor(model, rule="thresholds") as edit:
        flow = Flow(edit, values_of(model) if values is None or changed else values, ties=ties)
        flow.run()
        RemoveUnused()(model)
        FoldConstants(keep_quantizers=False)(model)  # weights of products that stay real
        RemoveUnused()(model)
    return Outcome(_distinct(flow.refusals)), flow.layers


def _distinct(refusals: list[Refusal]) -> tuple[Refusal, ...]:
    return tuple(dict.fromkeys(refusals))


def remaining_quantizers(model: ir.Model) -> list[ir.Node]:
    """Quantisers of the hub that were not written."""
    return [n for n in all_nodes(model.graph) if is_call(n, *QUANTIZERS)]
