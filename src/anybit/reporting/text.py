"""shown: a text from a file, as a page may show it."""

from __future__ import annotations

import math

from anybit.errors import visible

TIMES = "\N{MULTIPLICATION SIGN}"

LONGEST = 2000
"""Characters of a text that are kept; a page that shows more of one name shows nothing else."""


def shown(text: object, *, longest: int = LONGEST) -> str:
    r"""The text as `visible` makes it, cut off where it is too long.

    Example:
        >>> shown("a\u202eb\n"), shown("abcdef", longest=4)
        ('a\\u202eb\\n', 'abcd… (6 characters)')
    """
    whole = str(text)
    kept = visible(whole[:longest])
    return kept if len(whole) <= longest else f"{kept}… ({len(whole):,} characters)"


def finite(number: float) -> float | None:
    """The number, None where it is infinite or NaN: JSON has no word for these."""
    return float(number) if math.isfinite(number) else None
