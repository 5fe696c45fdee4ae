"""input_ranges: NAME=LO,HI on the command line."""

from __future__ import annotations

import math
from collections.abc import Sequence

from anybit.errors import UsageError


def parse_ranges(texts: Sequence[str]) -> dict[str, tuple[float, float]]:
    """The ranges by name of the input.

    Raises:
        UsageError: A text is not NAME=LO,HI, or an input has two ranges.
    """
    limits: dict[str, tuple[float, float]] = {}
    for name, given in map(_limit, texts):
        if limits.setdefault(name, given) != given:
            raise UsageError(
                "range of an input", node=f"input '{name}'", got=f"{limits[name]}, {given}", expected="one"
            )
    return limits


def _limit(text: str) -> tuple[str, tuple[float, float]]:
    name, separator, numbers = text.rpartition("=")
    try:
        lo, hi = (float(n) for n in numbers.split(","))
    except ValueError:
        lo = hi = math.nan
    if not separator or not name or math.isnan(lo) or math.isnan(hi):
        raise UsageError("range of an input", got=repr(text), expected="NAME=LO,HI with two numbers")
    return name, (lo, hi)
