"""shaping: layers that move elements and change none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from anybit.frontends.keras.calls import Call
from anybit.frontends.keras.convolution import per_axis
from anybit.frontends.keras.graph import Graph, LayerTensor


def unchanged(graph: Graph, call: Call) -> LayerTensor:
    """A layer that does something in training only."""
    del graph
    return call.x


def flatten(graph: Graph, call: Call) -> LayerTensor:
    """All axes behind the batch become one, in Keras' order."""
    x = graph.channels_last(call.x)
    return LayerTensor(graph.node("Flatten", [x.value], f"{call.path}/flat", axis=1), call.shape)


def reshape(graph: Graph, call: Call) -> LayerTensor:
    """Another shape behind the batch.

    Raises:
        FrontEndError: More than one of its sizes is free.
    """
    sizes = [-1 if n is None else int(n) for n in call.shape[1:]]
    if sizes.count(-1) > 1:
        raise call.refusal("reshape", got=call.shape, expected="at most one free size", hint="fix the input shape")
    target = np.asarray([0, *sizes], np.int64)
    x = graph.channels_last(call.x)
    return LayerTensor(graph.node("Reshape", [x.value, target], f"{call.path}/reshaped"), call.shape)


def permute(graph: Graph, call: Call) -> LayerTensor:
    """Axes in another order, counted from 1 behind the batch."""
    x = graph.channels_last(call.x)
    order = [0, *(int(d) for d in call.layer.dims)]
    return LayerTensor(graph.node("Transpose", [x.value], f"{call.path}/permuted", perm=order), call.shape)


def zero_padding(graph: Graph, call: Call) -> LayerTensor:
    """Zeros around the spatial axes."""
    begin, end = _borders(call, call.layer.padding)
    x = call.x
    pads = np.zeros((2, x.rank), np.int64)
    for axis, (before, after) in enumerate(zip(begin, end, strict=True), start=1):
        pads[:, x.axis(axis)] = before, after
    value = graph.node("Pad", [x.value, pads.reshape(-1)], f"{call.path}/padded", mode="constant")
    return replace(x, value=value, shape=call.shape)


def cropping(graph: Graph, call: Call) -> LayerTensor:
    """Without the borders of the spatial axes."""
    begin, end = _borders(call, call.layer.cropping)
    x = call.x
    axes = np.asarray([x.axis(a) for a in range(1, x.rank - 1)], np.int64)
    starts = np.asarray(begin, np.int64)
    ends = np.asarray([-n if n else np.iinfo(np.int64).max for n in end], np.int64)
    value = graph.node("Slice", [x.value, starts, ends, axes], f"{call.path}/cropped")
    return replace(x, value=value, shape=call.shape)


def _borders(call: Call, setting: Any) -> tuple[list[int], list[int]]:
    """What a layer names as borders, before and behind each spatial axis."""
    pairs = np.broadcast_to(np.asarray(setting, np.int64), (call.x.rank - 2, 2))
    return [int(n) for n in pairs[:, 0]], [int(n) for n in pairs[:, 1]]


def upsampling(graph: Graph, call: Call) -> LayerTensor:
    """Each element repeated along the spatial axes.

    Raises:
        FrontEndError: It interpolates.
    """
    mode = str(getattr(call.layer, "interpolation", "nearest"))
    if mode != "nearest":
        raise call.refusal("interpolation", got=mode, expected="nearest")
    x = graph.channels_first(call.x)
    factors = np.asarray([1, 1, *per_axis(call.layer.size, x.rank - 2)], np.float32)
    empty = np.asarray([], np.float32)
    value = graph.node(
        "Resize",
        [x.value, empty, factors],
        f"{call.path}/repeated",
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    return LayerTensor(value, call.shape, channels_first=True)
