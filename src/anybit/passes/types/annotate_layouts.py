"""AnnotateLayouts: the axes of every tensor, named in the file."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from anybit.analysis.layouts import layouts_of
from anybit.cleanup.infer_shapes import InferShapes
from anybit.graph.annotations import annotate_layout, has_layout


@dataclass(frozen=True)
class AnnotateLayouts(ir.passes.InPlacePass):
    """Names the axes of each tensor in the file, N, C, D, H and W, as far as the operators say which they are.

    Before: ``y = Relu(Conv(x, w))`` with ``float[1,3,8,8] x``; after: x, the convolution and y are stated to be NCHW.
    What the file states already stays. `anybit.types` shows the same names.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        InferShapes()(model)
        modified = False
        for value, names in layouts_of(model).items():
            if value.name and not has_layout(value):
                annotate_layout(value, names)
                modified = True
        return ir.passes.PassResult(model, modified)
