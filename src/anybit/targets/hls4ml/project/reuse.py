"""Reuse: how often each multiplier of a layer is used for one result, and hls4ml's strategy for it."""

from __future__ import annotations

import enum
import math

_MOST_MULTIPLIERS = 4096  # of a layer that is unrolled: what HLS compilers take


class HlsStrategy(enum.Enum):
    """How hls4ml writes the products of a layer."""

    LATENCY = "Latency"
    """Unrolled: each weight is a constant of its multiplier."""
    RESOURCE = "Resource"
    """Multipliers that read their weights from memory."""


def reuse_of(inputs: int, outputs: int, target: int | None) -> tuple[int, HlsStrategy]:
    """The reuse factor of a layer of inputs * outputs products, and its strategy.

    With a target, the largest factor up to it that hls4ml can build: no layer takes longer than asked for. Without one
    it is 1, and for a layer of more than 4096 products the smallest factor that leaves at most 4096 multipliers.
    The strategy is Latency at a factor of 1 with up to 4096 products, Resource otherwise.

    Args:
        inputs: Products in one sum.
        outputs: Sums.
        target: None where none is asked for.
    """
    products = inputs * outputs
    factors = _factors(inputs, outputs)
    if target is not None:
        factor = max(f for f in factors if f <= target)
    else:
        factor = next(f for f in factors if products / f <= _MOST_MULTIPLIERS or f == products)
    small = factor == 1 and products <= _MOST_MULTIPLIERS
    return factor, HlsStrategy.LATENCY if small else HlsStrategy.RESOURCE


def _factors(inputs: int, outputs: int) -> list[int]:
    """The factors that hls4ml can build: divisors of the inputs, or multiples of them that divide the products."""
    below = [f for f in _divisors(inputs * outputs) if f < inputs and inputs % f == 0]
    return below + [inputs * f for f in _divisors(outputs)]


def _divisors(number: int) -> list[int]:
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return sorted({*small, *(number // d for d in small)})
