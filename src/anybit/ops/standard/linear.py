"""Gemm, and normalisations by given or by computed statistics, accumulated in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.ops.standard.kernel import Kernel, Spec, given, widened


def gemm(a: Array, b: Array, c: Array | None, attributes: Mapping[str, Any]) -> Array:
    """Y = alpha * A' B' + beta * C, A' and B' transposed where the node says so; all float64."""
    left = a.T if attributes.get("transA", 0) else a
    right = b.T if attributes.get("transB", 0) else b
    y = float(np.float32(attributes.get("alpha", 1.0))) * np.matmul(left, right)
    return y if c is None else y + float(np.float32(attributes.get("beta", 1.0))) * c


def batch_normalization(
    x: Array, scale: Array, bias: Array, mean: Array, variance: Array, attributes: Mapping[str, Any]
) -> Array:
    """Y = (X - mean) / sqrt(variance + epsilon) * scale + bias, by channel (axis 1); inference, all float64.

    With ``spatial=0``, of version 7, the parameters differ at every position of a sample.
    """
    shape = (-1, *(1 for _ in x.shape[2:])) if attributes.get("spatial", 1) else x.shape[1:]
    epsilon = float(np.float32(attributes.get("epsilon", 1e-5)))
    factor = scale / np.sqrt(variance + epsilon)
    return (x - mean.reshape(shape)) * factor.reshape(shape) + bias.reshape(shape)


def make_batch_normalization(spec: Spec) -> Kernel:
    """BatchNormalization; since version 14 it trains where the node says so, which gives the running statistics too.

    Training normalises by the batch's own mean and variance, and mixes those into the running ones by `momentum`.
    """
    training = bool(spec.integer("training_mode", 0))
    if spec.outputs > 1 and not training:
        return spec.generic()  # before version 14
    momentum = spec.number("momentum", 0.9)

    def run(inputs: Sequence[Any]) -> tuple[Array, ...]:
        x, scale, bias, mean, variance = (widened(v) for v in inputs)
        if not training:
            return (batch_normalization(x, scale, bias, mean, variance, spec.attributes).astype(inputs[0].dtype),)
        axes = (0, *range(2, x.ndim))
        found = x.mean(axis=axes), x.var(axis=axes)
        y = batch_normalization(x, scale, bias, *found, spec.attributes).astype(inputs[0].dtype)
        running = [momentum * old + (1 - momentum) * new for old, new in zip((mean, variance), found, strict=True)]
        return y, *(v.astype(old.dtype) for v, old in zip(running, inputs[3:], strict=True))

    return run


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


def log_softmax(x: Array, attributes: Mapping[str, Any]) -> Array:
    """Y = X - max - log(sum of e^(X - max)) along the axis, finite where X is, however far its elements are apart."""
    axis = int(attributes.get("axis", -1))
    shifted = x - x.max(axis=axis, keepdims=True, initial=-np.inf)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def mean(terms: Sequence[Array]) -> Array:
    """Y = (X1 + X2 + ...) / their number, all of them broadcast; float64."""
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total / len(terms)


def mean_variance_normalization(x: Array, attributes: Mapping[str, Any]) -> Array:
    """Y = (X - mean) / (deviation + 1e-9) over the axes, all but the channels if not given."""
    axes = tuple(attributes.get("axes", (0, 2, 3)))
    return (x - x.mean(axis=axes, keepdims=True)) / (x.std(axis=axes, keepdims=True) + 1e-9)


def make_layer_normalization(spec: Spec) -> Kernel:
    """Y = (X - mean) / sqrt(variance + epsilon) * scale + bias over the axes from `axis` on; mean; 1/deviation.

    The two statistics have the type of `stash_type`, float32 if not given.
    """
    epsilon = spec.number("epsilon", 1e-5)
    stash = ir.DataType(spec.integer("stash_type", 1)).numpy()

    def run(inputs: Sequence[Any]) -> tuple[Array, ...]:
        x, scale, bias = inputs[0], widened(inputs[1]), widened(given(inputs, 2))
        wide = widened(x)
        axes = tuple(range(spec.integer("axis", -1) % x.ndim, x.ndim))
        with np.errstate(all="ignore"):  # infinities and NaN are answered, not warned of
            mean = wide.mean(axis=axes, keepdims=True)
            centred = wide - mean
            factor = 1 / np.sqrt(np.square(centred).mean(axis=axes, keepdims=True) + epsilon)
            y = centred * factor * scale + (0 if bias is None else bias)
            return y.astype(x.dtype), mean.astype(stash), factor.astype(stash)

    return run
