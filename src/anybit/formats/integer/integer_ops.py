"""Integer operators: ConvInteger and MatMulInteger on bytes, then Cast and Mul by the scale; everything else in float.

    y = fl(fl(sum of products) * scale) + bias

The sums are exact. Where a quantiser follows, the levels behind it are compared with those of the exact scale for
the sums at both sides of every step; the scale, rounded to float32, may move by a unit in the last place for that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.analysis.values.interpreter import Values
from anybit.analysis.values.tensor_values import Float64s
from anybit.arrays import Array
from anybit.errors import Refusal
from anybit.exact.integer_layers import IntegerLayer, IntegerProduct, read_layer
from anybit.exact.runs import deciding
from anybit.exact.step_function import not_a_number
from anybit.formats.dialect import Approximation, Outcome
from anybit.formats.integer.lowering import Hub, lower
from anybit.formats.integer.read import read_integer as read
from anybit.formats.integer.storage import LARGEST_SUM, Bytes, Stored, stored_input
from anybit.graph.walk import label
from anybit.ops.calls import operator_of

__all__ = ["read", "write"]

_NEIGHBOURS = (0, 1, -1, 2, -2)  # of the scale, in units in the last place
_WEIGHTS = ((np.int8, -128, 127), (np.uint8, 0, 255))


def write(model: ir.Model, *, approximate: bool = False, values: Values | None = None) -> Outcome:
    """Writes the products as ConvInteger or MatMulInteger, all quantisers as in QCDQ, in place.

    Args:
        model: Hub model.
        approximate: Whether a product may be written that is right but for the rounding of its scale, and quantisers
            become what QuantizeLinear means.
        values: What its tensors can hold, where that is known.
    """
    return lower(
        model,
        lambda product, hub: _plan(product, hub, approximate=approximate),
        approximate=approximate,
        values=values,
    )


def _plan(product: IntegerProduct, hub: Hub, *, approximate: bool) -> _IntegerOpsPlan | Refusal:
    x = stored_input(product, hub.model)
    if isinstance(x, Refusal):
        return x
    lo, hi = product.weights.min(initial=0), product.weights.max(initial=0)
    dtype = next((t for t, lowest, highest in _WEIGHTS if lowest <= lo and hi <= highest), None)
    if dtype is None:
        return Refusal(problem="weights of more than 8 bits", node=label(product.product), got=f"{lo:g} .. {hi:g}")
    largest = float(x.largest_sum(product.magnitudes).max(initial=0))
    if largest > LARGEST_SUM:
        return Refusal(
            problem="its sums do not fit into 32 bits",
            node=label(product.product),
            got=f"sums of up to {int(largest)}",
            expected=f"{LARGEST_SUM} at most",
        )
    scale = _certified(product, hub)
    approximation = None
    if isinstance(scale, Refusal):
        if not approximate:
            return scale
        approximation = Approximation(
            problem=f"written with a rounded scale: {scale.problem}",
            node=label(product.product),
            got="results move by less than two roundings of float32",
        )
        scale = product.scale.astype(np.float32)
    return _IntegerOpsPlan(product, x, product.weights.astype(dtype), scale, approximation)


def _certified(product: IntegerProduct, hub: Hub) -> npt.NDArray[np.float32] | Refusal:
    """The scale in float32 with which the levels of the quantiser behind are right for all sums."""
    rounded = product.scale.astype(np.float32)
    layer = read_layer(product, hub.values)
    if isinstance(layer, Refusal):
        exact = (rounded == product.scale).all() and product.bias is None and _largest(product) < 1 << 24
        if exact or not _reaches_quantizer(product.product, hub.model):
            return rounded
        return Refusal(
            problem="a quantiser behind it, whose levels are not certified",
            node=label(product.product),
            got=f"{layer.problem}, {layer.node}",
        )
    sums = deciding(layer.function)
    if isinstance(sums, Refusal):
        return sums
    levels = layer.function(sums)
    if np.isnan(levels).any():
        return not_a_number(label(layer.quantizer))
    scale, fits = rounded.copy(), np.zeros(len(rounded), np.bool_)
    for distance in _NEIGHBOURS:
        candidate = (rounded.view(np.int32) + distance).view(np.float32)
        same = (layer.levels_of(_reals(layer, sums, candidate)) == levels).all(axis=0) & ~fits
        scale, fits = np.where(same, candidate, scale), fits | same
    if not fits.all():
        return Refusal(
            problem="no scale of float32 reproduces its steps",
            node=label(product.product),
            got=f"{int((~fits).sum())} of {product.channels} channels",
        )
    return scale


def _largest(product: IntegerProduct) -> float:
    return float(max(np.abs(product.lo).max(initial=0), np.abs(product.hi).max(initial=0)))


def _reals(layer: IntegerLayer, sums: Float64s, scale: npt.NDArray[np.float32]) -> Array:
    """What the written nodes compute."""
    reals = sums.astype(np.float32) * scale
    if layer.bias is not None:
        reals = reals + layer.bias.astype(np.float32)
    return reals


def _reaches_quantizer(node: ir.Node, model: ir.Model) -> bool:
    """Whether a quantiser may depend on the node's results; one that enters or leaves a subgraph is not followed."""
    if node.graph is not model.graph:
        return True
    waiting, seen = [node], {node}
    while waiting:
        for user in waiting.pop().successors():
            if user.graph is not node.graph or operator_of(user, model.opset_imports) is not None:
                return True
            if user not in seen:
                seen.add(user)
                waiting.append(user)
    return False


@dataclass(frozen=True)
class _IntegerOpsPlan:
    """A product in the numbers of ConvInteger."""

    product: IntegerProduct
    x: Stored
    weights: Array
    scale: npt.NDArray[np.float32]
    approximation: Approximation | None = None

    def apply(self, made: Bytes) -> None:
        """Puts the operator, Cast, Mul and, for a bias, Add in the place of the product."""
        product, edit = self.product.product, made.edit
        x, old = product.inputs[0], product.outputs[0]
        if x is None:  # a product without operand has no sums
            return
        name, is_conv = str(old.name), product.op_type == "Conv"
        inputs: list[ir.Value | None] = [
            made.quantized(x, self.x, product),
            edit.constant(f"{name}/weights", self.weights, like=product.inputs[1]),
            made.byte(f"{name}/x_zero_point", self.x.zero_point),
        ]
        sums = edit.node(
            "ConvInteger" if is_conv else "MatMulInteger",
            inputs,
            f"{name}/sums",
            like=old,
            attributes=product.attributes if is_conv else None,
        )
        sums.outputs[0].type = ir.TensorType(ir.DataType.INT32)
        to = {"to": ir.AttrInt64("to", ir.DataType.FLOAT.value)}
        cast = edit.node("Cast", [sums.outputs[0]], f"{name}/real_sums", like=old, attributes=to)
        scale = edit.constant(f"{name}/scale", self._laid(self.scale))
        nodes = [sums, cast, edit.node("Mul", [cast.outputs[0], scale], f"{name}/scaled", like=old)]
        if self.product.bias is not None:
            bias = edit.constant(f"{name}/bias", self._laid(self.product.bias.astype(np.float32)))
            nodes.append(edit.node("Add", [nodes[-1].outputs[0], bias], f"{name}/biased", like=old))
        edit.replace(old, nodes)

    def _laid(self, by_channel: npt.NDArray[np.float32]) -> Array:
        """Numbers by channel as they broadcast to the product's output."""
        if (by_channel == by_channel[0]).all():
            return np.asarray(by_channel[0])
        return self.product.laid(by_channel[None])[0] if self.product.product.op_type == "Conv" else by_channel
