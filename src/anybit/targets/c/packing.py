"""packed: weights of few bits side by side, the first in the lowest bits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from anybit.plan.plan import Bytes


def packed(weights: npt.NDArray[np.int8], bits: int) -> Bytes:
    """The weights in bytes: w + 2^(bits - 1), or 0 for -1 and 1 for 1 where they have one bit.

    Weights whose width divides 8 lie in one byte each. Others may lie in two: one byte stands behind them all, so
    that two may always be read.

    Args:
        weights: Any shape, in row-major order.
        bits: Their width, 1 to 8.
    """
    numbers = weights.reshape(-1).astype(np.int16)
    stored = (numbers + 1) // 2 if bits == 1 else numbers + (1 << (bits - 1))
    rows = (stored[:, None] >> np.arange(bits)) & 1
    found = np.packbits(rows.astype(np.uint8).reshape(-1), bitorder="little")
    return found if 8 % bits == 0 else np.append(found, np.uint8(0))
