"""Arrays: as float64, what they hold as bytes, and the bits of floating-point numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def as_float64(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The values in float64; a signalling NaN becomes a quiet one, and is not warned of."""
    array: npt.NDArray[Any] = np.asarray(values)
    with np.errstate(invalid="ignore"):
        return array.astype(np.float64)


def content(array: npt.NDArray[Any]) -> bytes:
    """Bytes that are equal for equal arrays of one element type and shape, and differ for others; strings too.

    Example:
        >>> content(np.array(["a", "b"], object)) == content(np.array(["a", "b"], object))
        True
    """
    return repr(array.tolist()).encode() if array.dtype.kind == "O" else np.ascontiguousarray(array).tobytes()


def is_power_of_two(values: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Whether each number is a positive power of two.

    Example:
        >>> is_power_of_two([0.25, 1.0, 3.0, -2.0, 0.0])
        array([ True,  True, False, False, False])
    """
    mantissa, _ = np.frexp(as_float64(values))
    return np.asarray(mantissa == 0.5)


def lowest_bit(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The largest power of two of which each number is a multiple; infinity for 0, NaN for what is not finite.

    Example:
        >>> lowest_bit([0.75, 24.0, -5.0, 0.0, np.inf])
        array([0.25, 8.  , 1.  ,  inf,  nan])
    """
    array = as_float64(values)
    finite = np.isfinite(array)
    mantissa, exponent = np.frexp(np.where(finite, array, 0.0))
    whole = np.abs(mantissa * 2.0**53).astype(np.int64)
    power = np.ldexp((whole & -whole).astype(np.float64), exponent - 53)
    return np.where(finite, np.where(array == 0, np.inf, power), np.nan)


Array = npt.NDArray[Any]
