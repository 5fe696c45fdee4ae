"""Number formats, in the spelling by which quantised ONNX files annotate their tensors.

``INT4``, ``UINT7``, ``BINARY``, ``BIPOLAR``, ``TERNARY``, ``FIXED<w,i>``, ``SCALEDINT<n>``, ``FLOAT<e,m,bias>``,
``FLOAT32``, ``FLOAT16``: each is a frozen value that prints as it is written and parses back to itself.
"""

from __future__ import annotations

import math
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from anybit.arguments import checked
from anybit.arrays import as_float64
from anybit.errors import UsageError
from anybit.rounding import Rounding

_LARGEST = Fraction(sys.float_info.max)
_EXACT_BITS = 53  # integers of so many bits are float64


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

    def allows(self, values: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Element by element, whether the value is a number of the format; NaN never is one of a finite format."""
        return _multiple_of_power(values, self._exponent(values)) & _within(values, self.min, self.max)

    def nearest(
        self, values: npt.ArrayLike, *, rounding: Rounding = Rounding.ROUND, saturate: bool = True
    ) -> npt.NDArray[np.float64]:
        """The number of the format that each value is rounded to; what is beyond the largest becomes the largest.

        Args:
            values: Any shape, taken as float64.
            rounding: How a value between two neighbours is rounded, counted in units of their distance.
            saturate: Refuse a value beyond the smallest or largest number where this is false.

        Raises:
            UsageError: A value is NaN or beyond the format, or the format says nothing of its numbers (SCALEDINT).

        Example:
            >>> parse_number_format("FIXED<4,2>").nearest([0.3, -9, 0.625]).tolist()
            [0.25, -2.0, 0.5]
        """
        array = as_float64(np.asarray(values))
        if np.isnan(array).any():
            raise UsageError("a number of a format", got="NaN", expected=f"numbers to round to {self}")
        rounded = self._unbounded(array, rounding)
        within = np.clip(rounded, -_float_below(-self.min), _float_below(self.max))
        if not saturate and (within != rounded).any():
            beyond = float(array[within != rounded].flat[0])
            raise UsageError(f"a number beyond {self}", got=beyond, expected=f"{float(self.min)} .. {float(self.max)}")
        return np.asarray(within + 0.0 if self.is_integer else within)

    def _unbounded(self, array: npt.NDArray[np.float64], rounding: Rounding) -> npt.NDArray[np.float64]:
        """The values rounded as if the format had no largest number."""
        return _to_multiple(array, self._exponent(array), rounding)

    def _exponent(self, values: npt.ArrayLike) -> int | npt.NDArray[np.integer]:
        """e where 2^e is the distance between the neighbours of each value."""
        del values
        return 0


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


def _to_multiple(
    array: npt.NDArray[np.float64], exponent: npt.ArrayLike, rounding: Rounding
) -> npt.NDArray[np.float64]:
    """The values rounded to whole multiples of 2^exponent; nothing overflows or underflows on the way."""
    significand, power = np.frexp(array)
    places = power - np.asarray(exponent)
    # Beyond 53 places the value is a multiple; below 0 it is less than half of one, as at 0 with a smaller significand.
    quotient = np.ldexp(significand, np.clip(places, -1, 53))
    multiple = np.ldexp(rounding(np.asarray(quotient, np.float64)), np.asarray(exponent))
    return np.asarray(np.where((places > 53) | ~np.isfinite(array), array, multiple))


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

    def _unbounded(self, array: npt.NDArray[np.float64], rounding: Rounding) -> npt.NDArray[np.float64]:
        del rounding
        return np.where(array >= 0, 1.0, -1.0)

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

    def _exponent(self, values: npt.ArrayLike) -> int:
        del values
        return self.integer_bits - self.width

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

    def _unbounded(self, array: npt.NDArray[np.float64], rounding: Rounding) -> npt.NDArray[np.float64]:
        del array, rounding
        raise UsageError("rounding to a scaled integer format", got=str(self), expected="a format that has its scale")

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
            member = super().allows(array)
        return np.asarray(np.where(np.isfinite(array), member, self.ieee))

    def _exponent(self, values: npt.ArrayLike) -> npt.NDArray[np.integer]:
        _, exponent = np.frexp(np.asarray(values, np.float64))
        return np.maximum(exponent - 1, 1 - self.bias) - self.mantissa_bits

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


@checked
def numpy_type(number_format: NumberFormat) -> np.dtype[Any]:
    """The smallest numpy type that holds every number of a format: integers for integers, else floating point.

    Raises:
        UsageError: No type of numpy is wide enough.

    Example:
        >>> [str(numpy_type(parse_number_format(t))) for t in ("INT4", "UINT9", "BIPOLAR", "FIXED<12,4>", "FLOAT<4,3>")]
        ['int8', 'uint16', 'int8', 'float32', 'float16']
    """
    integers = "bhil" if number_format.min < 0 else "BHIL"
    types = integers if number_format.is_integer else "efd"
    for kind in types:
        if _holds(np.dtype(kind), number_format):
            return np.dtype(kind)
    raise UsageError("a number format wider than any type of numpy", got=str(number_format), expected="up to 64 bits")


def _holds(kind: np.dtype[Any], number_format: NumberFormat) -> bool:
    if kind.kind in "iu":
        info = np.iinfo(kind)
        return info.min <= number_format.min and number_format.max <= info.max
    float_info = np.finfo(kind)
    largest, smallest = Fraction(float(float_info.max)), Fraction(float(float_info.smallest_subnormal))
    if isinstance(number_format, FloatFormat):
        digits, step = (
            number_format.mantissa_bits + 1,
            Fraction(2) ** (1 - number_format.bias - number_format.mantissa_bits),
        )
    else:
        digits = number_format.bits
        step = _step(number_format)
    return digits <= float_info.nmant + 1 and step >= smallest and number_format.max <= largest


def _step(number_format: NumberFormat) -> Fraction:
    return number_format.step if isinstance(number_format, FixedFormat) else Fraction(1)


@checked
def smallest_number_format(values: npt.ArrayLike) -> NumberFormat:
    """The format of fewest bits that has every one of these integers: BINARY, BIPOLAR, TERNARY, UINTn or INTn.

    Raises:
        UsageError: There is no value, or one is no integer.

    Example:
        >>> [str(smallest_number_format(v)) for v in (np.r_[0, 1], np.r_[-1, 1], np.r_[0, 200], np.r_[-129, 3])]
        ['BINARY', 'BIPOLAR', 'UINT8', 'INT9']
    """
    array = np.asarray(values)
    if array.dtype.kind not in "iufb" or not array.size or not _whole(array).all():
        raise UsageError("values of an integer format", got=f"{array.dtype} {array.shape}", expected="integers")
    low, high = int(array.min()), int(array.max())
    if low >= 0:
        return IntFormat(max(high.bit_length(), 1), signed=False)
    if low == -1 and high <= 1:
        return BipolarFormat() if BipolarFormat().allows(array).all() else TernaryFormat()
    return IntFormat(max(high.bit_length() if high > 0 else 0, (-low - 1).bit_length()) + 1, signed=True)


@checked
def random_values(number_format: NumberFormat, shape: Sequence[int], *, seed: int = 0) -> npt.NDArray[np.float64]:
    """Random numbers of a format: all equally likely in integer and fixed-point formats, else rounded normal ones.

    Args:
        number_format: The format; of SCALEDINT the integers are taken.
        shape: Shape of the array.
        seed: The same seed gives the same numbers.

    Example:
        >>> random_values(parse_number_format("TERNARY"), (2, 3)).tolist()
        [[1.0, 0.0, 0.0], [-1.0, -1.0, -1.0]]
    """
    rng = np.random.default_rng(seed)
    if isinstance(number_format, BipolarFormat | FloatFormat):
        return number_format.nearest(rng.standard_normal(shape))
    if number_format.max > _LARGEST:
        raise UsageError("numbers beyond float64", got=str(number_format), expected="a format within its range")
    step, beyond = _step(number_format), max(number_format.bits - _EXACT_BITS, 0)
    low, high = (int(bound / step) >> beyond for bound in (number_format.min, number_format.max))
    integers = rng.integers(low, high, shape, endpoint=True)
    return as_float64(integers * float(step * 2**beyond))
