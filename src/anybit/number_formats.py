"""Number formats, in the spelling by which quantised ONNX files annotate their tensors.

``INT4``, ``UINT7``, ``BINARY``, ``BIPOLAR``, ``TERNARY``, ``FIXED<w,i>``, ``SCALEDINT<n>``, ``FLOAT<e,m,bias>``,
``FLOAT32``, ``FLOAT16``: each is a frozen value that prints as it is written and parses back to itself.
"""

from __future__ import annotations

import math
import re
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from anybit.arguments import checked
from anybit.arrays import as_float64
from anybit.errors import UsageError

_LARGEST = Fraction(sys.float_info.max)


class NumberFormat(ABC):
    """A set of numbers that a tensor's elements are taken from. `min` and `max` are exact."""

    @property
    @abstractmethod
    def bits(self) -> int:
        """Storage width in bits."""

    @property
    @abstractmethod
    def min(self) -> Fraction:
        """Smallest number of the format."""

    @property
    @abstractmethod
    def max(self) -> Fraction:
        """Largest finite number of the format."""

    @property
    def is_integer(self) -> bool:
        """Whether every number of the format is an integer."""
        return False

    @abstractmethod
    def allows(self, values: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Element by element, whether the value is a number of the format; NaN never is one of a finite format."""


def _within(values: npt.ArrayLike, low: Fraction, high: Fraction) -> npt.NDArray[np.bool_]:
    """low <= value <= high, exactly: not in the type of the values, which may round a bound up to the next number."""
    array = np.asarray(values)
    if array.dtype.kind in "iu":
        info = np.iinfo(array.dtype)
        return np.asarray((array >= max(math.ceil(low), info.min)) & (array <= min(math.floor(high), info.max)))
    array = as_float64(array)
    return np.asarray((array >= -_float_below(-low)) & (array <= _float_below(high)))


def _float_below(number: Fraction) -> float:
    """The largest finite float64 that is not above `number`."""
    if abs(number) > _LARGEST:
        return float(_LARGEST if number > 0 else -_LARGEST)
    nearest = float(number)
    return nearest if nearest <= number else math.nextafter(nearest, -math.inf)


def _multiple_of_power(values: npt.ArrayLike, exponent: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Whether the value is a whole multiple of 2^exponent; nothing overflows or underflows on the way."""
    array = np.asarray(values)
    if array.dtype.kind in "iu" and np.all(np.asarray(exponent) <= 0):
        return np.ones(array.shape, np.bool_)
    with np.errstate(invalid="ignore"):  # signalling NaN
        significand, power = np.frexp(array.astype(np.float64))
        # Below 0 places the quotient is no more than a fraction, above 53 it is whole.
        quotient = np.ldexp(significand, np.clip(power - np.asarray(exponent), 0, 64))
        return np.asarray(quotient == np.floor(quotient))


def _whole(values: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    return _multiple_of_power(values, 0)


@dataclass(frozen=True)
class IntFormat(NumberFormat):
    """INTn: -2^(n-1) .. 2^(n-1) - 1;  UINTn: 0 .. 2^n - 1. UINT1 is written BINARY.

    Example:
        >>> parse_number_format("INT4").min, str(IntFormat(1, signed=False))
        (Fraction(-8, 1), 'BINARY')
    """

    width: int
    signed: bool = field(kw_only=True)

    def __post_init__(self) -> None:
        if self.width < 1:
            raise UsageError("width of an integer format", got=self.width, expected="a positive integer")

    @property
    def bits(self) -> int:
        return self.width

    @property
    def min(self) -> Fraction:
        return Fraction(-(1 << (self.width - 1)) if self.signed else 0)

    @property
    def max(self) -> Fraction:
        return Fraction((1 << (self.width - self.signed)) - 1)

    @property
    def is_integer(self) -> bool:
        return True

    def allows(self, values: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        return _whole(values) & _within(values, self.min, self.max)

    def __str__(self) -> str:
        if self == IntFormat(1, signed=False):
            return "BINARY"
        return f"{'INT' if self.signed else 'UINT'}{self.width}"


@dataclass(frozen=True)
class BipolarFormat(NumberFormat):
    """BIPOLAR: {-1, +1}, one bit."""

    @property
    def bits(self) -> int:
        return 1

    @property
    def min(self) -> Fraction:
        return Fraction(-1)

    @property
    def max(self) -> Fraction:
        return Fraction(1)

    @property
    def is_integer(self) -> bool:
        return True

    def allows(self, values: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        return np.asarray(np.abs(np.asarray(values)) == 1)

    def __str__(self) -> str:
        return "BIPOLAR"


@dataclass(frozen=True)
class TernaryFormat(NumberFormat):
    """TERNARY: {-1, 0, +1}, two bits."""

    @property
    def bits(self) -> int:
        return 2

    @property
    def min(self) -> Fraction:
        return Fraction(-1)

    @property
    def max(self) -> Fraction:
        return Fraction(1)

    @property
    def is_integer(self) -> bool:
        return True

    def allows(self, values: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        return _whole(values) & _within(values, self.min, self.max)

    def __str__(self) -> str:
        return "TERNARY"


@dataclass(frozen=True)
class FixedFormat(NumberFormat):
    """FIXED<w,i>: k * 2^(i-w) for the k of INTw; signed, w bits of which i before the binary point, sign included.

    Example:
        >>> fixed = FixedFormat(4, 2)
        >>> float(fixed.min), float(fixed.max), float(fixed.step)
        (-2.0, 1.75, 0.25)
    """

    width: int
    integer_bits: int

    def __post_init__(self) -> None:
        if self.width < 1:
            raise UsageError("width of a fixed-point format", got=self.width, expected="a positive integer")

    @property
    def bits(self) -> int:
        return self.width

    @property
    def step(self) -> Fraction:
        """Distance between neighbours."""
        return Fraction(2) ** (self.integer_bits - self.width)

    @property
    def min(self) -> Fraction:
        return -(1 << (self.width - 1)) * self.step

    @property
    def max(self) -> Fraction:
        return ((1 << (self.width - 1)) - 1) * self.step

    @property
    def is_integer(self) -> bool:
        return self.step >= 1

    def allows(self, values: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        return _multiple_of_power(values, self.integer_bits - self.width) & _within(values, self.min, self.max)

    def __str__(self) -> str:
        return f"FIXED<{self.width},{self.integer_bits}>"


@dataclass(frozen=True)
class ScaledIntFormat(NumberFormat):
    """SCALEDINT<n>: integers of n bits, signed, times a scale that the annotation does not give.

    `min` and `max` are those of the integers; any real number may be a member.
    """

    width: int

    def __post_init__(self) -> None:
        if self.width < 1:
            raise UsageError("width of a scaled integer format", got=self.width, expected="a positive integer")

    @property
    def bits(self) -> int:
        return self.width

    @property
    def min(self) -> Fraction:
        return Fraction(-(1 << (self.width - 1)))

    @property
    def max(self) -> Fraction:
        return Fraction((1 << (self.width - 1)) - 1)

    def allows(self, values: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        return np.isfinite(np.asarray(values, np.float64))

    def __str__(self) -> str:
        return f"SCALEDINT<{self.width}>"


@dataclass(frozen=True)
class FloatFormat(NumberFormat):
    """FLOAT<e,m,bias>: +-(1 + f/2^m) * 2^(E - bias) and the subnormals f/2^m * 2^(1 - bias), 1 <= E < 2^e.

    The bias defaults to 2^(e-1) - 1. FLOAT32 = FLOAT<8,23,127> and FLOAT16 = FLOAT<5,10,15> are the IEEE formats:
    their largest exponent is kept for infinities and NaN; the others use it for numbers.

    Example:
        >>> minifloat = parse_number_format("FLOAT<4,3>")
        >>> str(minifloat), float(minifloat.max), parse_number_format("FLOAT16").bits
        ('FLOAT<4,3,7>', 480.0, 16)
    """

    exponent_bits: int
    mantissa_bits: int
    bias: int

    def __post_init__(self) -> None:
        if self.exponent_bits < 1 or self.mantissa_bits < 0:
            raise UsageError(
                "fields of a floating-point format",
                got=str(self),
                expected="at least one exponent bit, no negative width",
            )

    @property
    def ieee(self) -> bool:
        """Whether the largest exponent is kept for infinities and NaN."""
        return self in (FLOAT16, FLOAT32)

    @property
    def bits(self) -> int:
        return 1 + self.exponent_bits + self.mantissa_bits

    @property
    def max(self) -> Fraction:
        exponent = (1 << self.exponent_bits) - 1 - self.ieee - self.bias
        return (2 - Fraction(1, 1 << self.mantissa_bits)) * Fraction(2) ** exponent

    @property
    def min(self) -> Fraction:
        return -self.max

    def allows(self, values: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        with np.errstate(invalid="ignore"):  # of signalling NaN
            array = np.asarray(values, np.float64)
            _, exponent = np.frexp(array)
        unit = np.maximum(exponent - 1, 1 - self.bias) - self.mantissa_bits
        member = _multiple_of_power(array, unit) & _within(array, self.min, self.max)
        return np.asarray(np.where(np.isfinite(array), member, self.ieee))

    def __str__(self) -> str:
        if (self.exponent_bits, self.mantissa_bits, self.bias) == (8, 23, 127):
            return "FLOAT32"
        if (self.exponent_bits, self.mantissa_bits, self.bias) == (5, 10, 15):
            return "FLOAT16"
        return f"FLOAT<{self.exponent_bits},{self.mantissa_bits},{self.bias}>"


FLOAT32 = FloatFormat(8, 23, 127)
FLOAT16 = FloatFormat(5, 10, 15)
_NAMED: dict[str, NumberFormat] = {
    "BINARY": IntFormat(1, signed=False),
    "BIPOLAR": BipolarFormat(),
    "TERNARY": TernaryFormat(),
    "FLOAT32": FLOAT32,
    "FLOAT16": FLOAT16,
}
# At most four digits: a width from a file is data, and must not make a number of astronomic size.
_INTEGER = re.compile(r"(U?)INT([1-9]\d{0,3})")
_FIXED = re.compile(r"FIXED<\s*([1-9]\d{0,3})\s*,\s*(-?\d{1,4})\s*>")
_SCALED = re.compile(r"SCALEDINT<\s*([1-9]\d{0,3})\s*>")
_FLOAT = re.compile(r"FLOAT<\s*([1-9]\d?)\s*,\s*(\d{1,3})\s*(?:,\s*(-?\d{1,4})\s*)?>")


@checked
def parse_number_format(text: str) -> NumberFormat:
    """Reads the interchange spelling; the inverse of ``str``.

    Raises:
        UsageError: The text is no number format.

    Example:
        >>> [str(parse_number_format(t)) for t in ("UINT1", "INT8", "FIXED<4,2>", "FLOAT<8,23,127>")]
        ['BINARY', 'INT8', 'FIXED<4,2>', 'FLOAT32']
    """
    name = text.strip().upper() if text.isascii() else ""  # other scripts have digits, and letters with such capitals
    if name in _NAMED:
        return _NAMED[name]
    if found := _INTEGER.fullmatch(name):
        return IntFormat(int(found[2]), signed=not found[1])
    if found := _FIXED.fullmatch(name):
        return FixedFormat(int(found[1]), int(found[2]))
    if found := _SCALED.fullmatch(name):
        return ScaledIntFormat(int(found[1]))
    if (found := _FLOAT.fullmatch(name)) and int(found[1]) <= 15:
        exponent = int(found[1])
        bias = (1 << (exponent - 1)) - 1 if found[3] is None else int(found[3])
        return FloatFormat(exponent, int(found[2]), bias)
    raise UsageError(
        "unknown number format",
        got=repr(text),
        expected="INTn, UINTn, BINARY, BIPOLAR, TERNARY, FIXED<w,i>, SCALEDINT<n>, FLOAT<e,m,bias>, FLOAT32 or FLOAT16",
    )
