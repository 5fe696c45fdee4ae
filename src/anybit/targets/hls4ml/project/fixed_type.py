"""FixedType: ap_fixed<W, I>, the number format of hls4ml's layers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from anybit.analysis.values.tensor_values import Float64s, IntegerGrid
from anybit.arrays import lowest_bit
from anybit.quantizers.quantizer import Quantizer
from anybit.rounding import Rounding

_ROUNDING = {Rounding.ROUND: "RND_CONV", Rounding.FLOOR: "TRN"}


@dataclass(frozen=True)
class FixedType:
    """integer * 2^-(width - integer_bits), in two's complement where it is signed.

    Attributes:
        width: All bits, the sign included.
        integer_bits: Those before the point, the sign included; may be negative, or more than all.
        signed: Whether it has a sign.
        mode: How a number that it does not hold becomes one that it holds, as hls4ml writes it; "" for the default,
            which drops the bits on both sides.

    Example:
        >>> str(FixedType(6, 2, signed=True)), str(FixedType(3, 5, signed=False))
        ('fixed<6,2>', 'ufixed<3,5>')
    """

    width: int
    integer_bits: int
    signed: bool
    mode: str = ""

    def __str__(self) -> str:
        mode = f",{self.mode}" if self.mode else ""
        return f"{'fixed' if self.signed else 'ufixed'}<{self.width},{self.integer_bits}{mode}>"

    @property
    def fraction_bits(self) -> int:
        """Bits behind the point; negative where the last bits before it are left out, too."""
        return self.width - self.integer_bits

    def with_sign(self) -> FixedType:
        """The same with a sign, and one bit more where it had none."""
        return self if self.signed else FixedType(self.width + 1, self.integer_bits + 1, signed=True, mode=self.mode)

    @classmethod
    def between(cls, lo: float, hi: float, fraction_bits: int) -> FixedType:
        """The narrowest type with so many bits behind the point that holds lo and hi.

        Example:
            >>> str(FixedType.between(-3, 1.75, 2)), str(FixedType.between(0, 15, 0)), str(FixedType.between(0, 0, 0))
            ('fixed<5,3>', 'ufixed<4,4>', 'ufixed<1,1>')
        """
        low, high = math.floor(lo * 2.0**fraction_bits), math.ceil(hi * 2.0**fraction_bits)
        signed = low < 0
        width = max(high.bit_length() + signed, (-low - 1).bit_length() + 1 if signed else 1, 1)
        return cls(width, width - fraction_bits, signed)


def type_of_quantizer(quantizer: Quantizer) -> FixedType | None:
    """What hls4ml makes of a quantiser of one power-of-two scale and zero point 0; None where it has no grid."""
    grid = quantizer.grid
    if grid is None or quantizer.is_bipolar or quantizer.rounding not in _ROUNDING:
        return None
    saturation = "SAT_SYM" if grid.narrow else "SAT"
    exponent = math.frexp(float(quantizer.scale.reshape(-1)[0]))[1] - 1
    mode = f"{_ROUNDING[quantizer.rounding]},{saturation}"
    return FixedType(grid.bits, grid.bits + exponent, grid.signed, mode)


def fraction_bits(array: Float64s) -> int:
    """Bits behind the point that hold every element exactly; negative for multiples of 2, and 0 for zeros.

    Example:
        >>> fraction_bits(np.array([0.25, 3.0])), fraction_bits(np.array([4.0, 24.0])), fraction_bits(np.zeros(2))
        (2, -2, 0)
    """
    nonzero = array[array != 0]
    if not nonzero.size:
        return 0
    return 1 - int(np.frexp(lowest_bit(nonzero).min())[1])


def grid_fraction_bits(grid: IntegerGrid) -> int:
    """Bits behind the point that hold every number of a grid exactly: those of its scale, and of its offset."""
    return max(fraction_bits(np.atleast_1d(a)) for a in (grid.scale, grid.scale * grid.zero_point) if np.any(a))
