"""Number formats against their enumeration, and their spelling against itself."""

from __future__ import annotations

import sys
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anybit.errors import UsageError
from anybit.number_formats import (
    FLOAT16,
    FLOAT32,
    BipolarFormat,
    FixedFormat,
    FloatFormat,
    IntFormat,
    NumberFormat,
    ScaledIntFormat,
    TernaryFormat,
    numpy_type,
    parse_number_format,
    random_values,
    smallest_number_format,
)
from anybit.rounding import Rounding
from tests.strategies import examples

small = st.integers(1, 9999)
formats: st.SearchStrategy[NumberFormat] = st.one_of(
    st.builds(IntFormat, small, signed=st.booleans()),
    st.just(BipolarFormat()),
    st.just(TernaryFormat()),
    st.builds(FixedFormat, small, st.integers(-9999, 9999)),
    st.builds(ScaledIntFormat, small),
    st.builds(FloatFormat, st.integers(1, 15), st.integers(0, 999), st.integers(-9999, 9999)),
    st.sampled_from((FLOAT16, FLOAT32)),
)


@given(formats)
@examples(300)
def test_formats_parse_from_what_they_print(made: NumberFormat) -> None:
    assert parse_number_format(str(made)) == made
    assert parse_number_format(f" {str(made).lower()}\n") == made


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("INT4", IntFormat(4, signed=True)),
        ("UINT1", IntFormat(1, signed=False)),
        ("BINARY", IntFormat(1, signed=False)),
        ("BIPOLAR", BipolarFormat()),
        ("TERNARY", TernaryFormat()),
        ("FIXED<4,2>", FixedFormat(4, 2)),
        ("FIXED< 8 , -3 >", FixedFormat(8, -3)),
        ("SCALEDINT<8>", ScaledIntFormat(8)),
        ("FLOAT<4,3>", FloatFormat(4, 3, 7)),
        ("FLOAT<4,3,0>", FloatFormat(4, 3, 0)),
        ("FLOAT<5, 10, 15>", FLOAT16),
        ("FLOAT<8,23>", FLOAT32),
    ],
)
def test_spellings(text: str, expected: NumberFormat) -> None:
    assert parse_number_format(text) == expected


MALFORMED = """INT|UINT|INT0|INT-4|INT04|INT4.0|INT 4|XINT4|INT4X|UINT|INT10000|FIXED<4>|FIXED<0,1>|FIXED<4,2|FIXED 4,2
    |FIXED<4,2,1>|FIXED<4,2.5>|SCALEDINT8|SCALEDINT<>|SCALEDINT<0>|FLOAT|FLOAT64|FLOAT<>|FLOAT<4>|FLOAT<0,3>|FLOAT<4,3,>
    |FLOAT<4,3,7,1>|FLOAT<16,3>|FLOAT<4,-1>|FLOAT<4,3,1e3>|BIPOLAR2|INT4,INT4|None|__import__('os')"""


@pytest.mark.parametrize(
    "text", ["", " ", "\u0131nt4", "INT1\uff12", "\ufb02oat32", "INT\u0664", *map(str.strip, MALFORMED.split("|"))]
)
def test_malformed_text_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_number_format(text)
    assert caught.value.diagnosis.got == repr(text)


@given(st.text(max_size=12) | st.text("INTUFXEDLOASC<>,-0123456789 ", max_size=14))
@examples(500)
def test_any_text_is_a_format_or_refused(text: str) -> None:
    try:
        made = parse_number_format(text)
    except UsageError:
        return
    assert parse_number_format(str(made)) == made


@pytest.mark.parametrize(
    "make",
    [
        lambda: IntFormat(0, signed=True),
        lambda: FixedFormat(0, 0),
        lambda: ScaledIntFormat(-1),
        lambda: FloatFormat(0, 3, 0),
        lambda: FloatFormat(4, -1, 7),
    ],
)
def test_impossible_widths_are_refused(make: Any) -> None:
    with pytest.raises(UsageError):
        make()


# Enumeration -------------------------------------------------------------------------------------------------------


def _numbers(made: NumberFormat) -> set[Fraction]:
    """All numbers of a format, from its bit patterns."""
    match made:
        case IntFormat(width, signed=signed):
            return {Fraction(p - (1 << width) if signed and p >> (width - 1) else p) for p in range(1 << width)}
        case BipolarFormat():
            return {Fraction(-1), Fraction(1)}
        case TernaryFormat():
            return {Fraction(-1), Fraction(0), Fraction(1)}
        case FixedFormat(width, integer):
            return {k * Fraction(2) ** (integer - width) for k in _numbers(IntFormat(width, signed=True))}
        case FloatFormat(e, m, bias):
            sizes = {
                (Fraction(1 if field else 0) + Fraction(f, 2**m)) * Fraction(2) ** (max(field, 1) - bias)
                for field in range(2**e)
                for f in range(2**m)
            }
            return sizes | {-s for s in sizes}
    raise AssertionError(made)


