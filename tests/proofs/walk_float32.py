"""Walks over float32: whether what computes an operator rises from every number to the next, recorded for this machine.

    python -m tests.proofs.walk_float32 Sigmoid Tanh

computes each operator's kernel for all 4,278,190,081 numbers from -infinity to infinity, which takes minutes, and
replaces what `anybit/exact/walks.json` says of the operator in this environment. See `anybit.exact.walks`.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from anybit.arrays import Array
from anybit.exact import walks
from anybit.exact.ordinals import INFINITY, float_at
from anybit.ops.standard_schemas import newest_opset

_CHUNK = 1 << 15
_STRIDE = 7
_ZERO = np.array([-0.0, 0.0], np.float32)


def walk(operator: str) -> walks.Walk:
    """Tries every float32 number in order.

    Raises:
        UnsupportedError: There is no such operator.
    """
    kernel = walks.kernel_of(operator, newest_opset())
    first = first_fall(kernel, -INFINITY, INFINITY)
    return walks.Walk(
        operator=operator,
        rises=first is None,
        numbers=2 * INFINITY + 1,
        samples=walks.samples_of(kernel),
        environment=walks.environment(),
        counterexample=first,
    )


def first_fall(kernel: Callable[[Array], Array], lo: int, hi: int) -> float | None:
    """The first number, by ordinals from lo to hi, whose result is below that of the number before; None if none is.

    NaN may stand before all other results and behind them. Results of a number that depend on its place in the array,
    and a zero whose sign matters, count as well.
    """
    if lo <= 0 <= hi and len(np.unique(kernel(_ZERO))) > 1:
        return 0.0
    last, ended = np.float32(np.nan), False
    for start in range(lo, hi + 1, _CHUNK):
        x = float_at(np.arange(start, min(start + _CHUNK, hi + 1), dtype=np.int64))
        y = kernel(x)
        before = np.concatenate([[last], y[:-1]])
        known, was_known = ~np.isnan(y), ~np.isnan(before)
        falls = known & was_known & (y < before)
        if known.any():
            falls |= known & ~was_known & (ended | (np.cumsum(was_known) > 0))
        falls[::_STRIDE] |= (kernel(x[::_STRIDE]) != y[::_STRIDE]) & known[::_STRIDE]
        if falls.any():
            return float(x[falls.argmax()])
        ended = ended or bool(was_known.any())
        last = y[-1]
    return None


def record(found: walks.Walk) -> None:
    """Puts a walk in the place of the one of the same operator and environment."""
    path = Path(walks.__file__).with_name(walks.RECORDS)
    others = [w for w in walks.recorded() if (w.operator, w.environment) != (found.operator, found.environment)]
    entries = [dataclasses.asdict(w) for w in sorted((*others, found), key=lambda w: w.operator)]
    path.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Walks for the operators named on the command line."""
    for operator in sys.argv[1:]:
        found = walk(operator)
        record(found)
        sys.stdout.write(operator + (" rises" if found.rises else f" falls at {found.counterexample!r}") + "\n")


if __name__ == "__main__":
    main()
