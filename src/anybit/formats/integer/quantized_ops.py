"""Quantised operators: QLinearConv and QLinearMatMul on bytes, and a Clip for the widths below 8.

    byte = clip(round_half_even(fl(multiplier * (sum of products + bias))) + zero point)

A layer is written only if this gives the level that the layer has, for every sum that it can meet; see
`anybit.exact.requantization`. Activations are stored from 0 up; the integer weights may be multiplied by a factor,
which the multiplier takes back. Sums are of 32 bits, which have to hold each of them, in any order, with the bias.
Kernels for x86 without VNNI saturate pairs of products at 16 bits, which can happen only where activations and weights
both have more than 7 bits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.analysis.values.interpreter import Values
from anybit.analysis.values.tensor_values import Float64s
from anybit.arrays import Array
from anybit.errors import Refusal
from anybit.exact.corners import Corners, corners_of
from anybit.exact.integer_layers import IntegerLayer, IntegerProduct, read_layer
from anybit.exact.requantization import LARGEST_BIAS, Requantization, reproduces, requantize
from anybit.exact.thresholds import Steps, steps_of
from anybit.formats.dialect import Approximation, Outcome
from anybit.formats.integer.lowering import Hub, lower
from anybit.formats.integer.read import read_quantized as read
from anybit.formats.integer.storage import LARGEST_SUM, Bytes, Stored, stored_input, stored_output
from anybit.graph.walk import label, shape_of
from anybit.ops.zero_sign import refusal_where_told
from anybit.quantizers.clip_fusion import before_clip
from anybit.quantizers.quantizer import Quantizer, read_quant

__all__ = ["read", "write"]

_HIGHEST_WEIGHT, _LOWEST_WEIGHT = 127, -128
_PAIR = 32767  # of products, that kernels add in 16 bits
_ONE = "at least one channel"
_FEW_CHANNELS = 128  # all of which take about as long as a look at two of them
_NEIGHBOURS = (0, 1, -1, 2, -2)  # of the quotient, in units in the last place


def write(model: ir.Model, *, approximate: bool = False, most: bool = False, values: Values | None = None) -> Outcome:
    """Writes every certified layer as QLinearConv or QLinearMatMul, all other quantisers as in QCDQ, in place.

    Args:
        model: Hub model.
        approximate: Whether layers may stay in float, and quantisers become what QuantizeLinear means.
        most: Whether nothing is written unless most convolutions can be: what is in the way is then found sooner, and
            not counted.
        values: What its tensors can hold, where that is known.
    """
    return lower(model, partial(_plan, counted=not most), approximate=approximate, most=most, values=values)


def _plan(product: IntegerProduct, hub: Hub, *, counted: bool) -> _QuantizedOpsPlan | Refusal:
    layer = read_layer(product, hub.values)
    if isinstance(layer, Refusal):
        return layer
    if layer.chain.channels != layer.channels:  # behind a product of one channel, parameters vary along another axis
        return Refusal(problem="a parameter that is not one by channel", node=label(layer.product))
    quantizer = _quantizer(layer, hub)
    if isinstance(quantizer, Refusal):
        return replace(quantizer, node=label(layer.quantizer))
    last, quantizer = before_clip(layer.quantizer, quantizer) or (layer.quantizer, quantizer)
    x, y = stored_input(layer, hub.model), stored_output(quantizer, last.outputs[0], layer.quantizer)
    if isinstance(x, Refusal):
        return x
    if isinstance(y, Refusal):
        return y
    if layer.weights.max(initial=0) > _HIGHEST_WEIGHT or layer.weights.min(initial=0) < _LOWEST_WEIGHT:
        return Refusal(problem="weights of more than 8 bits", node=label(layer.product))
    declared = (float(quantizer.lo.min()), float(quantizer.hi.max()))
    probed = not counted and layer.channels > _FEW_CHANNELS
    hopeless = probed and _is_hopeless(layer, quantizer, _room(layer, x), declared)
    steps = _not_reproduced(layer, _ONE) if hopeless else steps_of(layer.function)
    if isinstance(steps, Refusal):
        return steps
    result: _QuantizedOpsPlan | Refusal | None = None
    for lowest, highest in dict.fromkeys((declared, _reached(steps, declared))):
        offset = y.lowest - declared[0]
        ends = replace(y, lowest=int(lowest + offset), highest=int(highest + offset))
        limits = (lowest, highest)
        result = _certified(layer, last, steps, quantizer.zero_point, x, ends, limits, counted=counted)
        if isinstance(result, _QuantizedOpsPlan):
            break
    return result or Refusal(problem="no levels", node=label(layer.quantizer))


def _quantizer(layer: IntegerLayer, hub: Hub) -> Quantizer | Refusal:
    """What the quantiser of a layer means, or why bytes cannot take its place."""
    if layer.quantizer.graph is not layer.product.graph:
        return Refusal(problem="its quantiser stands in another graph")
    quantizer = read_quant(layer.quantizer, hub.model)
    if isinstance(quantizer, Refusal) or not quantizer.makes_negative_zeros:
        return quantizer
    return refusal_where_told(layer.quantizer.outputs[0], hub.told) or quantizer


def _reached(steps: Steps, declared: tuple[float, float]) -> tuple[float, float]:
    """The levels that some channel reaches: behind Relu, a line that ends there is a Clip and not another slope."""
    last = steps.first + np.isfinite(steps.thresholds).sum(axis=1)
    return max(declared[0], float(steps.first.min())), min(declared[1], float(last.max()))


def _certified(
    layer: IntegerLayer,
    last: ir.Node,
    steps: Steps,
    zero_points: Float64s,
    x: Stored,
    y: Stored,
    limits: tuple[float, float],
    *,
    counted: bool,
) -> _QuantizedOpsPlan | Refusal:
    """The layer with a bias and a multiplier for each channel, if they reproduce all steps between the limits."""
    zero_point = np.broadcast_to(zero_points.reshape(-1), layer.scale.shape)
    lowest, highest = limits
    room = _room(layer, x)
    corners = corners_of(steps, zero_point, lowest=lowest, highest=highest)
    found = requantize(corners, steps.sign, room=room, whole=not counted)
    scale, fits = _weight_scale(found, corners, x.one_scale, y.one_scale)
    weights = layer.weights * found.factor.reshape(_across(layer))
    fits &= weights.max(axis=_within(layer), initial=0) <= _HIGHEST_WEIGHT
    if not fits.all():
        return _not_reproduced(layer, f"{int((~fits).sum())} of {layer.channels} channels" if counted else _ONE)
    largest = x.largest_sum(layer.magnitudes * np.abs(found.factor)) + np.abs(found.bias)
    if (largest > LARGEST_SUM).any():
        return Refusal(
            problem="its sums do not fit into 32 bits",
            node=label(layer.product),
            got=f"sums and bias of up to {int(largest.max())}",
            expected=f"{LARGEST_SUM} at most",
        )
    return _QuantizedOpsPlan(layer, last, x, y, weights.astype(np.int8), scale, found.bias.astype(np.int32))


def _is_hopeless(layer: IntegerLayer, quantizer: Quantizer, room: Float64s, declared: tuple[float, float]) -> bool:
    """Whether a look at the channels of the widest and of middling range shows that not all can be reproduced."""
    reals = (layer.hi - layer.lo) * np.abs(layer.scale)
    order = np.argsort(reals, kind="stable")
    channels = np.unique(order[[-1, len(order) // 2]])
    steps = steps_of(layer.function_of(channels))
    if isinstance(steps, Refusal):
        return False  # `steps_of` says why of all of them
    zero_point = np.broadcast_to(quantizer.zero_point.reshape(-1), layer.scale.shape)[channels]
    lowest, highest = _reached(steps, declared)
    corners = corners_of(steps, zero_point, lowest=lowest, highest=highest)
    found = requantize(corners, steps.sign, room=room[channels], whole=True)
    return not found.found.all()


def _not_reproduced(layer: IntegerLayer, got: str) -> Refusal:
    return Refusal(problem="no multiplier and bias reproduce its steps", node=label(layer.product), got=got)


def _within(layer: IntegerProduct) -> tuple[int, ...]:
    """The axes of the weights that one output channel sums over."""
    return tuple(range(1, layer.weights.ndim)) if layer.product.op_type == "Conv" else (0,)


def _across(layer: IntegerProduct) -> tuple[int, ...]:
    """The shape in which numbers by channel broadcast to the weights."""
    return (-1, *(1,) * (layer.weights.ndim - 1)) if layer.product.op_type == "Conv" else (1, -1)


def _room(layer: IntegerProduct, x: Stored) -> Float64s:
    """By channel, the largest factor that leaves weights in 8 bits, pairs of products in 16, sums in 32; at least 1."""
    largest = np.maximum(np.abs(layer.weights).max(axis=_within(layer), initial=0), 1)
    allowed = min(_HIGHEST_WEIGHT, _PAIR // (2 * max(x.highest, 1)))
    sums = np.maximum(x.largest_sum(layer.magnitudes), 1)
    return np.maximum(np.floor(np.minimum(allowed / largest, (LARGEST_SUM - LARGEST_BIAS) / sums)), 1)


def _weight_scale(
    found: Requantization, corners: Corners, x: np.float32, y: np.float32
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Scales of the weights for which fl(fl(x * scale) / y) is a multiplier that reproduces the steps, by channel."""
    with np.errstate(over="ignore"):
        quotient = (found.multiplier * np.float64(y) / np.float64(x)).astype(np.float32)
    scale, fits = quotient.copy(), np.zeros(len(quotient), np.bool_)
    for distance in _NEIGHBOURS:
        candidate = (quotient.view(np.int32) + distance).view(np.float32)
        usable = found.found & ~fits & np.isfinite(candidate) & (candidate >= np.finfo(np.float32).tiny)
        with np.errstate(all="ignore"):
            multiplier = (x * candidate / y).astype(np.float64)
        for factor in np.unique(np.abs(found.factor[usable])):
            rows = np.flatnonzero(usable & (np.abs(found.factor) == factor))
            right = rows[reproduces(corners.of(rows), float(factor), found.bias[rows], multiplier[rows])]
            scale[right], fits[right] = candidate[right], True
    return scale, fits


