"""Constants of C: tables of the narrowest type, numbers as C reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from anybit.arrays import Array

_WIDTH = 110
_TYPES = {"uint8_t": np.uint8, "int8_t": np.int8, "uint16_t": np.uint16, "int16_t": np.int16, "int32_t": np.int32}


@dataclass(frozen=True)
class Table:
    """A constant array.

    Attributes:
        name: Identifier.
        kind: Type of its elements in C.
        numbers: Its elements.
    """

    name: str
    kind: str
    numbers: Array

    @property
    def nbytes(self) -> int:
        """Bytes of the array."""
        return self.numbers.size * self.numbers.dtype.itemsize

    def lines(self) -> Iterator[str]:
        """Its elements as text."""
        line = ""
        for text in map(literal, self.numbers.reshape(-1)):
            if len(line) + len(text) + 2 > _WIDTH:
                yield line.rstrip()
                line = ""
            line += f"{text}, "
        yield line.rstrip(", ")


def smallest(numbers: Array) -> tuple[str, int]:
    """The narrowest integer type that holds all numbers, in C, and its bytes."""
    lo, hi = int(numbers.min(initial=0)), int(numbers.max(initial=0))
    for kind, dtype in _TYPES.items():
        limits = np.iinfo(dtype)
        if limits.min <= lo and hi <= limits.max:
            return kind, limits.bits // 8
    return "int64_t", 8


def integer_table(name: str, numbers: Array) -> Table:
    """A table of integers, of the narrowest type."""
    kind, _ = smallest(numbers)
    return Table(name, kind, numbers.astype(_TYPES.get(kind, np.int64)))


def literal(number: Any) -> str:
    """A number as C reads it: the same bits again.

    Example:
        >>> literal(np.float32(0.1)), literal(np.float64(0.1)), literal(np.int32(-2147483648))
        ('0.1f', '0.1', '(-2147483647 - 1)')
    """
    kind = np.asarray(number).dtype
    if kind.kind == "f":
        if not np.isfinite(number):
            return "NAN" if np.isnan(number) else ("INFINITY" if number > 0 else "-INFINITY")
        return str(number) + ("f" if kind.itemsize == 4 else "")
    value = int(number)
    if value in (-(1 << 31), -(1 << 63)):
        return f"({value + 1}{_long(value)} - 1)"
    return f"{value}{_long(value)}"


def _long(value: int) -> str:
    return "" if -(1 << 31) <= value < 1 << 31 else "LL"
