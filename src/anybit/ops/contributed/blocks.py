"""MatMulNBits and GatherBlockQuantized: weights of a few bits, packed, in blocks with scales of their own.

real = (q - zero point) * scale, in float32; q * scale - zero point * scale where the zero points are real numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from anybit.arrays import Array
from anybit.ops.contributed.linear import required

BLOCK = 128
"""`block_size` of GatherBlockQuantized, where it does not say."""
EXACT_LEVELS = (0, 1)
"""Levels of accuracy of MatMulNBits at which the activations keep their precision."""

Float64s = npt.NDArray[np.float64]


def unpacked(packed: Array, bits: int) -> Float64s:
    """The numbers of `bits` bits in bytes along the last axis, low bits first."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    numbers = (packed.astype(np.uint8)[..., None] >> shifts) & ((1 << bits) - 1)
    return numbers.reshape(*packed.shape[:-1], -1).astype(np.float64)


def zero_points(stored: Array | None, shape: tuple[int, ...], bits: int, *, is_packed: bool = True) -> Float64s | None:
    """Zero points by block: packed, one integer each, or one real number each; None where they do not fit."""
    if stored is None:
        return np.full(shape, float(1 << (bits - 1)) if is_packed else 0.0)
    if not is_packed or stored.dtype.kind == "f":
        is_finite = bool(np.isfinite(stored.astype(np.float64)).all())
        return stored.astype(np.float64).reshape(shape) if stored.size == np.prod(shape) and is_finite else None
    width = -(-shape[-1] * bits // 8)
    rows = int(np.prod(shape[:-1]))
    if stored.size != rows * width or stored.dtype != np.uint8:
        return None
    return unpacked(stored.reshape(rows, width), bits)[:, : shape[-1]].reshape(shape)


def matmul_nbits(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> Array:
    """X, packed weights, scales, zero points, g_idx and bias; sums in float64, rounded once.

    Raises:
        ValueError: A form that has no one meaning, or shapes that do not fit.
    """
    given = [*inputs, *[None] * 6][:6]
    x, packed, scale = (required(given, k) for k in range(3))
    if given[4] is not None or attributes.get("weight_prepacked", 0):
        raise ValueError("g_idx and prepacked weights have no reference")
    if attributes.get("accuracy_level", 0) not in EXACT_LEVELS:
        raise ValueError("its accuracy level lets the activations be rounded, expected 0 or 1")
    bits, block = int(attributes.get("bits", 4)), int(attributes["block_size"])
    rows, terms = int(attributes["N"]), int(attributes["K"])
    blocks = -(-terms // block)
    integers = unpacked(packed.reshape(rows, -1), bits)
    weights = _dequantized(integers, scale.reshape(rows, blocks), given[3], (bits, block, 1), is_packed=True)
    sums = x.astype(np.float64) @ weights[:, :terms].T.astype(np.float64)
    return (sums if given[5] is None else sums + given[5]).astype(x.dtype)


def gather_block_quantized(inputs: Sequence[Array | None], attributes: Mapping[str, Any]) -> Array:
    """Packed data, or data of 4 bits, indices, scales and zero points."""
    data, indices, scale = (required(inputs, k) for k in range(3))
    is_packed = data.dtype == np.uint8
    bits = int(attributes.get("bits", 4)) if is_packed else 4
    integers = unpacked(data, bits) if is_packed else data.astype(np.float64)
    axis = int(attributes.get("quantize_axis", 1)) % integers.ndim
    stored = inputs[3] if len(inputs) > 3 else None
    layout = (bits, int(attributes.get("block_size", BLOCK)), axis)
    real = _dequantized(integers, scale, stored, layout, is_packed=is_packed)
    return real.astype(scale.dtype).take(indices, int(attributes.get("gather_axis", 0)))


def _dequantized(
    integers: Float64s, scale: Array, stored: Array | None, layout: tuple[int, int, int], *, is_packed: bool
) -> npt.NDArray[np.float32]:
    """Real numbers of integers of so many bits, in blocks of so many along an axis."""
    bits, block, axis = layout
    zeros = zero_points(stored, scale.shape, bits, is_packed=is_packed)
    if zeros is None:
        raise ValueError(f"zero points, expected one for each of the scales, {scale.shape}")
    length = range(integers.shape[axis])
    s, z = (np.repeat(p, block, axis).take(length, axis).astype(np.float32) for p in (scale, zeros))
    q = integers.astype(np.float32)
    return q * s - z * s if stored is not None and stored.dtype.kind == "f" else (q - z) * s
