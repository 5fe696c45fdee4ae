"""ConvInteger, MatMulInteger, QLinearConv, QLinearMatMul: products of stored integers less their zero points."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from anybit.analysis.values.bounds.contraction import Contraction
from anybit.analysis.values.rules.products import conv_contraction, matmul_contraction, per_channel, recorded
from anybit.analysis.values.tensor_values import Float64s, TensorValues, bounded, integers, of_dtype, wrapped
from anybit.analysis.values.transfer import NodeContext, NotFollowed, Rules
from anybit.number_formats import IntFormat

_SLACK = 2.0**-21  # relative error of a sum in float32 times the multiplier, and some


def conv_integer(site: NodeContext) -> TensorValues:
    """y = Conv(x - x_zero_point, w - w_zero_point), as int32."""
    return wrapped(recorded(site, _conv(site, weights=1, zero_points=(2, 3))), np.dtype(np.int32))


def matmul_integer(site: NodeContext) -> TensorValues:
    """y = (a - a_zero_point) @ (b - b_zero_point), as int32."""
    return wrapped(recorded(site, _matmul(site, second=1, zero_points=(2, 3))), np.dtype(np.int32))


def qlinear_conv(site: NodeContext) -> TensorValues:
    """y = saturate(round((acc + bias) * x_scale * w_scale / y_scale) + y_zero_point)."""
    accumulated = recorded(site, _conv(site, weights=3, zero_points=(2, 5)))
    axes = len(site.shape(3)) - 2
    lo, hi = accumulated.lo, accumulated.hi
    bias = site.optional(8)
    if bias is not None:
        added = per_channel(bias, axes)
        lo, hi = lo + added.lo, hi + added.hi
    multiplier = _multiplier(_scale(site, 1), per_channel(_bounds(_scale(site, 4)), axes).lo, _scale(site, 6))
    return _requantized(site, lo, hi, multiplier, zero_point=7)


def qlinear_matmul(site: NodeContext) -> TensorValues:
    """y = saturate(round(acc * a_scale * b_scale / y_scale) + y_zero_point)."""
    accumulated = recorded(site, _matmul(site, second=3, zero_points=(2, 5)))
    multiplier = _multiplier(_rows(_scale(site, 1)), _scale(site, 4), _scale(site, 6))
    return _requantized(site, accumulated.lo, accumulated.hi, multiplier, zero_point=7)


def _multiplier(x_scale: Float64s, w_scale: Float64s, y_scale: Float64s) -> Float64s:
    """fl(fl(x_scale * w_scale) / y_scale), where the product may vanish."""
    with np.errstate(all="ignore"):
        multiplier = x_scale.astype(np.float32) * w_scale.astype(np.float32) / y_scale.astype(np.float32)
    if not np.isfinite(multiplier).all():
        raise NotFollowed("the scales have no finite multiplier")
    return multiplier.astype(np.float64)


def _conv(site: NodeContext, *, weights: int, zero_points: tuple[int, int]) -> Contraction:
    w_zero = _zero_point(site, zero_points[1])
    w = _less(site.values(weights), per_channel(_bounds(w_zero), len(site.shape(weights)) - 1).lo)
    return conv_contraction(site, _less(site.values(0), _zero_point(site, zero_points[0])), w, 0, weights)


def _matmul(site: NodeContext, *, second: int, zero_points: tuple[int, int]) -> Contraction:
    a = _less(site.values(0), _rows(_zero_point(site, zero_points[0])))
    b = _less(site.values(second), _zero_point(site, zero_points[1]))
    return matmul_contraction(site, a, b, site.shape(0), site.shape(second))


def _less(values: TensorValues, zero_point: Float64s) -> TensorValues:
    """The values less their zero point, which stays that of their grid."""
    if values.grid is None or values.grid.zero_point.any():
        raise NotFollowed("an operand is not stored as integers")
    lo, hi = values.lo - zero_point, values.hi - zero_point
    constant = None if values.constant is None else values.constant.astype(np.float64) - zero_point
    return replace(bounded(lo, hi, replace(values.grid, zero_point=zero_point)), constant=constant)


def _zero_point(site: NodeContext, index: int) -> Float64s:
    if site.optional(index) is None:
        return np.zeros(())
    return _scalar(site.required_constant(index).astype(np.float64))


def _scale(site: NodeContext, index: int) -> Float64s:
    return _scalar(site.required_constant(index).astype(np.float64))


def _scalar(array: Float64s) -> Float64s:
    return array.reshape(()) if array.size == 1 else array


def _rows(array: Float64s) -> Float64s:
    """A parameter by row of the first matrix, with an axis for its columns."""
    return array[:, None] if array.ndim == 1 else array


def _bounds(array: Float64s) -> TensorValues:
    return bounded(array, array)


def _requantized(
    site: NodeContext, lo: Float64s, hi: Float64s, multiplier: Float64s, *, zero_point: int
) -> TensorValues:
    sums = wrapped(bounded(lo, hi), np.dtype(np.int32))
    lo, hi = sums.lo, sums.hi
    dtype = site.dtype()
    if dtype.kind not in "iu":
        raise NotFollowed(f"the output is {dtype}")
    widest = of_dtype(dtype)
    shift = _zero_point(site, zero_point)
    ends = [
        np.clip(np.rint(end * multiplier + sign * np.abs(end * multiplier) * _SLACK) + shift, widest.lo, widest.hi)
        for end, sign in ((lo, -1), (hi, 1))
    ]
    return integers(ends[0], ends[1], IntFormat(dtype.itemsize * 8, signed=dtype.kind == "i"))


RULES: Rules = {
    "ConvInteger": conv_integer,
    "MatMulInteger": matmul_integer,
    "QLinearConv": qlinear_conv,
    "QLinearMatMul": qlinear_matmul,
}
