"""DataType in the place of the class of the qonnx package: a number format under the names of its methods."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from anybit.errors import UsageError
from anybit.number_formats import (
    FLOAT32,
    FixedFormat,
    NumberFormat,
    ScaledIntFormat,
    numpy_type,
    parse_number_format,
    smallest_number_format,
)

_CPP_NAMES = {"FLOAT32": "float", "FLOAT16": "half", "BIPOLAR": "ap_int<1>"}


class DataType:
    """A number format with the methods of the package's: ``DataType["INT4"].bitwidth()``.

    Args:
        number_format: The format, see `anybit.NumberFormat`.
    """

    def __init__(self, number_format: NumberFormat) -> None:
        self.number_format = number_format

    def __class_getitem__(cls, name: str) -> DataType:
        return cls(parse_number_format(name))

    def __str__(self) -> str:
        return str(self.number_format)

    __repr__ = get_canonical_name = __str__
    name = property(__str__)

    def __eq__(self, other: object) -> bool:
        return self.name == str(other) if hasattr(other, "get_canonical_name") else self.name == other

    def __hash__(self) -> int:
        return hash(self.name)

    def bitwidth(self) -> int:
        return self.number_format.bits

    def min(self) -> float:
        return _number(self.number_format.min)

    def max(self) -> float:
        return _number(self.number_format.max)

    def signed(self) -> bool:
        return self.number_format.min < 0

    def allowed(self, value: npt.ArrayLike) -> bool | npt.NDArray[np.bool_]:
        inside = self.number_format.allows(value)
        return inside if np.ndim(value) else bool(inside)

    def is_integer(self) -> bool:
        return self.number_format.is_integer and not self.is_fixed_point()

    def is_fixed_point(self) -> bool:
        return isinstance(self.number_format, FixedFormat)

    def _fixed(self) -> FixedFormat:
        if not isinstance(self.number_format, FixedFormat):
            raise UsageError("no fixed-point format", got=self.name, expected="FIXED<width,integer bits>")
        return self.number_format

    def int_bits(self) -> int:
        return self._fixed().integer_bits

    def frac_bits(self) -> int:
        return self._fixed().bits - self._fixed().integer_bits

    def scale_factor(self) -> float:
        return float(self._fixed().step)

    def get_num_possible_values(self) -> int:
        if isinstance(self.number_format, FixedFormat | ScaledIntFormat):
            return 2**self.number_format.bits
        return int(self.number_format.max - self.number_format.min) + 1 - (self.name == "BIPOLAR")

    def to_numpy_dt(self) -> np.dtype[Any]:
        """The type of integers, or float32, which holds all else but FLOAT16."""
        narrow = self.is_integer() or self.name == "FLOAT16"
        return numpy_type(self.number_format) if narrow else np.dtype(np.float32)

    def get_hls_datatype_str(self) -> str:
        """The C++ type that Vitis HLS has for it.

        Raises:
            UsageError: It has none.
        """
        if self.is_fixed_point():
            return f"ap_fixed<{self.bitwidth()}, {self.int_bits()}>"
        if self.is_integer():
            return _CPP_NAMES.get(self.name, f"ap_{'' if self.signed() else 'u'}int<{self.bitwidth()}>")
        if self.name not in _CPP_NAMES:
            raise UsageError("no C++ type of Vitis HLS", got=self.name, expected="integers, FIXED, FLOAT32 or FLOAT16")
        return _CPP_NAMES[self.name]

    @staticmethod
    def get_smallest_possible(value: float) -> DataType:
        """The format of fewest bits that has the integer; FLOAT32 of what is none."""
        number_format = FLOAT32 if value % 1 else smallest_number_format(np.array([int(value)]))
        return DataType(number_format)


def _number(exact: Fraction) -> float:
    return int(exact) if exact.denominator == 1 else float(exact)