ENUMERABLE = [
    *(IntFormat(w, signed=s) for w in range(1, 8) for s in (False, True)),
    BipolarFormat(),
    TernaryFormat(),
    *(FixedFormat(w, i) for w in range(1, 6) for i in (-2, 0, 1, 3, 5, 7)),
    *(FloatFormat(e, m, b) for e in (1, 2, 3, 4) for m in (0, 1, 3) for b in (-2, 0, 1, 7)),
]


@pytest.mark.parametrize("made", ENUMERABLE, ids=str)
def test_small_formats_are_their_enumeration(made: NumberFormat) -> None:
    numbers = _numbers(made)
    assert made.min == min(numbers)
    assert made.max == max(numbers)
    assert made.is_integer <= all(n.denominator == 1 for n in numbers)
    if not isinstance(made, FloatFormat):
        assert made.is_integer == all(n.denominator == 1 for n in numbers) or made.bits == 1
    inside = np.array(sorted(float(n) for n in numbers))
    between = (inside[1:] + inside[:-1]) / 2
    beside = np.concatenate([np.nextafter(inside, -np.inf), np.nextafter(inside, np.inf), between, 2 * inside])
    candidates = np.concatenate([inside, beside, [np.nan, np.inf, -np.inf, 5e-324, 1.7e308, -1.7e308]])
    expected = [bool(np.isfinite(c)) and Fraction(c) in numbers for c in candidates]
    assert made.allows(candidates).tolist() == expected
    assert made.allows(candidates[0]).shape == ()


@pytest.mark.parametrize("made", ENUMERABLE, ids=str)
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.float16, np.float32])
def test_arrays_of_every_type_are_judged_by_value(made: NumberFormat, dtype: Any) -> None:
    values = np.arange(-128 if np.dtype(dtype).kind != "u" else 0, 128).astype(dtype)
    numbers = _numbers(made)
    assert made.allows(values).tolist() == [Fraction(int(v)) in numbers for v in values]


@pytest.mark.parametrize("bits", [24, 25, 31, 32, 53, 54, 63, 64, 65, 2000])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bounds_are_not_rounded_to_the_type_of_the_values(bits: int, signed: bool, dtype: Any) -> None:
    made = IntFormat(bits, signed=signed)
    with np.errstate(over="ignore"):
        end = np.array(2.0 ** min(bits - signed, 1000)).astype(dtype)
    inside, outside = np.nextafter(end, dtype(0)), end
    assert made.allows(inside).item() == (inside == np.floor(inside) and bool(np.isfinite(inside)))
    if bits < 100:
        assert not made.allows(outside)
    assert made.allows(-end).item() == (signed and bool(np.isfinite(end)))


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_64_bit_integers_are_compared_exactly(dtype: Any) -> None:
    values = np.array([0, 2**62 - 1, 2**62, 2**63 - 1], dtype)
    assert IntFormat(63, signed=True).allows(values).tolist() == [True, True, False, False]
    assert IntFormat(62, signed=False).allows(values).tolist() == [True, True, False, False]
    assert IntFormat(64, signed=True).allows(values).all()
    assert IntFormat(64, signed=False).allows(values).all()


@given(formats, st.lists(st.floats(), min_size=1, max_size=8))
@examples(300)
def test_membership_of_any_format_neither_fails_nor_warns(made: NumberFormat, values: list[float]) -> None:
    allowed = made.allows(np.array(values))
    assert allowed.shape == (len(values),)
    ends = made.min, made.max
    for value, is_member in zip(values, allowed, strict=True):
        if is_member and np.isfinite(value) and not isinstance(made, ScaledIntFormat):
            assert ends[0] <= Fraction(value) <= ends[1]


def test_ieee_formats_keep_their_last_exponent() -> None:
    assert FLOAT16.max == Fraction(65504)
    assert float(FLOAT32.max) == np.finfo(np.float32).max
    special = np.array([np.nan, np.inf, -np.inf])
    assert FLOAT16.allows(special).all()
    assert not FloatFormat(4, 3, 7).allows(special).any()
    assert FLOAT16.allows([65504.0, 65520.0, 2.0**-24, 2.0**-25]).tolist() == [True, False, True, False]


def test_every_float16_is_one() -> None:
    assert FLOAT16.allows(np.arange(2**16, dtype=np.uint16).view(np.float16)).all()


