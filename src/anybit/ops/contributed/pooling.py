"""QLinearAveragePool, QLinearGlobalAveragePool and NhwcMaxPool.

QLinearAveragePool:        y = round(mean / sy + zy),  the real numbers added one after the other in float32
QLinearGlobalAveragePool:  y = round(sum of (x - zx) * (sx / (sy * count))) + zy,  the sum exact
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from anybit.arrays import Array
from anybit.ops.channels_last.layout import to_first, to_last
from anybit.ops.contributed.linear import Floats, byte_scale, required
from anybit.ops.standard.pooling import max_pool
from anybit.ops.standard.windows import Windows


def qlinear_average_pool(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> Array:
    """AveragePool of X, its scale and zero point, scale and zero point; channels are axis 1, or the last one."""
    x = required(inputs, 0)
    source, y = (byte_scale(inputs, place, x.dtype) for place in (1, 3))
    is_last = bool(attributes.get("channels_last", 0))
    real = source.dequantize(x.transpose(to_first(x.ndim)) if is_last else x)
    spatial = real.shape[2:]
    windows = Windows.of(spatial, attributes["kernel_shape"], attributes)
    padded = np.pad(real, [(0, 0), (0, 0), *windows.padding(spatial)])
    total = np.zeros((*real.shape[:2], *windows.output), np.float32)
    for _, seen in windows.taps():
        total += padded[(..., *seen)]
    with np.errstate(all="ignore"):
        mean = total / window_counts(windows, spatial, attributes)
        pooled = y.stored(np.rint(mean / y.scale + y.zero))
    return np.ascontiguousarray(pooled.transpose(to_last(x.ndim))) if is_last else pooled


def window_counts(windows: Windows, spatial: Sequence[int], attributes: Mapping[str, Any]) -> Floats:
    """What the sum of each window is divided by: its taps on X, or all of them if `count_include_pad`."""
    if attributes.get("count_include_pad", 0):
        return np.full(windows.output, math.prod(windows.kernel), np.float32)
    inside = np.pad(np.ones(spatial, np.float32), windows.padding(spatial))
    return sum((inside[seen] for _, seen in windows.taps()), np.zeros(windows.output, np.float32))


def qlinear_global_average_pool(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> Array:
    """GlobalAveragePool of X, its scale and zero point, scale and zero point; channels are axis 1, or the last one."""
    x = required(inputs, 0)
    source, y = (byte_scale(inputs, place, x.dtype) for place in (1, 3))
    axes = tuple(range(1, x.ndim - 1)) if attributes.get("channels_last", 0) else tuple(range(2, x.ndim))
    count = math.prod(x.shape[axis] for axis in axes)
    sums = (x.astype(np.int64) - int(source.zero_point)).sum(axis=axes, keepdims=True).astype(np.float32)
    factor = np.float32(source.scale / np.float32(y.scale * np.float32(count)))
    return y.stored(np.rint(sums * factor) + y.zero)


def nhwc_max_pool(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> Array:
    """MaxPool of bytes whose channels are the last axis."""
    x = required(inputs, 0)
    pooled = max_pool(x.transpose(to_first(x.ndim)).astype(np.float64), attributes)
    held = np.maximum(pooled, np.iinfo(x.dtype).min).astype(x.dtype)
    return np.ascontiguousarray(held.transpose(to_last(x.ndim)))
