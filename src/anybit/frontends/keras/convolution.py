"""convolution: dense, convolution, depthwise, separable and transposed convolution layers of all frameworks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir

from anybit.frontends.keras.calls import Call
from anybit.frontends.keras.functions import activate
from anybit.frontends.keras.graph import Graph, LayerTensor
from anybit.frontends.keras.weights import Weight, numpy_of

Weights = Callable[[Call, str], Weight | None]
"""A parameter of a layer by its role, as its framework quantises it; None where the layer has none."""


def float_weight(call: Call, role: str) -> Weight | None:
    """A parameter of a plain Keras layer."""
    if role == "depthwise_kernel" and not hasattr(call.layer, role):
        role = "kernel"  # so Keras 3 calls that of DepthwiseConv
    raw = getattr(call.layer, role, None)
    return None if raw is None else Weight(np.asarray(numpy_of(raw), np.float32))


@dataclass(frozen=True)
class Window:
    """How a window moves over the spatial axes.

    Attributes:
        size: Its size, one number an axis; so are the others.
        strides: Its steps.
        dilations: Distances between its elements.
        begin: Padding in front.
        end: Padding behind.
    """

    size: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begin: tuple[int, ...]
    end: tuple[int, ...]

    @property
    def attributes(self) -> dict[str, Sequence[int]]:
        """Attributes of Conv; pooling has them, too."""
        pads = (*self.begin, *self.end)
        return {"kernel_shape": self.size, "strides": self.strides, "dilations": self.dilations, "pads": pads}


def window_of(call: Call, size: Sequence[int]) -> Window:
    """The window of a layer: its strides, dilations and padding.

    Raises:
        FrontEndError: The padding depends on a free size.
    """
    layer, rank = call.layer, len(size)
    strides = per_axis(layer.strides, rank)
    dilations = per_axis(getattr(layer, "dilation_rate", 1), rank)
    reach = [(n - 1) * d for n, d in zip(size, dilations, strict=True)]
    match str(layer.padding):
        case "valid":
            begin = end = (0,) * rank
        case "causal":
            begin, end = tuple(reach), (0,) * rank
        case "same":
            totals = [_same(call, *of) for of in zip(call.x.shape[1:-1], reach, strides, strict=True)]
            begin = tuple(t // 2 for t in totals)
            end = tuple(t - b for t, b in zip(totals, begin, strict=True))
        case other:
            raise call.refusal("padding", got=other, expected="valid, same or causal")
    return Window(tuple(size), strides, dilations, begin, end)


def _same(call: Call, length: int | None, reach: int, stride: int) -> int:
    """Padding by which the output has ceil(length / stride) elements."""
    if stride == 1:
        return reach
    if length is None:
        raise call.refusal("padding 'same' of a free size", expected="a fixed size", hint="give keras.Input a shape")
    return max((-(-length // stride) - 1) * stride + reach + 1 - length, 0)


def per_axis(setting: Any, rank: int) -> tuple[int, ...]:
    """A setting of a layer, one number for each of so many axes."""
    given = tuple(int(n) for n in np.atleast_1d(setting))
    return given if len(given) == rank else (given[0],) * rank


def dense(weights: Weights, graph: Graph, call: Call) -> LayerTensor:
    """activation(x @ kernel + bias) along the last axis."""
    x = graph.channels_last(call.x)
    kernel = graph.weight(call.layer, "kernel", call.path, lambda: required(weights, call, "kernel"))
    y = graph.node("MatMul", [x.value, kernel], f"{call.path}/product")
    return _finished(graph, call, LayerTensor(_biased(weights, graph, call, y), call.shape))


def convolution(weights: Weights, graph: Graph, call: Call) -> LayerTensor:
    """A convolution over 1 to 3 axes, in groups if need be."""
    kernel = _Kernel("kernel", lambda: _outputs_first(required(weights, call, "kernel")))
    window = window_of(call, per_axis(call.layer.kernel_size, call.x.rank - 2))
    group = int(getattr(call.layer, "groups", 1))
    return _finished(graph, call, _conv(weights, graph, call, call.x, kernel, window, group))


def depthwise(weights: Weights, graph: Graph, call: Call) -> LayerTensor:
    """A convolution of each channel alone."""
    return _finished(graph, call, _depthwise(weights, graph, call))


def separable(weights: Weights, graph: Graph, call: Call) -> LayerTensor:
    """A convolution of each channel, then one of single elements over all channels."""
    channels = _depthwise(lambda of, role: None if role == "bias" else weights(of, role), graph, call)
    kernel = _Kernel("pointwise_kernel", lambda: _outputs_first(required(weights, call, "pointwise_kernel")))
    ones, zeros = (1,) * (call.x.rank - 2), (0,) * (call.x.rank - 2)
    window = Window(ones, ones, ones, zeros, zeros)
    return _finished(graph, call, _conv(weights, graph, call, channels, kernel, window, 1))


def transposed(weights: Weights, graph: Graph, call: Call) -> LayerTensor:
    """The gradient of a convolution: sizes grow by the strides.

    Raises:
        FrontEndError: It is dilated, or its output padding is given.
    """
    layer, rank = call.layer, call.x.rank - 2
    size, strides = (per_axis(n, rank) for n in (layer.kernel_size, layer.strides))
    if max(per_axis(layer.dilation_rate, rank)) > 1 or getattr(layer, "output_padding", None) is not None:
        raise call.refusal("transposed convolution", got="dilation or output padding", expected="neither")
    same = str(layer.padding) == "same"
    totals = [max(n - s, 0) if same else 0 for n, s in zip(size, strides, strict=True)]
    begin = [t // 2 for t in totals]

    kernel = _Kernel("kernel", lambda: _outputs_first(required(weights, call, "kernel")))
    inputs = [graph.channels_first(call.x).value, *_parameters(weights, graph, call, kernel)]
    value = graph.node(
        "ConvTranspose",
        inputs,
        f"{call.path}/product",
        kernel_shape=size,
        strides=strides,
        pads=[*begin, *(t - b for t, b in zip(totals, begin, strict=True))],
        output_padding=[max(s - n, 0) for n, s in zip(size, strides, strict=True)],
    )
    return _finished(graph, call, LayerTensor(value, call.shape, channels_first=True))


def required(weights: Weights, call: Call, role: str) -> Weight:
    """A parameter that a layer cannot be without.

    Raises:
        FrontEndError: The layer does not have it.
    """
    weight = weights(call, role)
    if weight is None:
        raise call.refusal(f"the layer has no {role}", hint="build the model first")
    return weight


@dataclass(frozen=True)
class _Kernel:
    """A kernel by its role, and how it is made in ONNX' layout."""

    role: str
    make: Callable[[], Weight]


