"""pooling: maxima and averages over windows, and over all of an image."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np

from anybit.frontends.keras.calls import Call, framework_of
from anybit.frontends.keras.convolution import per_axis, window_of
from anybit.frontends.keras.functions import activate
from anybit.frontends.keras.graph import Graph, LayerTensor
from anybit.frontends.keras.qkeras_weights import snapped


def pool(op_type: str, graph: Graph, call: Call) -> LayerTensor:
    """MaxPool or AveragePool; padding counts for neither, which is ONNX' default."""
    window = window_of(call, per_axis(call.layer.pool_size, call.x.rank - 2))
    x = graph.channels_first(call.x).value
    if op_type == "AveragePool" and window.begin != window.end and _repeats_borders(call):
        pads = np.asarray([0, 0, *window.begin, 0, 0, *window.end], np.int64)
        x = graph.node("Pad", [x, pads], f"{call.path}/padded", mode="edge")
        none = (0,) * len(window.size)
        window = replace(window, begin=none, end=none)
    return LayerTensor(
        graph.node(op_type, [x], f"{call.path}/pooled", **window.attributes), call.shape, channels_first=True
    )


def _repeats_borders(call: Call) -> bool:
    """Whether unequal padding repeats the border's elements: so the torch backend of Keras has it."""
    return framework_of(type(call.layer)) in {"keras", "hgq"} and sys.modules["keras"].config.backend() == "torch"


def global_pool(op_type: str, graph: Graph, call: Call) -> LayerTensor:
    """GlobalMaxPool or GlobalAveragePool, the spatial axes gone unless the layer keeps them."""
    value = graph.node(op_type, [graph.channels_first(call.x).value], f"{call.path}/pooled")
    if getattr(call.layer, "keepdims", False):
        return LayerTensor(value, call.shape, channels_first=True)
    return LayerTensor(graph.node("Flatten", [value], f"{call.path}/flat", axis=1), call.shape)


def qkeras_average(graph: Graph, call: Call) -> LayerTensor:
    """QAveragePooling2D: average(x) * area * quantised(1 / area)."""
    return _with_factor(graph, call, pool("AveragePool", graph, call), per_axis(call.layer.pool_size, 2))


def qkeras_global_average(graph: Graph, call: Call) -> LayerTensor:
    """QGlobalAveragePooling2D: average(x) * area * quantised(1 / area)."""
    return _with_factor(graph, call, global_pool("GlobalAveragePool", graph, call), call.x.shape[1:-1])


def _with_factor(graph: Graph, call: Call, tensor: LayerTensor, size: Sequence[int | None]) -> LayerTensor:
    if call.layer.average_quantizer_internal is not None:
        sides = [n for n in size if n is not None]
        if len(sides) < len(size):
            raise call.refusal("averages over a free size", expected="a fixed size", hint="give keras.Input a shape")
        area = prod(sides)
        tensor = graph.elementwise("Mul", tensor, f"{call.path}/sum", area)
        factor = snapped(call, "factor", call.layer.average_quantizer_internal, 1.0 / area)
        tensor = graph.elementwise("Mul", tensor, f"{call.path}/average", factor.array)
    return activate(graph, call, tensor, call.layer.activation)
