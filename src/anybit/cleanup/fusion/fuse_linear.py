"""FuseLinear: what scales and shifts channels disappears in the float layer before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array, as_float64
from anybit.cleanup.fusion.batch_norm_to_affine import Affine
from anybit.cleanup.fusion.fold_batch_norm import FoldBatchNorm, FoldPlan, apply_plan, float_plan, plan_of
from anybit.cleanup.infer_shapes import infer_missing
from anybit.errors import Refusal
from anybit.graph.constants import constant
from anybit.graph.editor import Editor
from anybit.graph.walk import all_nodes, shape_of

_LINEAR = ("Conv", "ConvTranspose", "Gemm")
_SCALING = ("Add", "BatchNormalization", "Mul")
_QUANTIZING = frozenset(("DequantizeLinear", "DynamicQuantizeLinear", "QuantizeLinear"))


@dataclass(frozen=True)
class FuseLinear(ir.passes.InPlacePass):
    """Puts BatchNormalization, Mul and Add of constants by channel into the float Conv, ConvTranspose or Gemm before.

    Before: ``y = Add(BatchNormalization(Conv(x, w), ...), c)``; after: ``y = Conv(x, w', b)``. An Add behind a MatMul
    of matrices makes a Gemm of it. New weights and biases are computed in float64 and rounded once.

    This is not exact: sums of products are rounded elsewhere, so that results differ in their last bits. A model with
    quantisers, where one bit may be the next level, is left as it is.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        with Editor(model, rule="fuse-linear") as edit:
            nodes = edit.nodes(*_SCALING)
            quantizer = next((n for n in all_nodes(model.graph) if n.domain != "" or n.op_type in _QUANTIZING), None)
            if quantizer is not None and nodes:
                refusal = Refusal(problem="the model is quantised", got=quantizer.op_type, expected="a float model")
                edit.leave(nodes[0], refusal)
                nodes = []
            edit.require_broadcasting(nodes)
            infer_missing(model, [n.inputs[0] for n in nodes])
            for node in nodes:
                _fuse(edit, node, model.opset_imports)
        return edit.result()


def _fuse(edit: Editor, node: ir.Node, opset_imports: dict[str, int]) -> None:
    if node.op_type == "BatchNormalization":
        plan = plan_of(FoldBatchNorm(quantized=False, float_weights=True), node, opset_imports)
        if isinstance(plan, FoldPlan) and plan.linear.op_type in _LINEAR:
            apply_plan(edit, node, plan)
        return
    operands = _operands(node)
    if operands is None:
        return
    linear, array = operands
    if linear.op_type == "MatMul":
        _become_gemm(edit, node, linear, array)
        return
    weights = constant(linear.inputs[1])
    affine = None if weights is None else _affine(node, linear, weights, array)
    bias = None if affine is None else affine.bias_of(linear)
    if weights is None or affine is None or bias is None or isinstance(bias, Refusal):
        return
    folded = float_plan(linear, weights, affine, bias)
    if isinstance(folded, FoldPlan):
        apply_plan(edit, node, folded)


def _operands(node: ir.Node) -> tuple[ir.Node, Array] | None:
    """The layer that nothing but this node reads, and the constant beside it."""
    if len(node.inputs) != 2:
        return None
    for x, other in (node.inputs, node.inputs[::-1]):
        array, linear = constant(other), None if x is None else x.producer()
        if x is None or array is None or linear is None or array.dtype.kind != "f":
            continue
        alone = len(x.uses()) == 1 and not x.is_graph_output() and linear.graph is node.graph
        if alone and linear.domain == "" and linear.op_type in (*_LINEAR, "MatMul"):
            return linear, array
    return None


def _affine(node: ir.Node, linear: ir.Node, weights: Array, array: Array) -> Affine | None:
    """The factor or offset of each channel; None where it differs within one."""
    rank = 2 if linear.op_type == "Gemm" else weights.ndim
    if array.ndim > rank or weights.ndim < 2:
        return None
    if linear.op_type == "Gemm":
        channels = weights.shape[0 if linear.attributes.get_int("transB", 0) else 1]
    elif linear.op_type == "Conv":
        channels = weights.shape[0]
    else:
        channels = weights.shape[1] * linear.attributes.get_int("group", 1)
    aligned = array.reshape((1,) * (rank - array.ndim) + array.shape)
    if aligned.shape[1] not in (1, channels) or aligned.size != aligned.shape[1]:
        return None
    values = np.broadcast_to(as_float64(aligned.reshape(-1)), (channels,)).copy()
    if not np.isfinite(values).all():
        return None
    is_factor = node.op_type == "Mul"
    return Affine(values if is_factor else np.ones(channels), np.zeros(channels) if is_factor else values)


def _become_gemm(edit: Editor, node: ir.Node, linear: ir.Node, array: Array) -> None:
    shapes = [None if v is None else shape_of(v) for v in linear.inputs]
    if node.op_type != "Add" or any(s is None or len(s) != 2 for s in shapes):
        return
    width = (shapes[1] or (None,))[-1]
    if array.size != array.shape[-1:].count(width) * (width or 0) or array.ndim > 2:
        return
    bias = edit.constant(f"{node.outputs[0].name}/bias", array.reshape(-1))
    made = edit.node("Gemm", [*linear.inputs, bias], f"{node.outputs[0].name}/gemm", like=node.outputs[0])
    edit.replace(node.outputs[0], made, before=node)