def _outputs_first(kernel: Weight) -> Weight:
    """Keras ends a kernel's shape with inputs, outputs; ONNX starts it the other way round. So do transposed ones."""
    last = kernel.array.ndim - 1
    return kernel.transposed(last, last - 1, *range(last - 1))


def _depthwise(weights: Weights, graph: Graph, call: Call) -> LayerTensor:
    def kernel() -> Weight:
        given = required(weights, call, "depthwise_kernel")
        *size, channels, multiplier = given.array.shape
        last = given.array.ndim - 1
        return given.transposed(last - 1, last, *range(last - 1)).reshaped(channels * multiplier, 1, *size)

    rank = call.x.rank - 2
    window = window_of(call, per_axis(call.layer.kernel_size, rank))
    channels = call.x.shape[-1]
    if channels is None:
        raise call.refusal("number of channels", got="free", expected="fixed")
    return _conv(weights, graph, call, call.x, _Kernel("depthwise_kernel", kernel), window, channels)


def _conv(
    weights: Weights,
    graph: Graph,
    call: Call,
    x: LayerTensor,
    kernel: _Kernel,
    window: Window,
    group: int,
) -> LayerTensor:
    inputs = [graph.channels_first(x).value, *_parameters(weights, graph, call, kernel)]
    name = f"{call.path}/{'channels' if kernel.role == 'depthwise_kernel' else 'product'}"
    value = graph.node("Conv", inputs, name, group=group, **window.attributes)
    return LayerTensor(value, call.shape, channels_first=True)


def _parameters(weights: Weights, graph: Graph, call: Call, kernel: _Kernel) -> list[ir.Value]:
    values = [graph.weight(call.layer, kernel.role, call.path, kernel.make)]
    bias = weights(call, "bias")
    if bias is not None:
        flat = bias.reshaped(prod(bias.array.shape))
        values.append(graph.weight(call.layer, "bias", call.path, lambda: flat))
    return values


def _biased(weights: Weights, graph: Graph, call: Call, value: ir.Value) -> ir.Value:
    bias = weights(call, "bias")
    if bias is None:
        return value
    return graph.node("Add", [value, graph.weight(call.layer, "bias", call.path, lambda: bias)], f"{call.path}/sum")


def _finished(graph: Graph, call: Call, tensor: LayerTensor) -> LayerTensor:
    return activate(graph, call, tensor, call.layer.activation)
