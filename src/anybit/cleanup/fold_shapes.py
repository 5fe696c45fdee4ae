"""FoldShapes: shapes that are known become constants."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.cleanup.fold_constants import FoldConstants
from anybit.graph.constants import is_replaceable, replace_by_constant
from anybit.graph.names import Names
from anybit.io.shapes import Inference, infer_shapes

_ROUNDS = 32  # a shape computed in a way that onnx does not follow takes one; more would make the pass quadratic


@dataclass(frozen=True)
class FoldShapes(ir.passes.InPlacePass):
    """Replaces Shape and Size of tensors of known shape, and what is computed from them, by constants.

    Before: ``Reshape(x, Concat(Unsqueeze(Gather(Shape(x), 0)), [-1]))`` with ``float[1,1,28,28] x``;
    after: ``Reshape(x, [1, -1])``. Shapes that become known by this are followed too,
    up to a depth of 32 where onnx does not follow their values itself. A shape that only the file states is not known.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for _ in range(_ROUNDS):
            inference = infer_shapes(model, data_propagation=True)
            names = Names.of_tensors(model)
            folded = [n for n in model.graph.all_nodes() if _fold(model.graph, n, inference, names)]
            if not folded:
                break
            FoldConstants()(model)
            modified = True
        return ir.passes.PassResult(model, modified)


def _fold(graph: ir.Graph, node: ir.Node, inference: Inference, names: Names) -> bool:
    array = _known(node, inference)
    if array is None or node.graph is None or not is_replaceable(graph, node.outputs[0]):
        return False
    replace_by_constant(graph, node.outputs[0], array, names)
    node.graph.remove(node, safe=True)
    return True


def _known(node: ir.Node, inference: Inference) -> Array | None:
    if node.domain != "" or node.op_type not in ("Shape", "Size") or node.inputs[0] is None:
        return None
    shape = inference.proven(node.inputs[0])
    if shape is None:
        return None
    start, end = (node.attributes[n].as_int() if n in node.attributes else None for n in ("start", "end"))
    dimensions = list(shape)[start:end]
    sizes = [d for d in dimensions if isinstance(d, int) and d >= 0]
    if len(sizes) < len(dimensions):
        return None
    values = np.array(sizes, np.int64)
    return np.asarray(values.prod(dtype=np.int64)) if node.op_type == "Size" else values
