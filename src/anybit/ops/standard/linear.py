"""Gemm, BatchNormalization, LRN and LpNormalization, accumulated in float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from anybit.ops.operator import Array


def gemm(a: Array, b: Array, c: Array | None, attributes: Mapping[str, Any]) -> Array:
    """Y = alpha * A' B' + beta * C, A' and B' transposed where the node says so; all float64."""
    left = a.T if attributes.get("transA", 0) else a
    right = b.T if attributes.get("transB", 0) else b
    y = float(np.float32(attributes.get("alpha", 1.0))) * np.matmul(left, right)
    return y if c is None else y + float(np.float32(attributes.get("beta", 1.0))) * c


def batch_normalization(
    x: Array, scale: Array, bias: Array, mean: Array, variance: Array, attributes: Mapping[str, Any]
) -> Array:
    """Y = (X - mean) / sqrt(variance + epsilon) * scale + bias, by channel (axis 1); inference, all float64."""
    shape = (-1, *(1 for _ in x.shape[2:]))
    epsilon = float(np.float32(attributes.get("epsilon", 1e-5)))
    factor = scale / np.sqrt(variance + epsilon)
    return (x - mean.reshape(shape)) * factor.reshape(shape) + bias.reshape(shape)


def local_response_normalization(x: Array, attributes: Mapping[str, Any]) -> Array:
    """Y = X / (bias + alpha/size * sum of X^2 over the `size` channels around)^beta; axis 1, all float64."""
    size = int(attributes["size"])
    alpha, beta, bias = (
        float(np.float32(attributes.get(name, default)))
        for name, default in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))
    )
    before, after = (size - 1) // 2, size // 2
    total = np.zeros_like(x)
    for channel in range(x.shape[1]):
        window = x[:, max(0, channel - before) : channel + after + 1]
        total[:, channel] = np.square(window).sum(axis=1)
    return x / (bias + alpha / size * total) ** beta


def lp_normalization(x: Array, attributes: Mapping[str, Any]) -> Array:
    """Y = X / (sum of |X|^p along the axis)^(1/p), p being 1 or 2; 0 where all of X is 0; float64."""
    p, axis = int(attributes.get("p", 2)), int(attributes.get("axis", -1))
    norm = np.power(np.power(np.abs(x), p).sum(axis=axis, keepdims=True), 1 / p)
    return np.divide(x, norm, out=np.zeros_like(x), where=norm != 0)