def test_scaled_integers_may_be_any_real_number() -> None:
    assert ScaledIntFormat(4).allows([0.3, -1e30, np.nan, np.inf]).tolist() == [True, True, False, False]
    assert (ScaledIntFormat(4).min, ScaledIntFormat(4).max, ScaledIntFormat(4).bits) == (-8, 7, 4)


@pytest.mark.parametrize(
    ("made", "bits"),
    [
        (BipolarFormat(), 1),
        (TernaryFormat(), 2),
        (IntFormat(5, signed=True), 5),
        (FixedFormat(6, 2), 6),
        (FloatFormat(4, 3, 7), 8),
    ],
)
def test_storage_width(made: NumberFormat, bits: int) -> None:
    assert made.bits == bits


small_formats = [
    *(IntFormat(w, signed=s) for w in (1, 3, 5) for s in (False, True)),
    BipolarFormat(),
    TernaryFormat(),
    FixedFormat(5, 2),
    FixedFormat(4, -3),
    FixedFormat(3, 9),
    FloatFormat(2, 2, 1),
    FloatFormat(3, 0, -2),
]


@cache
def _neighbours(number_format: NumberFormat) -> list[Fraction]:
    """All numbers of a small format, in order."""
    grid = np.unique(np.arange(-1024, 1025) * np.ldexp(1.0, [[-9], [-4], [0]]))
    return [Fraction(float(v)) for v in grid[number_format.allows(grid)]]


@given(made=st.sampled_from(small_formats), value=st.floats(-600, 600, width=32), rounding=st.sampled_from(Rounding))
@examples(300)
def test_nearest_is_a_neighbour_by_the_rule(made: NumberFormat, value: float, rounding: Rounding) -> None:
    numbers, exact = _neighbours(made), Fraction(value)
    got = Fraction(float(made.nearest(value, rounding=rounding)))
    below, above = [n for n in numbers if n <= exact], [n for n in numbers if n >= exact]
    if not below or not above:
        assert got == (numbers[0] if not below else numbers[-1])
    elif made == BipolarFormat():
        assert got == (1 if value >= 0 else -1)
    else:
        low, high = below[-1], above[0]
        place = (exact - low) / (high - low) if high > low else Fraction(0)
        step = high - low
        # The rounding mode counts in steps from zero: the neighbours are the whole numbers beside value / step.
        expected = Fraction(float(rounding(np.array([float(exact / step) if step else 0.0]))[0])) * step
        assert got == (low if not place else expected)


def test_nearest_refuses_what_has_none() -> None:
    with pytest.raises(UsageError, match="NaN"):
        IntFormat(4, signed=True).nearest([1.0, np.nan])
    with pytest.raises(UsageError, match="got 8"):
        IntFormat(4, signed=True).nearest([1.0, 8.0], saturate=False)
    with pytest.raises(UsageError, match="SCALEDINT<8>"):
        ScaledIntFormat(8).nearest(1.0)
    assert FixedFormat(8, 4).nearest([np.inf, -np.inf]).tolist() == [7.9375, -8.0]


@given(formats, st.integers(0, 9))
@examples(100)
def test_random_values_are_numbers_of_their_format(made: NumberFormat, seed: int) -> None:
    if not isinstance(made, FloatFormat) and made.max > sys.float_info.max:
        with pytest.raises(UsageError, match="beyond float64"):
            random_values(made, (2, 3))
        return
    values = random_values(made, (2, 3), seed=seed)
    assert values.shape == (2, 3)
    assert made.allows(values).all()
    assert (random_values(made, (2, 3), seed=seed) == values).all()


@given(
    st.one_of(
        st.lists(st.integers(-300, 300), min_size=1),
        st.lists(st.sampled_from([-129, -128, -2, -1, 0, 1, 2, 255]), min_size=1, max_size=3),
    )
)
@examples(200)
def test_the_smallest_format_has_all_and_none_has_fewer_bits(values: list[int]) -> None:
    made = smallest_number_format(np.array(values))
    assert made.allows(values).all()
    narrower = [IntFormat(w, signed=s) for w in range(1, made.bits) for s in (False, True) if (w, s) != (1, True)]
    assert not any(n.allows(values).all() for n in (*narrower, *([BipolarFormat()] if made.bits > 1 else [])))


@given(st.sampled_from([*small_formats, FLOAT16, FLOAT32, IntFormat(64, signed=False), FixedFormat(40, 12)]))
@examples(40)
def test_the_numpy_type_holds_every_number(made: NumberFormat) -> None:
    kind, values = numpy_type(made), random_values(made, (50,))
    assert (values.astype(kind).astype(np.float64) == values).all()
    with pytest.raises(UsageError, match="wider"):
        numpy_type(IntFormat(65, signed=True))
