"""Bias correction: the mean of each output channel of a quantised layer is that of the float one."""

from __future__ import annotations

import numpy as np

from anybit.arrays import Array
from anybit.graph.constants import constant
from anybit.quantization.layers import Layer
from anybit.quantization.moments import Float64s, Moments


def corrected_bias(layer: Layer, moments: Moments, weights: Float64s, rounded: Float64s) -> Array | None:
    """b' = b + W' E[xf] - Wq' E[xq], with the means over all rows of all samples.

    Args:
        layer: The layer.
        moments: What it reads, quantised and in float.
        weights: W, (G, K, O).
        rounded: Wq, (G, K, O).

    Returns:
        The bias in the shape that the old one has, or by channel; None where its columns are no channels.
    """
    if layer.node.op_type == "ConvTranspose" or not moments.all_rows:
        return None
    mean_q = moments.mean_quantized / moments.all_rows
    mean_f = moments.mean_float / moments.all_rows
    shift = np.einsum("gk,gko->go", mean_f, weights) - np.einsum("gk,gko->go", mean_q, rounded)
    by_channel = np.zeros(int(layer.channels.max()) + 1)
    by_channel[layer.channels] = shift
    old = constant(layer.bias)
    if old is None:
        return by_channel.astype(np.float32)
    return (old.astype(np.float64) + by_channel.reshape(old.shape)).astype(old.dtype)
