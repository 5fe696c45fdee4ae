"""Bounds of the integer grids of tensor-valued bit widths, and the rules that bit widths and scales must meet."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from anybit.arrays import Array, as_float64
from anybit.errors import Finding
from anybit.ops.operator import Call

Float64s = npt.NDArray[np.float64]

# Largest width whose bounds, and every integer between, float32 holds exactly. Wider grids are clipped in float64.
EXACT_FLOAT32_BITS = 24
LARGEST_BIT_WIDTH = 1023
"""Largest width whose bounds float64 holds."""
_BIT_WIDTH = f"a positive integer up to {LARGEST_BIT_WIDTH}"


def checked_bit_width(bit_width: npt.ArrayLike) -> Float64s:
    """The bit width in float64, in which the bounds of up to 53 bits are exact.

    Raises:
        ValueError: An element is not a positive integer, or larger than `LARGEST_BIT_WIDTH`.
    """
    bits = as_float64(bit_width)
    bad = ~((bits >= 1) & (bits == np.floor(bits)) & (bits <= LARGEST_BIT_WIDTH))
    if bad.any():
        raise ValueError(f"bit width: got {bits[bad].flat[0]:g}, expected {_BIT_WIDTH}")
    return bits


def integer_bounds(bits: Float64s, *, signed: bool, narrow: bool) -> tuple[Float64s, Float64s]:
    """lo, hi = -2^(b-1) + narrow, 2^(b-1) - 1 if signed, else 0, 2^b - 1 - narrow; element by element."""
    if signed:
        half = np.exp2(bits - 1)
        return narrow - half, half - 1
    return np.zeros_like(bits), np.exp2(bits) - 1 - narrow


def clipped_and_scaled(r: Array, lo: Float64s, hi: Float64s, bits: Float64s, zero_point: Array, scale: Array) -> Array:
    """(clip(r, lo, hi) - zero_point) * scale in the type of r; in float64, rounded once, where lo .. hi need it."""
    y = (np.minimum(np.maximum(r, lo.astype(r.dtype)), hi.astype(r.dtype)) - zero_point) * scale
    if bits.max(initial=0) <= EXACT_FLOAT32_BITS:
        return y
    wide = (np.clip(r.astype(np.float64), lo, hi) - zero_point.astype(np.float64)) * scale.astype(np.float64)
    return np.where(bits > EXACT_FLOAT32_BITS, wide.astype(r.dtype), y)


def check_flags(call: Call, *names: str) -> Iterable[Finding]:
    """Attributes that are used as truth values must be 0 or 1."""
    for name in names:
        if call.attributes[name] not in (0, 1):
            yield call.finding("attribute", name, got=call.attributes[name], expected="0 or 1")


def check_bit_width(call: Call, name: str) -> Iterable[Finding]:
    """A bit width must be a positive integer; one that is computed at run time cannot be checked here."""
    bits = call.constants.get(name)
    if bits is None:
        return
    try:
        checked_bit_width(bits)
    except ValueError:
        yield call.finding(
            "bit-width",
            name,
            got=summary(bits),
            expected=_BIT_WIDTH,
            hint="round the bit width when exporting the model",
        )


def constant_bit_width(call: Call, name: str) -> int | None:
    """The bit width, if it is constant, one for all elements, and legal."""
    bits = call.constants.get(name)
    if bits is None or not bits.size or not (bits == bits.flat[0]).all():
        return None
    try:
        return int(checked_bit_width(bits).flat[0])
    except ValueError:
        return None


def check_scale(call: Call, name: str) -> Iterable[Finding]:
    """A scale must be a positive, finite number in every element."""
    scale = call.constants.get(name)
    if scale is None:
        return
    values = as_float64(scale)
    bad = ~(np.isfinite(values) & (values > 0))
    if bad.any():
        yield call.finding(
            "scale",
            name,
            got=f"{values[bad].flat[0]:g}" + (f" in {int(bad.sum())} of {bad.size} elements" if bad.size > 1 else ""),
            expected="positive finite numbers",
        )


def check_finite(call: Call, name: str) -> Iterable[Finding]:
    """A parameter that may have any sign must at least be finite."""
    value = call.constants.get(name)
    if value is not None and not np.isfinite(as_float64(value)).all():
        yield call.finding("zero-point", name, got=summary(value), expected="finite numbers")


def check_broadcast(call: Call, *names: str) -> Iterable[Finding]:
    """A parameter must broadcast to the shape of X, and never widen it."""
    shape = call.shapes.get("X")
    if shape is None:
        return
    for name in names:
        parameter = call.shapes.get(name)
        if parameter is None or _broadcasts_into(parameter, shape):
            continue
        yield call.finding(
            "broadcast",
            f"shape of {name}",
            got=list(parameter),
            expected=f"one that broadcasts to X, {['?' if d is None else d for d in shape]}",
            hint="a 1-D parameter aligns with the last axis; reshape it to (C, 1, 1) for channels on axis 1",
        )


def _broadcasts_into(parameter: tuple[int | None, ...], shape: tuple[int | None, ...]) -> bool:
    if len(parameter) > len(shape):  # even leading axes of size 1 would add axes to Y
        return False
    aligned = zip(reversed(parameter), reversed(shape), strict=False)
    return all(p is None or x is None or p in (1, x) for p, x in aligned)


def summary(values: npt.ArrayLike) -> str:
    """A short text for a parameter: its value if it is one number, else its shape and range."""
    array: npt.NDArray[Any] = np.asarray(values)
    if array.size == 1:
        return f"{array.reshape(-1)[0]:g}"
    if array.size == 0:
        return f"an empty tensor of shape {list(array.shape)}"
    numbers = array[~np.isnan(array)]
    if not numbers.size:
        return f"NaN in a tensor of shape {list(array.shape)}"
    return f"{numbers.min():g} .. {numbers.max():g} in a tensor of shape {list(array.shape)}"


def broadcast_to_x(x: Array, *parameters: Array) -> None:
    """Raises ValueError where a parameter would widen X."""
    for parameter in parameters:
        if not _broadcasts_into(parameter.shape, x.shape):
            raise ValueError(f"a parameter of shape {parameter.shape} does not broadcast to X of shape {x.shape}")
