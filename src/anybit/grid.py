"""Grid: the integers that a uniform quantiser can produce."""

from __future__ import annotations

from dataclasses import dataclass

from anybit.errors import UsageError

_CONTAINER_BITS = (2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Grid:
    """lo .. hi = -2^(b-1) + narrow .. 2^(b-1) - 1 if signed, else 0 .. 2^b - 1 - narrow.

    A signed grid of one bit is bipolar, {-1, +1}, whatever `narrow` says. Bounds are Python integers, so that no
    width overflows. Source: the QONNX Quant operator.

    Attributes:
        bits: Bit width, at least 1.
        signed: Whether negative integers belong to the grid.
        narrow: Whether one end is given up, to make a signed grid symmetric.

    Example:
        >>> Grid(4, signed=True, narrow=True).lo, Grid(32, signed=True).hi
        (-7, 2147483647)
    """

    bits: int
    signed: bool = True
    narrow: bool = False

    def __post_init__(self) -> None:
        if self.bits < 1:
            raise UsageError("bit width of a grid", got=self.bits, expected="a positive integer")

    @property
    def bipolar(self) -> bool:
        """Whether the grid is {-1, +1}."""
        return self.signed and self.bits == 1

    @property
    def lo(self) -> int:
        """Smallest integer of the grid."""
        if self.bipolar:
            return -1
        return -(1 << (self.bits - 1)) + self.narrow if self.signed else 0

    @property
    def hi(self) -> int:
        """Largest integer of the grid."""
        if self.bipolar:
            return 1
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1 - self.narrow

    @property
    def values(self) -> range:
        """All integers of the grid, ascending."""
        return range(self.lo, self.hi + 1, 2 if self.bipolar else 1)

    @property
    def container_bits(self) -> int:
        """Width in bits of the smallest ONNX integer type that holds the grid.

        Raises:
            UsageError: The grid is wider than 64 bits.
        """
        needed = 2 if self.bipolar else self.bits
        for width in _CONTAINER_BITS:
            if needed <= width:
                return width
        raise UsageError("no ONNX integer type holds the grid", got=f"{self.bits} bits", expected="at most 64 bits")
