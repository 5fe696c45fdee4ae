"""Step functions from tables of their values, so that every one is known by brute force."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from anybit.exact.step_function import Proof, StepFunction
from tests.strategies import Array


def of_table(table: Array, lo: Sequence[int], sizes: Sequence[int], *, direction: Array | None = None) -> StepFunction:
    """The function whose value at lo + i is table[i], channel by channel; each has its own number of integers."""
    start, count = np.array(lo, np.float64), np.array(sizes, np.int64)

    def evaluate(integers: Array) -> Array:
        rows = (integers - start).astype(np.int64)
        assert ((rows >= 0) & (rows < np.maximum(count, 1))).all(), "evaluated outside its domain"
        return np.take_along_axis(table, rows, axis=0)

    proof = Proof.NONE if direction is None else Proof.COMPOSITION
    return StepFunction(start, start + count - 1.0, len(start), evaluate, direction, proof, "node", "doubtful")


def every_value(function: StepFunction, channel: int) -> tuple[Array, Array]:
    """All integers of a channel and their values."""
    lo, hi = (end[channel] for end in function.ends)
    integers = np.arange(lo, hi + 1)
    rows = [np.where(np.arange(function.channels) == channel, i, function.ends[0]) for i in integers]
    return integers, function(np.array(rows))[:, channel]


@st.composite
def monotone_tables(draw: st.DrawFn) -> tuple[Array, list[int], list[int], Array]:
    """A table of whole levels, the domains of its channels, and the direction of each."""
    channels = draw(st.integers(1, 3))
    sizes = draw(st.lists(st.integers(1, 12), min_size=channels, max_size=channels))
    lo = draw(st.lists(st.integers(-9, 9), min_size=channels, max_size=channels))
    direction = np.array(draw(st.lists(st.sampled_from((1.0, -1.0)), min_size=channels, max_size=channels)))
    rises = st.lists(st.sampled_from((0, 0, 0, 1, 1, 3)), min_size=12, max_size=12)
    columns = [np.cumsum(draw(rises)) + draw(st.integers(-4, 4)) for _ in range(channels)]
    return np.stack(columns, axis=1) * direction, lo, sizes, direction
