"""ConvInteger, MatMulInteger, QLinearConv and QLinearMatMul: integer sums in int32, which wrap around.

The latter two have one float32 multiplier of them, and round before the zero point is added:

y = saturate(round_half_even(fl(fl(fl(x_scale * w_scale) / y_scale) * sum)) + y_zero_point)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from anybit.arrays import Array
from anybit.ops.standard.convolution import conv


def conv_integer(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> Array:
    """Y = Conv(X - x_zero, W - w_zero) in int32; one zero point of W, or one an output channel."""
    x, w, x_zero, w_zero = (*inputs, None, None)[:4]
    return wrapped(conv(_centred(x, x_zero), _centred_weights(w, w_zero), None, attributes))


def matmul_integer(inputs: Sequence[Array | None]) -> Array:
    """Y = (A - a_zero) (B - b_zero) in int32; zero points are by row of A, by column of B."""
    a, b, a_zero, b_zero = (*inputs, None, None)[:4]
    return wrapped(np.matmul(_centred(a, _by_row(a_zero)), _centred(b, b_zero)))


def qlinear_conv(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> Array:
    """The formula above for a convolution; weights have one scale and zero point, or one for each output channel."""
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, *bias = inputs
    weights = np.asarray(w)
    sums = conv(_centred(x, x_zero), _centred_weights(weights, w_zero), None, attributes)
    along = (-1, *(1,) * (weights.ndim - 2))
    if bias and bias[0] is not None:
        sums = sums + bias[0].astype(np.float64).reshape(along)
    scale = np.asarray(w_scale)
    return _requantized(sums, x_scale, scale.reshape(along) if scale.ndim else scale, y_scale, y_zero)


def qlinear_matmul(inputs: Sequence[Array | None]) -> Array:
    """The formula above for a matrix product; parameters are by row of the first factor, by column of the second."""
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = inputs
    sums = np.matmul(_centred(a, _by_row(a_zero)), _centred(b, b_zero))
    return _requantized(sums, _by_row(a_scale), b_scale, y_scale, y_zero)


def _by_row(parameter: Array | None) -> Array | None:
    return parameter[:, None] if parameter is not None and parameter.ndim == 1 and parameter.size > 1 else parameter


def _centred_weights(weights: Any, zero_point: Array | None) -> Array:
    return _centred(weights, zero_point, (-1, *(1,) * (np.ndim(weights) - 1)))


def wrapped(sums: Array) -> Array:
    """Exact sums, as float64, in int32: modulo 2^32, as runtimes add up, in whatever order."""
    return sums.astype(np.int64).astype(np.int32)


def _centred(values: Array | None, zero_point: Array | None, shape: tuple[int, ...] = ()) -> Array:
    integers = np.asarray(values).astype(np.float64)
    if zero_point is None:
        return integers
    zero = zero_point.astype(np.float64)
    return integers - (zero.reshape(shape) if shape and zero.size > 1 else zero.reshape(()) if zero.size == 1 else zero)


def _requantized(sums: Array, x_scale: Any, w_scale: Any, y_scale: Any, zero_point: Any) -> Array:
    dtype = zero_point.dtype
    with np.errstate(all="ignore"):
        multiplier = np.float32(1) * x_scale * w_scale / y_scale
        levels = np.rint(wrapped(sums).astype(np.float32) * multiplier) + zero_point.astype(np.float32)
    limits = np.iinfo(dtype)
    return np.clip(levels, limits.min, limits.max).astype(dtype)
