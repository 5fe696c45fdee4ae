"""Accumulator: how large the integers of a column of weights may be so that every partial sum of products fits."""

from __future__ import annotations

from anybit.errors import UnsupportedError
from anybit.quantization.ranges import Range
from anybit.quantization.rounding import Budget


def budget_of(bits: int | None, source: Range | None, inputs: int) -> Budget | None:
    """The sums of a column's integers at which sum over k of q_k * x_k fits a signed accumulator of so many bits.

    With integers lo <= x <= hi that include 0, partial sums lie between hi * (sum of negative q) + lo * (sum of
    positive q) and hi * (sum of positive q) + lo * (sum of negative q): the bound of A2Q (Colbert et al., 2023).

    Args:
        bits: Bits of the accumulator; None sets no limit.
        source: The quantiser of x.
        inputs: How many products are summed.

    Raises:
        UnsupportedError: x is not quantised, or no weight other than 0 fits.
    """
    if bits is None:
        return None
    if source is None:
        raise UnsupportedError("an accumulator limit needs quantised inputs of the layer")
    top = (1 << (bits - 1)) - 1
    hi = source.grid.hi - source.zero_point
    lo = source.grid.lo - source.zero_point
    if lo == 0:
        side = top // max(hi, 1)
        budget = Budget(side, side, 2 * side)
    else:
        side = top // max(hi, -lo)
        budget = Budget(side, side, side)
    if side < 1:
        raise UnsupportedError("accumulator", got=f"{bits} bits, {inputs} inputs up to {max(hi, -lo)}", expected="more")
    return budget
