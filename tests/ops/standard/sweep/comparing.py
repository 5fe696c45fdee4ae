"""How near two results have to be: equal but for the float32 rounding inside ONNX Runtime."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from tests.ops.standard.sweep.case import Array

# Relative to the element, and to a tenth of the largest one, since sums cancel.
_TOLERANCES = {
    np.dtype(np.float64): 1e-11,
    np.dtype(np.float32): 1e-5,
    np.dtype(np.float16): 2e-3,
    np.dtype(ml_dtypes.bfloat16): 1.6e-2,
}


def difference(ours: Any, theirs: Any, factor: float) -> str:
    """What differs, empty if nothing does; `factor` is one on the tolerance of the element type."""
    if isinstance(theirs, list):
        if not isinstance(ours, list) or len(ours) != len(theirs):
            return f"{type(ours).__name__} for a sequence of {len(theirs)}"
        return next(filter(None, (difference(a, b, factor) for a, b in zip(ours, theirs, strict=True))), "")
    if theirs is None or not isinstance(ours, np.ndarray):
        return "" if ours is theirs else f"{type(ours).__name__} for {type(theirs).__name__}"
    if (ours.dtype, ours.shape) != (theirs.dtype, theirs.shape):
        return f"{ours.dtype}{list(ours.shape)} for {theirs.dtype}{list(theirs.shape)}"
    wrong = ~_agree(ours, theirs, factor)
    return f"{ours[wrong][:4]} for {theirs[wrong][:4]} at {np.argwhere(wrong)[:2].tolist()}" if wrong.any() else ""


def _agree(ours: Array, theirs: Array, factor: float) -> Array:
    tolerance = _TOLERANCES.get(ours.dtype)
    with np.errstate(all="ignore"):
        if tolerance is None and ours.dtype.kind in "iubO":
            return np.asarray(ours == theirs)
        a, b = ours.astype(np.float64), theirs.astype(np.float64)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        if tolerance is None:
            return same
        largest = min(np.abs(b[np.isfinite(b)]).max(initial=0), 1e3)
        return same | (np.isfinite(b) & (np.abs(a - b) <= factor * tolerance * (np.abs(b) + largest / 10)))
