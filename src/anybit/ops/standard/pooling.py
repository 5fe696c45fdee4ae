"""MaxPool, AveragePool and their global forms for any rank, averages accumulated in float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from anybit.ops.operator import Array
from anybit.ops.standard.windows import Windows


def max_pool(x: Array, attributes: Mapping[str, Any]) -> Array:
    """Y[n, c, o] = max over the taps of the window o that lie on X, (N, C, spatial...)."""
    spatial = x.shape[2:]
    windows = Windows.of(spatial, attributes["kernel_shape"], attributes)
    padded = np.pad(x, [(0, 0), (0, 0), *windows.padding(spatial)], constant_values=-np.inf)
    y = np.full((*x.shape[:2], *windows.output), -np.inf)
    for _, seen in windows.taps():
        np.maximum(y, padded[(..., *seen)], out=y)
    return y


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
