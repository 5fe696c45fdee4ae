"""InferShapes: types and shapes of all tensors, through our operators, functions and subgraphs."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from anybit.ops.schemas import register_schemas

_LOGGER = "onnx_ir.passes.common.shape_inference"


@dataclass(frozen=True)
class InferShapes(ir.passes.InPlacePass):
    """Gives every tensor the type and shape that follow from the inputs, as far as onnx can tell.

    Before: ``y = Quant(x, ...)``; after: ``float[1,16] y = Quant(x, ...)``. Weights are not serialised for it.
    Where the model contradicts itself nothing is changed; `check` says what is wrong.

    Attributes:
        data_propagation: Follow values of shapes through Shape, Gather and Concat.
    """

    data_propagation: bool = True

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        register_schemas()
        logging.getLogger(_LOGGER).setLevel(logging.ERROR)  # its only warning is that it changed nothing
        inference = ShapeInferencePass(check_type=False, strict_mode=False, data_prop=self.data_propagation)
        return ir.passes.PassResult(model, inference(model).modified)
