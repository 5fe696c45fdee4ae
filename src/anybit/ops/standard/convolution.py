"""Conv and ConvTranspose for any rank, group, stride, dilation and padding, accumulated in float64."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from anybit.arrays import Array
from anybit.ops.standard.windows import Windows


def conv(x: Array, w: Array, b: Array | None, attributes: Mapping[str, Any]) -> Array:
    """Y[n, m, o] = b[m] + sum over c, k of W[m, c, k] * X[n, c, o*stride + k*dilation - pad]; zero outside X.

    Args:
        x: (N, C, spatial...), float64.
        w: (M, C/group, kernel...), float64.
        b: (M,) or None.
        attributes: Those of the node.
    """
    group = int(attributes.get("group", 1))
    batch, channels, *spatial = x.shape
    outputs, per_group, *kernel = w.shape
    windows = Windows.of(spatial, kernel, attributes)
    padded = np.pad(x, [(0, 0), (0, 0), *windows.padding(spatial)])
    padded = padded.reshape(batch, group, channels // group, *padded.shape[2:])
    weights = w.reshape(group, outputs // group, per_group, *kernel)
    positions = math.prod(windows.output)
    y = np.zeros((batch, group, outputs // group, positions))
    for tap, seen in windows.taps():
        part = padded[(..., *seen)].reshape(batch, group, per_group, positions)
        y += np.matmul(weights[(..., *tap)], part)
    y = y.reshape(batch, outputs, *windows.output)
    return y if b is None else y + b.reshape(-1, *(1 for _ in kernel))


def conv_transpose(x: Array, w: Array, b: Array | None, attributes: Mapping[str, Any]) -> Array:
    """The transpose of `conv`: each input element adds W, times itself, to the outputs that saw it.

    Args:
        x: (N, C, spatial...), float64.
        w: (C, M/group, kernel...), float64.
        b: (M,) or None.
        attributes: Those of the node; `output_shape` fixes the padding.
    """
    group = int(attributes.get("group", 1))
    batch, channels, *spatial = x.shape
    _, per_group, *kernel = w.shape
    rank = len(kernel)
    strides = tuple(attributes.get("strides") or (1,) * rank)
    dilations = tuple(attributes.get("dilations") or (1,) * rank)
    full = [(i - 1) * s + (k - 1) * d + 1 for i, s, k, d in zip(spatial, strides, kernel, dilations, strict=True)]
    extra = tuple(attributes.get("output_padding") or (0,) * rank)
    begin, sizes = _crop(spatial, [f + e for f, e in zip(full, extra, strict=True)], strides, attributes)
    grouped = x.reshape(batch, group, channels // group, math.prod(spatial))
    weights = w.reshape(group, channels // group, per_group, *kernel)
    canvas = np.zeros(
        (batch, group, per_group, *(max(f + e, b0 + n) for f, e, b0, n in zip(full, extra, begin, sizes, strict=True)))
    )
    windows = Windows(tuple(kernel), strides, dilations, (0,) * rank, (0,) * rank, tuple(spatial))
    for tap, seen in windows.taps():
        part = np.matmul(np.swapaxes(weights[(..., *tap)], 1, 2), grouped)
        canvas[(..., *seen)] += part.reshape(batch, group, per_group, *spatial)
    y = canvas[(..., *(slice(b0, b0 + n) for b0, n in zip(begin, sizes, strict=True)))]
    y = y.reshape(batch, group * per_group, *y.shape[3:])
    return y if b is None else y + b.reshape(-1, *(1 for _ in kernel))


def _crop(
    spatial: list[int], full: list[int], strides: tuple[int, ...], attributes: Mapping[str, Any]
) -> tuple[list[int], list[int]]:
    """First kept element and kept size of each axis of the full result."""
    rank = len(full)
    mode = attributes.get("auto_pad", "NOTSET") or "NOTSET"
    wanted = attributes.get("output_shape")
    if wanted is None and mode in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [i * s for i, s in zip(spatial, strides, strict=True)]
    if wanted is not None:
        sizes = list(wanted)[-rank:]
        total = [max(0, f - n) for f, n in zip(full, sizes, strict=True)]
        begin = [t // 2 if mode == "SAME_UPPER" else t - t // 2 for t in total]
        return begin, sizes
    pads = tuple(attributes.get("pads") or (0,) * (2 * rank)) if mode == "NOTSET" else (0,) * (2 * rank)
    return list(pads[:rank]), [f - b - e for f, b, e in zip(full, pads[:rank], pads[rank:], strict=True)]
