"""rounded: every rounding mode as a floor, which is what a circuit has.

    mode(v) = floor(v + constant + shift * bit)

v being a multiple of d < 1, and the bit the lowest one of floor(v) or the sign of v:

    FLOOR      v                              CEIL      v + (1 - d)
    ROUND      v + (1/2 - d) + d * odd        DOWN      v + (1 - d) * negative
    HALF_UP    v + 1/2 - d * negative         UP        v + (1 - d) - (1 - d) * negative
    HALF_DOWN  v + (1/2 - d) + d * negative
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from anybit.rounding import Rounding


class Bit(enum.Enum):
    """What decides between two constants."""

    NONE = "none"
    ODD = "whether the floor is odd"
    NEGATIVE = "whether the number is negative"


@dataclass(frozen=True)
class Floor:
    """mode(v) = floor(v + constant + shift * bit)."""

    constant: float
    shift: float
    bit: Bit


def floor_of(mode: Rounding, d: float) -> Floor:
    """A rounding mode as a floor, for multiples of d, a power of two below 1."""
    match mode:
        case Rounding.FLOOR:
            return Floor(0.0, 0.0, Bit.NONE)
        case Rounding.CEIL:
            return Floor(1 - d, 0.0, Bit.NONE)
        case Rounding.ROUND:
            return Floor(0.5 - d, d, Bit.ODD)
        case Rounding.DOWN:
            return Floor(0.0, 1 - d, Bit.NEGATIVE)
        case Rounding.UP:
            return Floor(1 - d, d - 1, Bit.NEGATIVE)
        case Rounding.HALF_UP:
            return Floor(0.5, -d, Bit.NEGATIVE)
        case Rounding.HALF_DOWN:
            return Floor(0.5 - d, d, Bit.NEGATIVE)
