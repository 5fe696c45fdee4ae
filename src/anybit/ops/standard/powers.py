"""Pow, also of integers to negative powers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from anybit.ops.standard.kernel import Kernel, Spec, in_float64


def make_pow(spec: Spec) -> Kernel:
    """Y = X^E in the type of X; real numbers in float64, a negative power of an integer truncated.

    Raises:
        ZeroDivisionError: An integer 0 has a negative power.
    """
    generic = in_float64(spec.generic())

    def run(inputs: Sequence[Any]) -> tuple[Any, ...]:
        x, e = inputs
        if x.dtype.kind not in "iu" or e.dtype.kind != "i" or not (e < 0).any():
            return generic(inputs)
        x, e = np.broadcast_arrays(x, e)
        inverse = e < 0
        if (x[inverse] == 0).any():
            raise ZeroDivisionError("0 to a negative power")
        of_units = np.where(np.abs(x) == 1, np.where(e % 2 == 0, 1, x), 0)  # of all others it is below 1
        (y,) = generic([x, np.where(inverse, 0, e).astype(e.dtype)])
        return (np.where(inverse, of_units, y).astype(x.dtype),)

    return run
