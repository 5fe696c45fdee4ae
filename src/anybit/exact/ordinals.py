"""float32 numbers by their ordinals: 0 has the ordinal 0, the next number above it 1, the next one below it -1."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

INFINITY = 0x7F800000
"""The ordinal of infinity; that of -infinity is its negative."""

LARGEST = INFINITY - 1
"""The ordinal of the largest finite number."""


def float_at(ordinals: npt.NDArray[np.integer] | npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """The float32 numbers at ordinals from -INFINITY to INFINITY; they rise with the ordinal."""
    magnitude = np.abs(ordinals).astype(np.uint32).view(np.float32)
    return np.where(np.less(ordinals, 0), -magnitude, magnitude).astype(np.float32)


def ordinal_of(numbers: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """The ordinals of float32 numbers other than NaN; +0 and -0 have one."""
    magnitude = np.abs(numbers).view(np.uint32).astype(np.int64)
    return np.where(np.less(numbers, 0), -magnitude, magnitude)
