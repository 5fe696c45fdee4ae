"""Arrays from files, whose NaN may be signalling ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def as_float64(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The values in float64; a signalling NaN becomes a quiet one, and is not warned of."""
    array: npt.NDArray[Any] = np.asarray(values)
    with np.errstate(invalid="ignore"):
        return array.astype(np.float64)


Array = npt.NDArray[Any]
