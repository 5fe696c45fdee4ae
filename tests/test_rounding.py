"""The rounding modes against exact arithmetic, on every kind of float."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anybit.errors import UsageError
from anybit.rounding import Rounding
from tests.ops import exact
from tests.strategies import FLOATS, MODES, examples, float_types, modes, seeds, special_values

# Mode: results at 5.5, 2.5, 1.6, 1.1, 1.0, -1.0, -1.1, -1.6, -2.5, -5.5
TABLE = {
    "ROUND": [6, 2, 2, 1, 1, -1, -1, -2, -2, -6],
    "CEIL": [6, 3, 2, 2, 1, -1, -1, -1, -2, -5],
    "FLOOR": [5, 2, 1, 1, 1, -1, -2, -2, -3, -6],
    "UP": [6, 3, 2, 2, 1, -1, -2, -2, -3, -6],
    "DOWN": [5, 2, 1, 1, 1, -1, -1, -1, -2, -5],
    "HALF_UP": [6, 3, 2, 1, 1, -1, -1, -2, -3, -6],
    "HALF_DOWN": [5, 2, 2, 1, 1, -1, -1, -2, -2, -5],
}


def _assert_exact(mode: str, x: np.ndarray) -> None:
    y = Rounding[mode](x)
    assert y.dtype == x.dtype
    assert y.shape == x.shape
    expected = [exact.rounded_float(mode, v) for v in x.astype(np.float64).ravel().tolist()]
    np.testing.assert_array_equal(y.ravel().astype(np.float64), expected)


def test_the_table_has_every_mode() -> None:
    assert set(TABLE) == {m.value for m in Rounding} == set(MODES)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("mode", MODES)
def test_table(mode: str, dtype: Any) -> None:
    x = np.array([5.5, 2.5, 1.6, 1.1, 1.0, -1.0, -1.1, -1.6, -2.5, -5.5], dtype)
    assert Rounding[mode](x).tolist() == TABLE[mode]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("mode", MODES)
def test_special_values(mode: str, dtype: Any) -> None:
    _assert_exact(mode, special_values(dtype))


@pytest.mark.parametrize("mode", MODES)
def test_every_float16(mode: str) -> None:
    _assert_exact(mode, np.arange(2**16, dtype=np.uint16).view(np.float16))


@given(modes, st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=50))
@examples(200)
def test_any_bit_pattern_of_float32(mode: str, bits: list[int]) -> None:
    _assert_exact(mode, np.array(bits, np.uint32).view(np.float32))


@given(modes, st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=50))
@examples(100)
def test_any_bit_pattern_of_float64(mode: str, bits: list[int]) -> None:
    _assert_exact(mode, np.array(bits, np.uint64).view(np.float64))


@given(modes, float_types, seeds)
@examples(150)
def test_ties_and_their_neighbours(mode: str, dtype: Any, seed: list[int]) -> None:
    rng = np.random.default_rng(seed)
    digits = np.finfo(dtype).nmant
    whole = np.trunc(rng.choice([-1, 1], 30) * np.exp2(rng.uniform(0, digits + 1, 30)))
    ties = (whole + 0.5).astype(dtype)
    below, above = np.nextafter(ties, dtype(-np.inf)), np.nextafter(ties, dtype(np.inf))
    _assert_exact(mode, np.concatenate([ties, below, above, whole.astype(dtype)]))


@pytest.mark.parametrize("mode", ["HALF_UP", "HALF_DOWN", "ROUND"])
def test_where_the_textbook_formula_fails(mode: str) -> None:
    x = np.float32([0.49999997, -0.49999997, 8388609.0, -8388609.0])
    assert Rounding[mode](x).tolist() == [0.0, 0.0, 8388609.0, -8388609.0]


@pytest.mark.parametrize("mode", MODES)
def test_infinities_and_nan_stay_without_a_warning(mode: str) -> None:
    y = Rounding[mode](np.float32([np.inf, -np.inf, np.nan]))
    np.testing.assert_array_equal(y, np.float32([np.inf, -np.inf, np.nan]))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(), (0,), (2, 0), (1, 2, 3)])
def test_shape_stays(mode: str, shape: tuple[int, ...]) -> None:
    assert Rounding[mode](np.full(shape, 0.5, np.float32)).shape == shape


@pytest.mark.parametrize("mode", MODES)
def test_the_input_is_not_written_to(mode: str) -> None:
    x = np.float32([0.5, 1.5])
    x.flags.writeable = False
    assert not np.shares_memory(Rounding[mode](x), x)


@given(modes, st.fractions(max_denominator=64))
@examples(200)
def test_results_are_neighbours_and_whole_numbers_stay(mode: str, number: Fraction) -> None:
    x = float(number)
    y = Rounding[mode](np.array(x)).item()
    assert y in (math.floor(x), math.ceil(x))
    assert Rounding[mode](np.array(y)) == y


@given(modes, st.text("xX"))
@examples(20)
def test_any_case_names_a_mode(mode: str, pattern: str) -> None:
    text = "".join(c.lower() if k < len(pattern) and pattern[k] == "x" else c for k, c in enumerate(mode))
    assert Rounding.parse(text) is Rounding[mode]


@pytest.mark.parametrize(
    ("alias", "mode"), [("HALF_EVEN", Rounding.ROUND), ("half_even", Rounding.ROUND), ("Round_To_Zero", Rounding.DOWN)]
)
def test_aliases(alias: str, mode: Rounding) -> None:
    assert Rounding.parse(alias) is mode


@pytest.mark.parametrize("text", ["", "ROUND ", "NEAREST", "HALF", "UP DOWN", "ROUND_TO_EVEN", "\ufb02oor"])
def test_other_names_are_refused_with_the_list_of_modes(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Rounding.parse(text)
    assert caught.value.diagnosis.got == repr(text)
    assert all(name in caught.value.diagnosis.expected for name in (*MODES, "HALF_EVEN", "ROUND_TO_ZERO"))
