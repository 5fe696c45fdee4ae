"""ConvertOpset: another version of the standard operators."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from anybit.cleanup.infer_shapes import InferShapes
from anybit.io.opset import convert_in_place, needs_conversion


@dataclass(frozen=True)
class ConvertOpset(ir.passes.InPlacePass):
    """Rewrites each node whose operator changed between the versions, in subgraphs and functions too.

    Before (opset 12): ``y = Softmax(Squeeze<axes=[1]>(x))``, Softmax over all dimensions from 1 on; after
    ``ConvertOpset(21)``: ``y = Softmax<axis=1>(Squeeze(x, [1]))`` where only dimension 1 is wider than 1, else
    ``y = Reshape(Softmax<axis=-1>(Flatten(...)), Shape(...))``. Every node fits the stated version afterwards.

    Attributes:
        version: Version of the standard operators, from 7 up; downwards from 11 up.
    """

    version: int = 21

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Applies the pass.

        Raises:
            UsageError: There is no such version, or it is too old to convert down to.
            UnsupportedError: A node has no equivalent at this version; the model stays as it is, with known shapes.
        """
        if not needs_conversion(model, self.version):
            return ir.passes.PassResult(model, modified=False)
        InferShapes()(model)
        convert_in_place(model.clone(), self.version)  # a rehearsal: it raises before the model is touched
        convert_in_place(model, self.version)
        return ir.passes.PassResult(model, modified=True)
