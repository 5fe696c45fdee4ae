"""Bias correction: the mean of each output channel of a quantised layer is that of the float one."""

from __future__ import annotations

import numpy as np

from anybit.arrays import Array, as_float64
from anybit.graph.constants import constant
from anybit.quantization.layers import Layer
from anybit.quantization.moments import Float64s, Moments


def corrected_bias(layer: Layer, moments: Moments, weights: Float64s, rounded: Float64s) -> Array:
    """b' = b + W' E[xf] - Wq' E[xq], with the means over all rows of all samples.

    Args:
        layer: The layer.
        moments: What it reads, quantised and in float.
        weights: W, (G, K, O).
        rounded: Wq, (G, K, O).

    Returns:
        The bias in the shape and type of the old one; by channel where there is none.
    """
    mean_q = moments.mean_quantized / max(moments.all_rows, 1)
    mean_f = moments.mean_float / max(moments.all_rows, 1)
    shift = np.einsum("gk,gko->go", mean_f, weights) - np.einsum("gk,gko->go", mean_q, rounded)
    by_channel = np.zeros(int(layer.channels.max()) + 1)
    by_channel[layer.channels] = shift
    old = constant(layer.bias)
    if old is None:
        return by_channel.astype(np.float32)
    return (as_float64(old) + by_channel.reshape(old.shape)).astype(old.dtype)
