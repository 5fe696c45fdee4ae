"""MaxPool, AveragePool, LpPool and their global forms for any rank, averages accumulated in float64."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from anybit.arrays import Array
from anybit.ops.standard.kernel import Kernel, Spec
from anybit.ops.standard.windows import Windows


def make_max_pool(spec: Spec) -> Kernel:
    """MaxPool, with Indices where the node has two outputs."""

    def run(inputs: Sequence[Any]) -> tuple[Array, ...]:
        x = inputs[0]
        wide = x.astype(np.float64)  # exact for every type that MaxPool takes
        if spec.outputs == 1:
            y = max_pool(wide, spec.attributes)
            return ((np.maximum(y, np.iinfo(x.dtype).min) if x.dtype.kind in "iu" else y).astype(x.dtype),)
        y, indices = max_pool_indices(wide, spec.attributes)
        return y.astype(x.dtype), indices

    return run


def max_pool(x: Array, attributes: Mapping[str, Any]) -> Array:
    """Y[n, c, o] = max over the taps of the window o that lie on X, (N, C, spatial...)."""
    spatial = x.shape[2:]
    windows = Windows.of(spatial, attributes["kernel_shape"], attributes)
    padded = np.pad(x, [(0, 0), (0, 0), *windows.padding(spatial)], constant_values=-np.inf)
    y = np.full((*x.shape[:2], *windows.output), -np.inf)
    for _, seen in windows.taps():
        np.maximum(y, padded[(..., *seen)], out=y)
    return y


def max_pool_indices(x: Array, attributes: Mapping[str, Any]) -> tuple[Array, Array]:
    """`max_pool`, and where in X, all of it flattened, the first largest element of each window stands.

    With `storage_order` 1 the spatial axes are flattened with the first one running fastest.
    """
    spatial = x.shape[2:]
    windows = Windows.of(spatial, attributes["kernel_shape"], attributes)
    padding = windows.padding(spatial)
    padded = np.pad(x, [(0, 0), (0, 0), *padding], constant_values=-np.inf)
    order = "F" if attributes.get("storage_order", 0) else "C"
    places = np.pad(np.arange(math.prod(spatial)).reshape(spatial, order=order), padding, constant_values=-1)
    y = np.full((*x.shape[:2], *windows.output), -np.inf)
    found = np.full(y.shape, -1, np.int64)
    for _, seen in windows.taps():
        value, place = padded[(..., *seen)], places[seen]
        better = (place >= 0) & ((value > y) | (found < 0))
        y, found = np.where(better, value, y), np.where(better, place, found)
    image = np.arange(math.prod(x.shape[:2])).reshape(*x.shape[:2], *(1 for _ in spatial))
    return y, found + image * math.prod(spatial)


def lp_pool(x: Array, attributes: Mapping[str, Any]) -> Array:
    """Y[n, c, o] = (sum of |X|^p over the taps of the window o)^(1/p)."""
    spatial, p = x.shape[2:], int(attributes.get("p", 2))
    windows = Windows.of(spatial, attributes["kernel_shape"], attributes)
    padded = np.pad(np.abs(x) ** p, [(0, 0), (0, 0), *windows.padding(spatial)])
    total = np.zeros((*x.shape[:2], *windows.output))
    for _, seen in windows.taps():
        total += padded[(..., *seen)]
    return total ** (1 / p)


def average_pool(x: Array, attributes: Mapping[str, Any]) -> Array:
    """Y[n, c, o] = mean over the taps of the window o that lie on X, or on its padding if `count_include_pad`."""
    spatial = x.shape[2:]
    windows = Windows.of(spatial, attributes["kernel_shape"], attributes)
    padding = windows.padding(spatial)
    padded = np.pad(x, [(0, 0), (0, 0), *padding])
    counted = np.zeros([size + b + e for size, (b, e) in zip(spatial, padding, strict=True)])
    explicit = bool(attributes.get("count_include_pad", 0))
    inside = tuple(
        slice(0, size + b + e) if explicit else slice(b, b + size)
        for size, b, e in zip(spatial, windows.pads_begin, windows.pads_end, strict=True)
    )
    counted[inside] = 1
    total = np.zeros((*x.shape[:2], *windows.output))
    count = np.zeros(windows.output)
    for _, seen in windows.taps():
        total += padded[(..., *seen)]
        count += counted[seen]
    return total / count


def global_average_pool(x: Array) -> Array:
    """Y[n, c] = mean over all spatial positions, which stay as axes of size 1."""
    return x.mean(axis=tuple(range(2, x.ndim)), keepdims=True)


def global_max_pool(x: Array) -> Array:
    """Y[n, c] = max over all spatial positions, which stay as axes of size 1."""
    return x.max(axis=tuple(range(2, x.ndim)), keepdims=True)


def global_lp_pool(x: Array, attributes: Mapping[str, Any]) -> Array:
    """Y[n, c] = (sum of |X|^p over all spatial positions)^(1/p), which stay as axes of size 1."""
    p = int(attributes.get("p", 2))
    return (np.abs(x) ** p).sum(axis=tuple(range(2, x.ndim)), keepdims=True) ** (1 / p)
