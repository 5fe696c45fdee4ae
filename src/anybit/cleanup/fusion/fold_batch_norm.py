"""FoldBatchNorm: batch normalisation disappears in the weights and the bias before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array, as_float64
from anybit.cleanup.fusion.batch_norm_to_affine import Affine, become_add
from anybit.cleanup.infer_shapes import infer_missing
from anybit.errors import Refusal
from anybit.graph.constants import constant
from anybit.graph.editor import Editor
from anybit.ops.bipolar_quant import BIPOLAR_QUANT
from anybit.ops.calls import call_of, is_call, operator_of
from anybit.ops.operator import Operator, widened
from anybit.ops.quant import QUANT

_LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class FoldPlan:
    """What takes the place of weights and bias: a scale only where a quantiser makes the weights."""

    linear: ir.Node
    weights: Array
    scale: Array | None
    bias: Array


_PLAIN = Refusal(problem="the weights are plain constants", hint="set the option `float_weights`")


@dataclass(frozen=True)
class FoldBatchNorm(ir.passes.InPlacePass):
    """Folds BatchNormalization into the Conv, ConvTranspose, Gemm or MatMul before it, where nothing else reads that.

    Before: ``y = BatchNormalization(Conv(x, Quant(w, s, 0, b)), ...)``;
    after: ``y = Conv(x, Quant(w', s', 0, b), bias)`` with ``s' = s * |a|`` per output channel, ``a = scale /
    sqrt(var + epsilon)``, and ``bias = bias - mean * a``; behind a MatMul the bias is an Add.

    Quantised weights (Quant, BipolarQuant): the integers before and after are the same, negated where a < 0, which
    is verified for every one of them by the operator's reference; s * |a| is rounded once. Where that is not so the
    node stays: a channel of a = 0; a < 0 and an integer whose negative is not on the grid; a scale that varies along
    other axes than the output channel. w' holds the values of the grid, not the weights before rounding.

    Float weights are multiplied in float64 and rounded once. In either case the result is the same in real
    arithmetic up to these roundings, not bit for bit: sums of products are rounded elsewhere.

    Attributes:
        quantized: Fold into weights that a quantiser makes.
        float_weights: Fold into weights that are plain constants.
    """

    quantized: bool = True
    float_weights: bool = False

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        with Editor(model, rule="fold-batch-norm") as edit:
            nodes = edit.nodes("BatchNormalization")
            edit.require_broadcasting(nodes)
            infer_missing(model, [n.inputs[0] for n in nodes])
            for node in nodes:
                plan = plan_of(self, node, model.opset_imports)
                if isinstance(plan, Refusal):
                    edit.leave(node, plan)
                    continue
                apply_plan(edit, node, plan)
        return edit.result()


def plan_of(options: FoldBatchNorm, node: ir.Node, opset_imports: dict[str, int]) -> FoldPlan | Refusal:
    """What folds a node, or why it stays."""
    x = node.inputs[0]
    linear = None if x is None else x.producer()
    if x is None or linear is None or linear.domain != "" or linear.op_type not in _LINEAR:
        return Refusal(problem="no linear operator is before it", expected=", ".join(_LINEAR))
    if len(x.uses()) != 1 or x.is_graph_output() or linear.graph is not node.graph:
        return Refusal(problem="the tensor before it is also used elsewhere", got=f"tensor '{x.name}'")
    affine = Affine.of(node)
    if isinstance(affine, Refusal):
        return affine
    bias = affine.bias_of(linear)
    if isinstance(bias, Refusal):
        return bias
    source = linear.inputs[1]
    weights = constant(source)
    if weights is not None:
        return float_plan(linear, weights, affine, bias) if options.float_weights else _PLAIN
    quantizer = None if source is None else source.producer()
    operator = None if quantizer is None else operator_of(quantizer, opset_imports)
    if quantizer is None or operator is None or not is_call(quantizer, QUANT, BIPOLAR_QUANT):
        got = "computed weights" if quantizer is None else quantizer.op_type
        return Refusal(problem="its weights are made by something else", got=got, expected="Quant, BipolarQuant")
    if not options.quantized:
        return Refusal(problem="the weights are quantised", hint="set the option `quantized`")
    return _quantized(linear, quantizer, operator, affine, bias)


def float_plan(linear: ir.Node, weights: Array, affine: Affine, bias: Array) -> FoldPlan | Refusal:
    """Weights times the factor of their channel, rounded once."""
    if weights.dtype.kind != "f":
        return _PLAIN
    factor = affine.along_weights(linear, weights.shape)
    if isinstance(factor, Refusal):
        return factor
    with np.errstate(over="ignore"):
        product = (as_float64(weights) * factor).astype(weights.dtype)
    if not np.isfinite(product).all():
        return Refusal(problem="a folded weight overflows", expected=f"range of {weights.dtype}")
    return FoldPlan(linear, product, None, bias)


def _quantized(
    linear: ir.Node, quantizer: ir.Node, operator: Operator, affine: Affine, bias: Array
) -> FoldPlan | Refusal:
    arrays = [a for v in quantizer.inputs if (a := constant(v)) is not None]
    if len(arrays) != len(operator.inputs) or arrays[1].dtype.kind != "f":
        return Refusal(problem="the quantiser of the weights is not constant", got=quantizer.op_type)
    weights, scale, *rest = arrays
    factor = affine.along_weights(linear, weights.shape)
    if isinstance(factor, Refusal):
        return factor
    aligned = scale.reshape((1,) * (weights.ndim - scale.ndim) + scale.shape)
    if any(s not in (1, f) for s, f in zip(aligned.shape, factor.shape, strict=True)):
        return Refusal(problem="the scale of the weights varies within an output channel", got=str(scale.shape))
    with np.errstate(over="ignore"):
        new_scale = (as_float64(aligned) * np.abs(factor)).astype(scale.dtype)
    if not (np.isfinite(new_scale) & (new_scale >= np.finfo(weights.dtype).tiny)).all():
        return Refusal(problem="a channel would have a scale of zero or out of range", got=f"{new_scale.min():g}")
    attributes = call_of(quantizer, operator).attributes
    if operator is QUANT and rest[1].size and rest[1].max() > 24:
        return Refusal(problem="bit width of the weights", got=f"{rest[1].max():g}", expected="at most 24")

    def steps(x: Array, step: Array) -> Array:
        """How many steps of the grid each weight is from zero."""
        if operator is BIPOLAR_QUANT:
            return operator.evaluate([widened(x), np.ones(())], attributes)
        x = widened(x)
        zero_point = rest[0].astype(x.dtype)
        ratio = x / step.astype(x.dtype) + zero_point
        return operator.evaluate([ratio, np.ones(()), np.zeros(()), rest[1]], attributes) - zero_point

    wanted = np.sign(factor).astype(widened(weights).dtype) * steps(weights, scale)
    on_grid = (wanted * new_scale.astype(wanted.dtype)).astype(weights.dtype)
    result, right = on_grid, steps(on_grid, new_scale) == wanted
    for direction in (-np.inf, np.inf):  # directed rounding may need the neighbouring number
        beside = np.nextafter(on_grid, weights.dtype.type(direction))
        result = np.where(right, result, beside)
        right |= steps(beside, new_scale) == wanted
    if not right.all():
        return Refusal(
            problem="the integers of the weights cannot be kept",
            got=f"{int((~right).sum())} that are not on the grid once negated or rescaled",
            hint="a narrow grid can be negated",
        )
    return FoldPlan(linear, result, new_scale, bias)


def apply_plan(edit: Editor, node: ir.Node, plan: FoldPlan) -> None:
    """Gives the layer its new weights and bias, and removes the node behind it."""
    linear, old = plan.linear, plan.linear.inputs[1]
    quantizer = None if old is None else old.producer()
    if old is None:
        return
    if plan.scale is None or quantizer is None:
        new = edit.constant(f"{old.name}/folded", plan.weights, like=old)
    else:
        new = _new_quantizer(edit, linear, quantizer, plan.weights, plan.scale)
    linear.replace_input_with(1, new)
    offset = edit.constant(f"{node.outputs[0].name}/offset", plan.bias)
    stale = [old, *node.inputs[1:]]
    linear.outputs[0].meta.clear()  # what was stated of the tensor does not hold of the scaled one
    if linear.op_type == "MatMul":
        linear.outputs[0].name = edit.name(f"{node.outputs[0].name}/scaled")
        become_add(node, linear.outputs[0], offset)
    else:
        stale += linear.inputs[2:3]
        linear.resize_inputs(3)
        linear.replace_input_with(2, offset)
        linear.attributes.pop("beta", None)
        edit.replace(node.outputs[0], linear.outputs[0])
        edit.remove(node)
    edit.discard(*stale)


def _new_quantizer(edit: Editor, linear: ir.Node, old: ir.Node, weights: Array, scale: Array) -> ir.Value:
    inputs = list(old.inputs)
    for position, array in enumerate((weights, scale)):
        value = inputs[position]
        inputs[position] = edit.constant(f"{value.name if value else old.name}/folded", array, like=value)
    output = old.outputs[0]
    made = edit.node(
        old.op_type, inputs, f"{output.name}/folded", like=output, domain=old.domain, attributes=dict(old.attributes)
    )
    made.outputs[0].meta.update(output.meta)
    edit.insert(made, before=linear)
    return made.outputs[0]
