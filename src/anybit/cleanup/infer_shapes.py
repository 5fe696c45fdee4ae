"""InferShapes: types and shapes of all tensors, through our operators and subgraphs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from anybit.io.shapes import infer_shapes


@dataclass(frozen=True)
class InferShapes(ir.passes.InPlacePass):
    """Gives every tensor the type and shape that follow from the inputs, as far as onnx can tell.

    Before: ``y = Quant(x, ...)``; after: ``float[1,16] y = Quant(x, ...)``. Weights are not serialised for it.
    What the file states of inner tensors gives way to what follows from the inputs (see `anybit.io.shapes`); `check`
    says what was wrong.

    Attributes:
        data_propagation: Follow values of shapes through Shape, Gather and Concat.
    """

    data_propagation: bool = True

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        return ir.passes.PassResult(model, infer_shapes(model, data_propagation=self.data_propagation).modified)


def infer_missing(model: ir.Model, values: Sequence[ir.Value | None]) -> None:
    """Infers types and shapes of the model, if one of these values has none."""
    if any(v is not None and (v.dtype is None or v.shape is None) for v in values):
        InferShapes()(model)