@dataclass(frozen=True)
class _QuantizedOpsPlan:
    """A layer, down to the last node that it replaces, in the numbers of QLinearConv."""

    layer: IntegerLayer
    last: ir.Node
    x: Stored
    y: Stored
    weights: Array
    weight_scale: npt.NDArray[np.float32]
    bias: npt.NDArray[np.int32]
    approximation: Approximation | None = None

    def apply(self, made: Bytes) -> None:
        """Puts the operator and a Clip in the place of the product, DequantizeLinear behind it."""
        product, old = self.layer.product, self.last.outputs[0]
        x = product.inputs[0]
        if x is None:  # a product without operand is no layer
            return
        integers = made.quantized(x, self.x, product)
        if product.op_type == "Conv":
            nodes = [self._conv(made, integers, dict(product.attributes))]
        elif self.bias.any():
            nodes = self._matrix_conv(made, integers)
        else:
            nodes = [self._matmul(made, integers)]
        if self.y.is_clipped:
            bounds = [made.byte(f"{old.name}/{k}", b) for k, b in (("min", self.y.lowest), ("max", self.y.highest))]
            nodes.append(made.node("Clip", [nodes[-1].outputs[0], *bounds], f"{old.name}/clipped", old))
        nodes.append(made.linear("DequantizeLinear", nodes[-1].outputs[0], self.y, f"{old.name}/real", like=old))
        made.edit.replace(old, nodes, before=product)

    def _parameters(self, made: Bytes, integers: ir.Value, weights: Array) -> list[ir.Value | None]:
        """The inputs that both operators have, in order."""
        constant, name = made.edit.constant, str(self.layer.product.outputs[0].name)
        old = self.layer.product.inputs[1]
        scale = self.weight_scale[0] if (self.weight_scale == self.weight_scale[0]).all() else self.weight_scale
        return [
            integers,
            constant(f"{name}/x_scale", np.asarray(self.x.one_scale)),
            made.byte(f"{name}/x_zero_point", self.x.zero_point),
            constant(f"{name}/weights" if old is None else f"{old.name}/integers", weights, like=old),
            constant(f"{name}/w_scale", np.asarray(scale)),
            constant(f"{name}/w_zero_point", np.zeros(np.shape(scale), np.int8)),
            constant(f"{name}/y_scale", np.asarray(self.y.one_scale)),
            made.byte(f"{name}/y_zero_point", self.y.zero_point),
        ]

    def _conv(self, made: Bytes, integers: ir.Value, attributes: dict[str, ir.Attr]) -> ir.Node:
        like = self.layer.product.outputs[0]
        inputs = self._parameters(made, integers, self.weights)
        inputs.append(made.edit.constant(f"{like.name}/bias", self.bias))
        return made.node("QLinearConv", inputs, f"{like.name}/bytes", like, **attributes)

    def _matmul(self, made: Bytes, integers: ir.Value) -> ir.Node:
        like = self.layer.product.outputs[0]
        return made.node("QLinearMatMul", self._parameters(made, integers, self.weights), f"{like.name}/bytes", like)

    def _matrix_conv(self, made: Bytes, integers: ir.Value) -> list[ir.Node]:
        """The product as a convolution of one tap, which has a bias, over rows that are a batch."""
        like, constant = self.layer.product.outputs[0], made.edit.constant
        terms, channels = self.weights.shape
        rows = constant(f"{like.name}/rows", np.array([-1, terms, 1, 1], np.int64))
        split = made.node("Reshape", [integers, rows], f"{like.name}/split", like)
        split.outputs[0].shape = ir.Shape([None, terms, 1, 1])
        inputs = self._parameters(made, split.outputs[0], self.weights.T[:, :, None, None])
        inputs.append(constant(f"{like.name}/bias", self.bias))
        conv = made.node("QLinearConv", inputs, f"{like.name}/sums", like)
        conv.outputs[0].shape = ir.Shape([None, channels, 1, 1])
        shape, shape_nodes = self._shape(made, integers, channels)
        joined = made.node("Reshape", [conv.outputs[0], shape], f"{like.name}/bytes", like)
        return [split, conv, *shape_nodes, joined]

    def _shape(self, made: Bytes, integers: ir.Value, channels: int) -> tuple[ir.Value, list[ir.Node]]:
        """The shape of the product's output, and the nodes that compute it."""
        like, constant = self.layer.product.outputs[0], made.edit.constant
        leading = (shape_of(like) or (None, None))[:-1]
        if sum(d is None for d in leading) <= 1:
            known = np.array([*(-1 if d is None else d for d in leading), channels], np.int64)
            return constant(f"{like.name}/shape", known), []
        numbers = [constant(f"{like.name}/{k}", np.array([v], np.int64)) for k, v in (("first", 0), ("last", -1))]
        width = constant(f"{like.name}/width", np.array([channels], np.int64))
        shape = made.edit.node("Shape", [integers], f"{like.name}/x_shape")
        cut = made.edit.node("Slice", [shape.outputs[0], *numbers], f"{like.name}/leading")
        both = made.edit.node(
            "Concat", [cut.outputs[0], width], f"{like.name}/y_shape", attributes={"axis": ir.AttrInt64("axis", 0)}
        )
        return both.outputs[0], [shape, cut, both]
