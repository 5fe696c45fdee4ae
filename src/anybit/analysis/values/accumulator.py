"""Accumulator: the integers that a multiply-accumulate adds up, and the register that holds them."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from anybit.analysis.values.bounds.sums_of_products import Sums
from anybit.analysis.values.tensor_values import Float64s, smallest_format
from anybit.number_formats import IntFormat, NumberFormat


class Bound(enum.Enum):
    """What a proof of an accumulator's interval takes into account."""

    DATA_TYPE = "data type"
    """Bit widths of both operands and the number of products alone."""
    WEIGHTS = "weights"
    """The actual weights, and the bit width of the other operand (as in accumulator-aware quantisation)."""
    VALUES = "values"
    """The actual weights, and the proven values of the other operand."""


@dataclass(frozen=True)
class Interval:
    """The integers lo .. hi of an accumulator.

    Attributes:
        lo: Smallest sum.
        hi: Largest sum.
        partial_lo: Smallest sum of some of the products, in any order; never above 0.
        partial_hi: Largest one; never below 0.
    """

    lo: int
    hi: int
    partial_lo: int
    partial_hi: int

    @property
    def format(self) -> IntFormat:
        """The smallest integer format that holds every final sum."""
        return smallest_format(self.lo, self.hi)

    @property
    def partial_format(self) -> IntFormat:
        """The smallest integer format that holds every partial sum as well, whatever the order of the products."""
        return smallest_format(min(self.lo, self.partial_lo), max(self.hi, self.partial_hi))


@dataclass(frozen=True)
class Accumulator:
    """How one multiply-accumulate node adds up integers; zero points are taken off both operands first.

    Attributes:
        op_type: Operator.
        terms: Products in one sum, at most.
        operands: Formats of the integers that are multiplied.
        intervals: By kind of bound, the interval that it proves; the later ones are tighter.
        scale: By output channel, what one unit of the sum stands for; broadcasts to the output.
        lo: Smallest sum by output channel, by proven values; broadcasts to the output.
        hi: Largest one.
    """

    op_type: str
    terms: int
    operands: tuple[NumberFormat, NumberFormat]
    intervals: Mapping[Bound, Interval]
    scale: Float64s
    lo: Float64s
    hi: Float64s

    @property
    def proven(self) -> Interval:
        """The tightest interval."""
        return self.intervals[Bound.VALUES]


def interval(sums: Sums) -> Interval:
    """The interval that holds the sums of all channels."""
    return Interval(
        int(sums.lo.min()) if sums.lo.size else 0,
        int(sums.hi.max()) if sums.hi.size else 0,
        int(sums.partial_lo.min(initial=0)),
        int(sums.partial_hi.max(initial=0)),
    )
