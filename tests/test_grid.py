"""Grids against their enumeration."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anybit.errors import UsageError
from anybit.grid import Grid
from tests.strategies import examples


def _enumerated(bits: int, *, signed: bool, narrow: bool) -> list[int]:
    """All bit patterns, read as two's complement or as they are; narrow drops the lowest or the highest."""
    if signed and bits == 1:
        return [-1, 1]
    values = sorted(p - (1 << bits) if signed and p >> (bits - 1) else p for p in range(1 << bits))
    if not narrow:
        return values
    return values[1:] if signed else values[:-1]


@pytest.mark.parametrize("bits", range(1, 11))
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("narrow", [False, True])
def test_small_grids_are_their_bit_patterns(bits: int, signed: bool, narrow: bool) -> None:
    grid = Grid(bits, signed=signed, narrow=narrow)
    expected = _enumerated(bits, signed=signed, narrow=narrow)
    assert list(grid.values) == expected
    assert (grid.lo, grid.hi) == (expected[0], expected[-1])
    assert grid.bipolar == (expected == [-1, 1] and bits == 1)


@given(st.integers(2, 300), st.booleans(), st.booleans())
@examples(100)
def test_no_width_overflows(bits: int, signed: bool, narrow: bool) -> None:
    grid = Grid(bits, signed=signed, narrow=narrow)
    assert grid.hi - grid.lo + 1 == 2**bits - narrow
    assert (grid.lo == -grid.hi) == (signed and narrow)


@given(st.integers(1, 64), st.booleans(), st.booleans())
@examples(100)
def test_the_container_is_the_smallest_onnx_integer_that_holds_the_grid(bits: int, signed: bool, narrow: bool) -> None:
    grid = Grid(bits, signed=signed, narrow=narrow)
    fitting = [
        width
        for width in (2, 4, 8, 16, 32, 64)
        if grid.lo >= (-(2 ** (width - 1)) if signed else 0) and grid.hi <= 2 ** (width - signed) - 1
    ]
    # A narrow grid could do with less in one case each, {0} and {-1, 0, 1}; it keeps the container of its width.
    assert grid.container_bits == next(w for w in fitting if w >= bits)


def test_no_container_beyond_64_bits() -> None:
    with pytest.raises(UsageError, match="65 bits"):
        _ = Grid(65).container_bits


@pytest.mark.parametrize("bits", [0, -1])
def test_a_width_is_positive(bits: int) -> None:
    with pytest.raises(UsageError, match=f"got {bits}, expected a positive integer"):
        Grid(bits)


def test_grids_are_values() -> None:
    assert Grid(4) == Grid(4, signed=True, narrow=False)
    assert len({Grid(4), Grid(4), Grid(4, narrow=True)}) == 2
