"""QLinearAdd, QLinearMul, QLinearLeakyRelu, QLinearSigmoid, QLinearWhere and QLinearConcat.

QLinearAdd, for p = sa / sy and q = sb / sy:   y = round(fma(a, p, fma(b, q, zy - fma(za, p, zb * q))))
QLinearMul:                                    y = round((a - za) * (b - zb) * (sa * sb / sy) + zy)
The others:                                    y = round(f(real) / sy) + zy,  real = (x - zx) * sx

All in float32, saturated. These are the kernels for x86-64 with AVX2 and FMA, found by comparing all pairs of bytes
with ONNX Runtime 1.32; where the first operand of a sum is repeated along the last axis, the two are exchanged. The
kernels for ARM add in integers, and differ from this next to ties.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from anybit.arrays import Array
from anybit.ops.contributed.linear import ByteScale, Floats, byte_scale, required

SLOPE = 0.01
"""`alpha` of LeakyRelu, where it does not say."""


def added(a: Array, b: Array, scales: tuple[ByteScale, ByteScale, ByteScale]) -> Floats:
    """The sum of bytes that broadcast to each other, saturated."""
    x, z, y = scales
    p, q = np.float32(x.scale / y.scale), np.float32(z.scale / y.scale)
    fixed = np.float32(y.zero - _fused(p, x.zero, z.zero * q))
    inner = _fused(q, b, fixed)
    return y.saturated(np.rint(_fused(p, a, inner)))


def multiplied(a: Array, b: Array, scales: tuple[ByteScale, ByteScale, ByteScale]) -> Floats:
    """The product of bytes that broadcast to each other, saturated."""
    x, z, y = scales
    factor = np.float32(x.scale * z.scale / y.scale)
    return y.saturated(np.rint(x.centre(a) * z.centre(b) * factor + y.zero))


def is_exchanged(a: Sequence[int | None], b: Sequence[int | None]) -> bool | None:
    """Whether the first operand of a sum is repeated along the last axis that is not 1; None if that is not known."""
    rank = max(len(a), len(b))
    for one, other in zip(_padded(a, rank)[::-1], _padded(b, rank)[::-1], strict=True):
        if None in (one, other):
            return None
        if (one, other) != (1, 1):
            return one == 1
    return False


def _padded(shape: Sequence[int | None], rank: int) -> list[int | None]:
    return [1] * (rank - len(shape)) + list(shape)


def _fused(x: npt.ArrayLike, y: npt.ArrayLike, z: npt.ArrayLike) -> Floats:
    """x * y + z, rounded once: the product of a byte and a float32 is exact in float64, and the sum nearly so."""
    return np.asarray(np.asarray(x, np.float64) * np.asarray(y, np.float64) + np.asarray(z, np.float64), np.float32)


def qlinear_pair(inputs: Sequence[Array | None], op_type: str) -> Array:
    """QLinearAdd or QLinearMul of A, its scale and zero point, B, its scale and zero point, scale and zero point."""
    a, b = required(inputs, 0), required(inputs, 3)
    x, z, y = (byte_scale(inputs, place, a.dtype) for place in (1, 4, 6))
    if op_type == "QLinearMul":
        return y.stored(multiplied(a, b, (x, z, y)))
    if is_exchanged(a.shape, b.shape):
        return y.stored(added(b, a, (z, x, y)))
    return y.stored(added(a, b, (x, z, y)))


def qlinear_leaky_relu(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> Array:
    """LeakyRelu of X, its scale and zero point, scale and zero point."""
    x, y = _ends(inputs)
    real = x.dequantize(required(inputs, 0))
    slope = np.float32(attributes.get("alpha", SLOPE))
    return y.stored(y.quantized(np.where(real >= 0, real, real * slope)))


def qlinear_sigmoid(inputs: Sequence[Array | None]) -> Array:
    """Sigmoid of X, its scale and zero point, scale and zero point.

    It is rounded correctly to float32 here, which ONNX Runtime's are not: bytes next to ties may differ by one.
    """
    x, y = _ends(inputs)
    real = x.dequantize(required(inputs, 0)).astype(np.float64)
    with np.errstate(over="ignore"):
        return y.stored(y.quantized(1 / (1 + np.exp(-real))))


def qlinear_where(inputs: Sequence[Array | None]) -> Array:
    """Where of a condition, X with scale and zero point, Y with scale and zero point, scale and zero point."""
    condition, a, b = (required(inputs, place) for place in (0, 1, 4))
    x, z, y = (byte_scale(inputs, place, a.dtype) for place in (2, 5, 7))
    return y.stored(y.quantized(np.where(condition, x.dequantize(a), z.dequantize(b))))


def qlinear_concat(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> Array:
    """Concat of tensors with their scales and zero points, behind the scale and zero point of the output."""
    places = range(2, len(inputs), 3)
    parts = [required(inputs, place) for place in places]
    y = byte_scale(inputs, 0, parts[0].dtype)
    reals = [byte_scale(inputs, k + 1, x.dtype).dequantize(x) for k, x in zip(places, parts, strict=True)]
    return y.stored(y.quantized(np.concatenate(reals, axis=int(attributes["axis"]))))


def _ends(inputs: Sequence[Array | None]) -> tuple[ByteScale, ByteScale]:
    dtype = required(inputs, 0).dtype
    return byte_scale(inputs, 1, dtype), byte_scale(inputs, 3, dtype)
