"""Bit widths, bounds of grids and rules of parameters, against whole numbers and the broadcasting of numpy."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from anybit.ops.operator import Call
from anybit.ops.quantizer_parameters import (
    broadcast_to_x,
    check_bit_width,
    check_broadcast,
    check_finite,
    check_flags,
    check_scale,
    checked_bit_width,
    clipped_and_scaled,
    constant_bit_width,
    integer_bounds,
    summary,
)


def _call(*, constants: Any = None, shapes: Any = None, **attributes: Any) -> Call:
    arrays = {name: np.asarray(value) for name, value in (constants or {}).items()}
    return Call(node="Quant 'q'", attributes=attributes, constants=arrays, shapes=shapes or {})


@pytest.mark.parametrize("good", [1, 2.0, 1023, [[3.0], [1.0]], []])
def test_a_positive_whole_number_is_a_bit_width(good):
    found = checked_bit_width(good)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, good)
    assert list(check_bit_width(_call(constants={"bitwidth": good}), "bitwidth")) == []


@pytest.mark.parametrize("bad", [0, -1, 0.5, 2.5, 1024, np.inf, np.nan, [4.0, 0.0]])
def test_other_numbers_are_no_bit_width(bad):
    with pytest.raises(ValueError, match=r"bit width: got .*, expected a positive integer up to 1023"):
        checked_bit_width(bad)
    (finding,) = check_bit_width(_call(constants={"bitwidth": bad}), "bitwidth")
    assert (finding.rule, finding.problem, finding.got) == ("bit-width", "bitwidth", summary(bad))


def test_a_bit_width_that_is_computed_is_not_judged():
    assert list(check_bit_width(_call(), "bitwidth")) == []
    assert constant_bit_width(_call(), "bitwidth") is None


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        (5.0, 5),
        ([[7.0], [7.0]], 7),
        ([4.0, 5.0], None),
        ([5.0, 4.0], None),
        ([], None),
        (2.5, None),
        ([0.0, 0.0], None),
    ],
)
def test_one_bit_width_of_all_elements_is_a_constant(bits, expected):
    assert constant_bit_width(_call(constants={"bitwidth": bits}), "bitwidth") == expected


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("narrow", [False, True])
def test_bounds_are_those_of_whole_numbers(signed, narrow):
    bits = range(1, 54)
    lo, hi = integer_bounds(np.float64([*bits]), signed=signed, narrow=narrow)
    least = [-(2 ** (b - 1)) + narrow if signed else 0 for b in bits]
    most = [2 ** (b - 1) - 1 if signed else 2**b - 1 - narrow for b in bits]
    assert [int(v) for v in lo] == least
    assert [int(v) for v in hi] == most


@pytest.mark.parametrize("bits", [3, 24, 25, 32])
def test_numbers_of_wide_grids_are_rounded_once(bits):
    """Up to 24 bits float32 holds each integer and each difference; above, the exact number is rounded to float32."""
    lo, hi = integer_bounds(np.asarray(float(bits)), signed=True, narrow=False)
    r = np.float32([-(2.0**40), -5, 0, 3, 2.0**23 + 1, 2.0**30, 2.0**40])
    zero_point, scale = np.float32(0 if bits <= 24 else 3), np.float32(0.75)
    found = clipped_and_scaled(r, lo, hi, np.asarray(float(bits)), zero_point, scale)
    clipped = [min(max(int(v), int(lo)), int(hi)) for v in r]
    exact = [(Fraction(c) - Fraction(float(zero_point))) * Fraction(3, 4) for c in clipped]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.float32([float(e) for e in exact]))


def test_each_element_has_the_arithmetic_of_its_own_width():
    bits = np.float64([3, 32])
    lo, hi = integer_bounds(bits, signed=True, narrow=False)
    found = clipped_and_scaled(np.float32([2.0**40] * 2), lo, hi, bits, np.float32(0), np.float32(1))
    np.testing.assert_array_equal(found, np.float32([3, 2.0**31 - 1]))


def test_flags_are_0_or_1():
    findings = check_flags(_call(signed=0, narrow=1, other=2, less=-1), "signed", "narrow", "other", "less")
    assert [(f.rule, f.problem, f.got, f.expected) for f in findings] == [
        ("attribute", "other", "2", "0 or 1"),
        ("attribute", "less", "-1", "0 or 1"),
    ]


@pytest.mark.parametrize(
    ("scale", "got"),
    [
        (0.5, None),
        ([0.5, 2.0**-140], None),
        (0.0, "0"),
        (-1.0, "-1"),
        (np.nan, "nan"),
        ([1.0, np.inf], "inf in 1 of 2 elements"),
        ([1.0, -2.0, 0.0], "-2 in 2 of 3 elements"),
    ],
)
def test_scales_are_positive_and_finite(scale, got):
    findings = list(check_scale(_call(constants={"scale": scale}), "scale"))
    assert [(f.rule, f.problem, f.got) for f in findings] == ([] if got is None else [("scale", "scale", got)])
    assert list(check_scale(_call(), "scale")) == []


@pytest.mark.parametrize(
    ("zero_point", "good"), [(-3.5, True), ([1, 2], True), (np.inf, False), ([0.0, np.nan], False)]
)
def test_zero_points_are_finite(zero_point, good):
    findings = list(check_finite(_call(constants={"zeropt": zero_point}), "zeropt"))
    assert [(f.rule, f.problem, f.got) for f in findings] == (
        [] if good else [("zero-point", "zeropt", summary(zero_point))]
    )
    assert list(check_finite(_call(), "zeropt")) == []


_SHAPES = [s for rank in range(4) for s in itertools.product([1, 2, 3], repeat=rank)]


def test_a_parameter_has_to_broadcast_to_x_without_widening_it():
    for x, parameter in itertools.product([(), (1,), (3,), (2, 3), (2, 1, 3)], _SHAPES):
        try:
            fits = np.broadcast_shapes(x, parameter) == x and len(parameter) <= len(x)
        except ValueError:
            fits = False
        findings = list(check_broadcast(_call(shapes={"X": x, "scale": parameter}), "scale"))
        assert (findings == []) == fits, (x, parameter)
        assert fits or (findings[0].rule, findings[0].got) == ("broadcast", str(list(parameter)))
        if fits:
            broadcast_to_x(np.zeros(x), np.zeros(()), np.zeros(parameter))
        else:
            with pytest.raises(ValueError, match="does not broadcast to X"):
                broadcast_to_x(np.zeros(x), np.zeros(()), np.zeros(parameter))


def test_what_is_not_known_of_shapes_is_not_judged():
    assert list(check_broadcast(_call(shapes={"scale": (5,)}), "scale")) == []
    shapes = {"X": (None, 3), "fits": (7, 1), "unknown": (None, None), "other": (4,)}
    (finding,) = check_broadcast(_call(shapes=shapes), "fits", "missing", "unknown", "other")
    assert finding.problem == "shape of other"
    assert finding.expected == "one that broadcasts to X, ['?', 3]"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (0.5, "0.5"),
        ([[3]], "3"),
        ([], "an empty tensor of shape [0]"),
        ([np.nan, np.nan], "NaN in a tensor of shape [2]"),
        ([[np.nan, 2.0], [-1.5, 4.0]], "-1.5 .. 4 in a tensor of shape [2, 2]"),
    ],
)
def test_a_summary_says_the_value_or_the_range(values, text):
    assert summary(values) == text
