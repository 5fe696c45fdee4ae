"""ResizeConvToDeconv: nearest-neighbour enlargement and a convolution are one transposed convolution."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.arrays import Array, as_float64
from anybit.errors import Finding, Refusal, Severity
from anybit.graph.editor import Editor
from anybit.graph.walk import all_nodes, label
from anybit.ops.calls import is_call
from anybit.ops.float_quant import FLOAT_QUANT
from anybit.ops.operator import DOMAIN
from anybit.ops.quant import QUANT
from anybit.ops.sizes import refuse_bytes
from anybit.passes.lowering.known_weights import (
    Convolution,
    read_convolution,
    squeezed,
)
from anybit.passes.lowering.nearest_resize import whole_factors

_EXACT_STEPS = 1 << 22  # below it float32 gives an integer back from (integer * scale) / scale


@dataclass(frozen=True)
class ResizeConvToDeconv(ir.passes.InPlacePass):
    """Replaces a nearest-neighbour Resize by whole factors, and the Conv behind it, by a ConvTranspose.

    Before: ``y = Conv(Resize(x, scales=[1, 1, 2, 2]), w)``; after: ``y = ConvTranspose<strides=[2, 2]>(x, w')``.
    w' is w, mirrored and summed over a window of the factor: exact in real arithmetic, and borders are too, since
    the zeros around the enlarged image are zeros around the image. Quantised weights stay quantised: the sums of
    their integers get as many bits as they need, on the same scale. Float weights are summed in float64.

    What stays, with a note: convolutions with strides, more padding than the kernel reaches, weights of which the
    integers are not known.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        with Editor(model, rule="resize-conv-to-deconv") as edit:
            for node in list(all_nodes(model.graph)):
                resize = _resize_before(node)
                if resize is None:
                    continue
                plan = _plan(node, resize, model.opset_imports)
                if isinstance(plan, Refusal):
                    edit.note(_finding(plan))
                    continue
                _replace(edit, node, resize, plan)
        return edit.result()


@dataclass(frozen=True)
class _DeconvPlan:
    convolution: Convolution
    factors: tuple[int, ...]
    kernel: Array
    bits: int | None
    signed: bool
    scale: Array | None


def _resize_before(node: ir.Node) -> ir.Node | None:
    if node.domain != "" or node.op_type != "Conv" or node.inputs[0] is None:
        return None
    producer = node.inputs[0].producer()
    if producer is None or producer.domain != "" or producer.op_type not in ("Resize", "Upsample"):
        return None
    mode = producer.attributes["mode"].as_string() if "mode" in producer.attributes else "nearest"
    return producer if mode == "nearest" else None


def _finding(refusal: Refusal) -> Finding:
    return Finding(
        rule="resize-conv-to-deconv",
        problem=refusal.problem,
        node=refusal.node,
        got=refusal.got,
        expected=refusal.expected,
        severity=Severity.WARNING,
    )


def _plan(node: ir.Node, resize: ir.Node, opset_imports: dict[str, int]) -> _DeconvPlan | Refusal:
    read = read_convolution(node, opset_imports)
    if isinstance(read, Refusal):
        return read
    factors = whole_factors(resize, opset_imports.get("", 1))
    if factors is None or len(factors) != len(read.kernel):
        return Refusal(
            problem="enlargement",
            node=label(resize),
            expected="constant whole factors, floor of asymmetric or nearest of half-pixel coordinates",
        )
    if set(read.strides) != {1}:
        return Refusal(problem="strides", node=label(node), got=str(list(read.strides)), expected="1")
    if any(p > r for side in read.pads for p, r in zip(side, read.reach, strict=True)):
        return Refusal(problem="padding", node=label(node), got=str(read.pads), expected=f"at most {list(read.reach)}")
    return _summed(node, read, factors)


def _summed(node: ir.Node, read: Convolution, factors: tuple[int, ...]) -> _DeconvPlan | Refusal:
    weight = read.weight
    if weight.quantizer is None:
        kernel = _window_sums(as_float64(weight.values), read, factors)
        return _DeconvPlan(read, factors, kernel.astype(weight.values.dtype), None, signed=True, scale=None)
    scale = np.broadcast_to(weight.parameters[0], weight.values.shape)
    integers = np.round(as_float64(weight.values) / scale)
    spatial = tuple(range(2, scale.ndim))
    on_grid = integers.astype(weight.values.dtype) * scale.astype(weight.values.dtype) == weight.values
    one_a_channel = (np.ptp(scale, axis=spatial) == 0).all()
    if is_call(weight.quantizer, FLOAT_QUANT) or not one_a_channel or not on_grid.all():
        return Refusal(
            problem="the integers of the weight are not known",
            node=label(weight.quantizer),
            expected="Quant or BipolarQuant with a whole zero point, scales per tensor or per channel",
        )
    sums = _window_sums(integers, read, factors)
    low, high = int(sums.min(initial=0)), int(sums.max(initial=0))
    if max(-low, high) >= _EXACT_STEPS:
        return Refusal(problem="sums of weights", node=label(node), got=str(max(-low, high)), expected="below 2^22")
    signed = low < 0
    bits = max((-low - 1).bit_length(), high.bit_length(), 1) + 1 if signed else max(high.bit_length(), 1)
    spread = squeezed(_window_sums_like(scale, read))
    return _DeconvPlan(read, factors, (sums * spread).astype(weight.values.dtype), bits, signed, spread)


def _transposed(array: Array, groups: int) -> Array:
    """(outputs, inputs / groups, ...) to (inputs, outputs / groups, ...)."""
    outputs, inputs, *kernel = array.shape
    split = array.reshape(groups, outputs // groups, inputs, *kernel)
    return np.swapaxes(split, 1, 2).reshape(groups * inputs, outputs // groups, *kernel)


def _window_sums(array: npt.NDArray[np.float64], read: Convolution, factors: tuple[int, ...]) -> Array:
    """The mirrored, dilated kernel, convolved with a box of the factors."""
    kernel = _transposed(array, read.groups)
    for axis, (factor, dilation, reach) in enumerate(zip(factors, read.dilations, read.reach, strict=True), start=2):
        mirrored = np.flip(kernel, axis)
        size = [*mirrored.shape]
        size[axis] = reach + factor
        refuse_bytes(math.prod(size) * kernel.itemsize, f"the kernel of a convolution enlarged by {list(factors)}")
        kernel = np.zeros(size)
        for offset in range(factor):
            place = [slice(None)] * kernel.ndim
            place[axis] = slice(offset, offset + reach + 1, dilation)
            kernel[tuple(place)] += mirrored
    return kernel


def _window_sums_like(scale: Array, read: Convolution) -> Array:
    """The scales of the sums: those of the elements, which do not depend on the place in the kernel."""
    return _transposed(scale, read.groups)[(slice(None), slice(None)) + (slice(1),) * (scale.ndim - 2)]


def _replace(edit: Editor, node: ir.Node, resize: ir.Node, plan: _DeconvPlan) -> None:
    read, old = plan.convolution, node.outputs[0]
    weight = edit.constant(f"{old.name}_weight", np.ascontiguousarray(plan.kernel))
    if plan.scale is not None and plan.bits is not None:
        parameters = {"scale": plan.scale, "zeropt": np.zeros((), np.float32), "bits": np.array(plan.bits, np.float32)}
        inputs = [edit.constant(f"{weight.name}_{k}", a) for k, a in parameters.items()]
        name = f"{weight.name}_quantized"
        weight = _quantized(edit, node, weight, inputs, signed=plan.signed)
        weight.name = edit.name(name)
    pads = [r - p for side in read.pads for p, r in zip(side, read.reach, strict=True)]
    transposed = ir.node(
        "ConvTranspose",
        [resize.inputs[0], weight, *node.inputs[2:]],
        {"group": read.groups, "kernel_shape": plan.kernel.shape[2:], "pads": pads, "strides": plan.factors},
        name=node.name,
    )
    transposed.outputs[0].shape, transposed.outputs[0].type = old.shape, old.type
    edit.replace(old, transposed)
    edit.remove(node)


def _quantized(edit: Editor, node: ir.Node, weight: ir.Value, parameters: list[ir.Value], *, signed: bool) -> ir.Value:
    """Quant of sums that lie on its grid already."""
    made = ir.node(
        QUANT.name,
        [weight, *parameters],
        {"signed": int(signed), "narrow": 0, "rounding_mode": "ROUND"},
        domain=DOMAIN,
        name=f"{weight.name}_quant",
    )
    made.outputs[0].type = weight.type
    edit.insert(made, before=node)
    return made.outputs[0]
