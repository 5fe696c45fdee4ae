"""QGemm, QLinearConv, MatMulIntegerToFloat and DynamicQuantizeMatMul: sums in int32, then float32.

QGemm:                  y = round(float(A B + C) * (alpha * sa * sb / sy)) + zy
without sy:             Y = float(A B + C) * (alpha * sa * sb)
MatMulIntegerToFloat:   Y = float(A B) * (sa * sb) + bias
DynamicQuantizeMatMul:  the same of A as DynamicQuantizeLinear quantises it
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from anybit.arrays import Array
from anybit.ops.channels_last.layout import to_first, to_last
from anybit.ops.contributed.linear import byte_scale, required
from anybit.ops.standard.quantized_products import qlinear_conv, wrapped

_TOP = np.float32(255)


def qgemm(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> Array:
    """A, scale, zero point, B, scales, zero points (one, or one a column), C, scale and zero point of the output."""
    given = [*inputs, *[None] * 9][:9]
    a, b = required(given, 0), required(given, 3)
    left = _centred(a.T if attributes.get("transA", 0) else a, given[2])
    right = _centred(b.T if attributes.get("transB", 0) else b, given[5])
    sums = left @ right
    if given[6] is not None:
        sums = sums + given[6].astype(np.float64)
    scale = np.float32(attributes.get("alpha", 1.0)) * required(given, 1).reshape(()) * required(given, 4)
    if given[7] is None:
        return wrapped(sums).astype(np.float32) * scale
    y = byte_scale(given, 7, a.dtype)
    return y.stored(np.rint(wrapped(sums).astype(np.float32) * (scale / y.scale)) + y.zero)


def channels_last_conv(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> Array:
    """QLinearConv; the channels of X and Y are axis 1, or the last one."""
    if not attributes.get("channels_last", 0):
        return qlinear_conv(inputs, attributes)
    x = required(inputs, 0)
    made = qlinear_conv([x.transpose(to_first(x.ndim)), *inputs[1:]], attributes)
    return np.ascontiguousarray(made.transpose(to_last(x.ndim)))


def matmul_to_float(inputs: Sequence[Array | None]) -> Array:
    """A, B, their scales, their zero points, and a bias."""
    given = [*inputs, *[None] * 7][:7]
    a, b = _centred(required(given, 0), given[4]), _centred(required(given, 1), given[5])
    return _to_float(a @ b, required(given, 2), required(given, 3), given[6])


def dynamic_matmul(inputs: Sequence[Array | None]) -> Array:
    """A in float32, B, its scales, its zero points, and a bias."""
    given = [*inputs, *[None] * 5][:5]
    x = required(given, 0)
    lowest, highest = (
        np.float32(f(np.float32(0), e(initial=0))) for f, e in ((np.minimum, x.min), (np.maximum, x.max))
    )
    scale = np.float32((highest - lowest) / _TOP) or np.float32(1)
    zero = np.clip(np.rint(-lowest / scale), 0, _TOP)
    levels = np.clip(np.rint(x / scale) + zero, 0, _TOP) - zero
    return _to_float(
        levels.astype(np.float64) @ _centred(required(given, 1), given[3]), scale, required(given, 2), given[4]
    )


def _to_float(sums: Array, a_scale: Any, b_scale: Array, bias: Array | None) -> Array:
    y = wrapped(sums).astype(np.float32) * np.asarray(np.asarray(a_scale).reshape(()) * b_scale, np.float32)
    return y if bias is None else y + bias


def _centred(values: Array, zero_point: Array | None) -> Array:
    integers = values.astype(np.float64)
    if zero_point is None:
        return integers
    zero = zero_point.astype(np.float64)
    return integers - (zero.reshape(()) if zero.size == 1 else zero)
