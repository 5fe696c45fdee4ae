"""BatchNormToAffine: batch normalisation as Mul and Add."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.arrays import as_float64
from anybit.cleanup.infer_shapes import infer_missing
from anybit.errors import Refusal
from anybit.graph.constants import constant
from anybit.graph.editor import Editor
from anybit.graph.walk import shape_of

_Float64s = npt.NDArray[np.float64]


@dataclass(frozen=True)
class BatchNormToAffine(ir.passes.InPlacePass):
    """Replaces BatchNormalization at inference by a multiplication and an addition per channel.

    Before: ``y = BatchNormalization(x, scale, bias, mean, var)``; after: ``y = Add(Mul(x, a), b)`` with
    ``a = scale / sqrt(var + epsilon)`` and ``b = bias - mean * a``, of shape (1, C, 1, ...). Both are computed in
    float64 and rounded once, so that the result is the same in real arithmetic up to these two roundings; it is not
    bit-exact, as (x - mean) * a + bias is summed in another order. Training mode and parameters that are not
    constant stay.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        with Editor(model, rule="batch-norm-to-affine") as edit:
            nodes = edit.nodes("BatchNormalization")
            edit.require_broadcasting(nodes)
            infer_missing(model, [n.inputs[0] for n in nodes])
            for node in nodes:
                constants = _constants(node)
                if isinstance(constants, Refusal):
                    edit.leave(node, constants)
                    continue
                _rewrite(edit, node, *constants)
        return edit.result()


def _constants(node: ir.Node) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]] | Refusal:
    affine = Affine.of(node)
    if isinstance(affine, Refusal):
        return affine
    x = node.inputs[0]
    shape = None if x is None else shape_of(x)
    if x is None or shape is None or len(shape) < 2 or x.dtype is None:
        return Refusal(
            problem="rank or type of the input is unknown, or it has no channels",
            expected="(N, C, ...)",
            hint="fold shapes first",
        )
    broadcast = (1, -1, *(1 for _ in shape[2:]))
    dtype = x.dtype.numpy()
    with np.errstate(over="ignore"):
        factor, offset = (v.astype(dtype).reshape(broadcast) for v in (affine.factor, affine.offset))
    lost = (affine.factor != 0) & (np.abs(factor).ravel() < np.finfo(dtype).tiny)
    if lost.any() or not (np.isfinite(factor).all() and np.isfinite(offset).all()):
        return Refusal(problem="the factor or offset of a channel is no normal number", expected=f"range of {dtype}")
    return factor, offset


def _rewrite(edit: Editor, node: ir.Node, factor: npt.NDArray[np.floating], offset: npt.NDArray[np.floating]) -> None:
    output, x, *old = node.outputs[0], *node.inputs
    names = [f"{output.name}/{name}" for name in ("factor", "offset")]
    product = edit.node("Mul", [x, edit.constant(names[0], factor)], f"{output.name}/scaled", like=output)
    edit.insert(product, before=node)
    become_add(node, product.outputs[0], edit.constant(names[1], offset))
    edit.discard(*old)


def become_add(node: ir.Node, x: ir.Value, offset: ir.Value) -> None:
    """Turns a node into ``Add(x, offset)``; its first output stays, the others, which nothing reads, go."""
    node.op_type = "Add"
    node.attributes.clear()
    node.resize_inputs(2)
    node.resize_outputs(1)
    node.replace_input_with(0, x)
    node.replace_input_with(1, offset)


@dataclass(frozen=True)
class Affine:
    """factor * x + offset per channel, in float64: what a batch normalisation computes."""

    factor: _Float64s
    offset: _Float64s

    @classmethod
    def of(cls, node: ir.Node) -> Affine | Refusal:
        """factor = scale / sqrt(var + epsilon), offset = bias - mean * factor; or why the node is not that."""
        extra = [o for o in node.outputs[1:] if o.name or o.uses() or o.is_graph_output()]
        if node.attributes.get_int("training_mode", 0) or extra:
            return Refusal(problem="it normalises by the batch (training mode)", expected="inference, one output")
        if not node.attributes.get_int("spatial", 1):
            return Refusal(problem="it normalises each position by itself", got="spatial = 0")
        arrays = [constant(v) for v in node.inputs[1:]]
        known = [as_float64(a) for a in arrays if a is not None]
        if len(known) != 4:
            return Refusal(problem="its parameters are not constant", expected="scale, bias, mean and var constant")
        if len({a.shape for a in known}) != 1 or known[0].ndim != 1:
            return Refusal(problem="its parameters do not fit together", got=str([a.shape for a in known]))
        scale, bias, mean, variance = known
        epsilon = float(np.float32(node.attributes.get_float("epsilon", 1e-5)))
        with np.errstate(all="ignore"):
            factor = scale / np.sqrt(variance + epsilon)
            offset = bias - mean * factor
        if not (np.isfinite(factor).all() and np.isfinite(offset).all()):
            return Refusal(problem="a channel has no finite factor", got=f"variance down to {variance.min():g}")
        return cls(factor, offset)

    def along_weights(self, linear: ir.Node, shape: tuple[int, ...]) -> _Float64s | Refusal:
        """The factor of each output channel of a Conv, Gemm or the like, in a shape that broadcasts to its weights."""
        if len(shape) < 2:
            return Refusal(problem="the weights have no output channels", got=str(list(shape)))
        ones = (1,) * (len(shape) - 2)
        group = linear.attributes.get_int("group", 1)
        match linear.op_type:
            case "Conv":
                channels, factor = shape[0], self.factor.reshape(-1, 1, *ones)
            case "ConvTranspose" if group == 1:
                channels, factor = shape[1], self.factor.reshape(1, -1, *ones)
            case "ConvTranspose" if shape[1] * group == self.factor.size:
                channels, by_group = self.factor.size, self.factor.reshape(group, -1)
                # Each input channel reaches the output channels of its own group only.
                factor = np.repeat(by_group, shape[0] // group, axis=0).reshape(-1, shape[1], *ones)
            case "ConvTranspose":
                channels, factor = 0, self.factor
            case _:
                product = shape_of(linear.outputs[0])
                if product is None:
                    return Refusal(problem="the rank of the product is unknown", hint="fold shapes first")
                channels = shape[-1] if len(product) == len(shape) == 2 else 0
                factor = self.factor.reshape(1, -1)
                if linear.attributes.get_int("transB", 0):
                    channels, factor = shape[0], factor.T
        if channels == self.factor.size:
            return factor
        return Refusal(problem="its channels are not the output channels of the weights", got=f"weights {list(shape)}")

    def bias_of(self, linear: ir.Node) -> npt.NDArray[np.floating] | Refusal:
        """a * bias + offset, rounded once; Gemm's beta is in it."""
        value = linear.inputs[2] if len(linear.inputs) > 2 else None
        old = constant(value)
        if value is not None and old is None:
            return Refusal(problem="the bias before it is not constant", expected="a constant, or none")
        x = linear.outputs[0]
        if x.dtype is None:
            return Refusal(problem="the element type before it is unknown")
        beta = float(np.float32(linear.attributes.get_float("beta", 1.0)))
        if old is not None and old.shape[-1:] not in ((), (1,), self.factor.shape):
            return Refusal(problem="the bias before it has other channels", got=str(old.shape))
        with np.errstate(over="ignore"):
            old = np.zeros(()) if old is None else as_float64(old) * beta
            bias = (old * self.factor + self.offset).astype(x.dtype.numpy())
        return bias if np.isfinite(bias).all() else Refusal(problem="the folded bias overflows", got=str(x.dtype))
