"""The seven rounding modes, each right for every floating-point number.

The textbook ``floor(|x| + 0.5)`` is wrong in float32 at 0.49999997 (the sum rounds up to 1) and at 8388609 (the
sum is not representable); here a tie is found by ``|x| - floor(|x|)``, which is exact.
"""

from __future__ import annotations

import enum
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt

from anybit.errors import UsageError

_Float = TypeVar("_Float", bound=np.floating)


class Rounding(enum.Enum):
    """How a real number becomes an integer.

    `ROUND` breaks ties to even; `UP` and `DOWN` go away from and towards zero; `HALF_UP` and `HALF_DOWN` round to
    nearest and break ties away from and towards zero. NaN stays NaN, an infinity stays infinite.
    Source: SEMANTICS of the QONNX Quant operator.
    """

    ROUND = "ROUND"
    CEIL = "CEIL"
    FLOOR = "FLOOR"
    UP = "UP"
    DOWN = "DOWN"
    HALF_UP = "HALF_UP"
    HALF_DOWN = "HALF_DOWN"

    @classmethod
    def parse(cls, text: str) -> Rounding:
        """Reads a mode in any letter case; HALF_EVEN and ROUND_TO_ZERO are further names of ROUND and DOWN.

        Raises:
            UsageError: The text names no mode.

        Example:
            >>> Rounding.parse("half_even"), Rounding.parse("Round_To_Zero")
            (<Rounding.ROUND: 'ROUND'>, <Rounding.DOWN: 'DOWN'>)
        """
        name = text.upper() if text.isascii() else text  # other letters have such capitals too
        name = _ALIASES.get(name, name)
        try:
            return cls(name)
        except ValueError:
            raise UsageError(
                "unknown rounding mode", got=repr(text), expected=", ".join([m.value for m in cls] + [*_ALIASES])
            ) from None

    def __call__(self, x: npt.NDArray[_Float]) -> npt.NDArray[_Float]:
        """Rounds each element; dtype and shape stay.

        Example:
            >>> Rounding.HALF_DOWN(np.array([2.5, -1.6, 0.49999997], np.float32)).tolist()
            [2.0, -2.0, 0.0]
        """
        with np.errstate(invalid="ignore"):  # signalling NaN, and inf - inf in `_to_nearest`
            match self:
                case Rounding.ROUND:
                    rounded = np.rint(x)
                case Rounding.CEIL:
                    rounded = np.ceil(x)
                case Rounding.FLOOR:
                    rounded = np.floor(x)
                case Rounding.UP:
                    rounded = np.copysign(np.ceil(np.abs(x)), x)
                case Rounding.DOWN:
                    rounded = np.trunc(x)
                case Rounding.HALF_UP | Rounding.HALF_DOWN:
                    rounded = _to_nearest(x, tie_away=self is Rounding.HALF_UP)
        return cast("npt.NDArray[_Float]", rounded)


_ALIASES = {"HALF_EVEN": "ROUND", "ROUND_TO_ZERO": "DOWN"}


def _to_nearest(x: npt.NDArray[_Float], *, tie_away: bool) -> npt.NDArray[np.floating]:
    magnitude = np.abs(x)
    whole = np.floor(magnitude)
    rest = magnitude - whole  # inf - inf is NaN, which compares false: inf stays inf
    step = (rest >= 0.5) if tie_away else (rest > 0.5)
    return np.copysign(whole + step.astype(x.dtype), x)
