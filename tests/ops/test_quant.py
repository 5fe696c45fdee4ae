"""Quant against exact arithmetic, its body against its reference, and the rules of its nodes."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given

from anybit.number_formats import BipolarFormat, IntFormat
from anybit.ops.quant import QUANT, reference
from tests.ops import exact
from tests.ops.calling import call, rules
from tests.ops.running import assert_same, expanded_model, run_body, run_expanded, run_folded
from tests.strategies import FLOATS, MODES, PARAMETER_TYPES, QuantCase, examples, quant_cases, special_values


@given(quant_cases())
@examples(400)
def test_reference_is_exact_arithmetic_rounded_where_the_formula_rounds(case: QuantCase) -> None:
    expected = exact.elementwise(exact.quant(case.signed, case.narrow, case.mode), *case.inputs)
    assert_same(QUANT.evaluate(case.inputs, case.attributes), expected)


@given(quant_cases(PARAMETER_TYPES[::2]))
@examples(500)
def test_whole_body_is_the_reference(case: QuantCase) -> None:
    assert_same(run_body(QUANT, case.inputs, case.attributes), QUANT.evaluate(case.inputs, case.attributes))


@given(quant_cases(PARAMETER_TYPES[::2]))
@examples(500)
def test_body_with_parameters_as_graph_inputs_is_the_reference(case: QuantCase) -> None:
    assert_same(run_expanded(QUANT, case.inputs, case.attributes), QUANT.evaluate(case.inputs, case.attributes))


@given(quant_cases())
@examples(500)
def test_body_with_constant_parameters_is_the_reference(case: QuantCase) -> None:
    assert_same(run_folded(QUANT, case.inputs, case.attributes), QUANT.evaluate(case.inputs, case.attributes))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("mode", MODES)
def test_special_values(dtype, mode: str) -> None:
    x = special_values(dtype)
    for inputs in ((x, 1.0, 0.0, 8), (x, 0.5, 0.5, 32), (x, 3.0, 1.0, 1)):
        expected = exact.elementwise(exact.quant(1, 0, mode), *inputs)
        assert_same(reference(*inputs, rounding_mode=mode), expected)


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("narrow", [0, 1])
@pytest.mark.parametrize("bits", [8, 24, 25, 31, 32, 48, 53])
def test_float64_saturates_to_the_very_ends_of_the_grid(bits: int, signed: int, narrow: int) -> None:
    y = reference(np.array([-np.inf, -1e300, 1e300, np.inf]), 1.0, 0.0, bits, signed=signed, narrow=narrow)
    lo, hi = exact.bounds(bits, signed, narrow)
    assert [int(v) for v in y] == [lo, lo, hi, hi]


@pytest.mark.parametrize(
    ("dtype", "bits"), [(np.int8, 8), (np.uint8, 8), (np.int32, 32), (np.float16, 16), (np.uint64, 32)]
)
def test_bounds_do_not_overflow_the_type_of_the_bit_width(dtype, bits: int) -> None:
    y = reference(np.array([1e300, -1e300]), 1.0, 0.0, np.array(bits, dtype))
    assert y.tolist() == [2.0 ** (bits - 1) - 1, -(2.0 ** (bits - 1))]


def test_float32_with_a_large_zero_point_is_not_off_by_one() -> None:
    # In float32 the upper bound 2^32 - 1 would be 2^32, and the result 2^31.
    y = reference(np.float32([3e38]), 1.0, 2.0**32 - 256, 32, signed=0)
    assert y.item() == 255


@given(quant_cases(PARAMETER_TYPES[3:5]))
@examples(150)
def test_wide_results_are_within_a_rounding_of_the_rational_result(case: QuantCase) -> None:
    bits = np.full_like(case.bits, 32)
    y = reference(case.x, case.scale, case.zero_point, bits, **case.attributes)
    s, z = (np.broadcast_to(p.astype(np.float32), y.shape) for p in (case.scale, case.zero_point))
    with np.errstate(all="ignore"):
        v = case.x / s + z
    lo, hi = exact.bounds(32, case.signed, case.narrow)
    for k in np.ndindex(y.shape):
        if np.isnan(v[k]):
            continue
        q = exact.rounded(case.mode, Fraction(float(np.clip(np.float64(v[k]), lo, hi))))
        rational = (q - Fraction(float(z[k]))) * Fraction(float(s[k]))
        assert abs(Fraction(float(y[k])) - rational) <= abs(rational) * Fraction(2**24 + 2, 2**48) + Fraction(1, 2**149)


@pytest.mark.parametrize("x", [np.int32([1]), np.array([True]), np.complex64([1])])
def test_only_real_numbers_are_quantised(x) -> None:
    with pytest.raises(TypeError):
        reference(x, 1.0, 0.0, 8)


@pytest.mark.parametrize("bits", [0, -1, 2.5, np.nan, np.inf, [4, 0]])
def test_a_bit_width_is_a_positive_integer(bits) -> None:
    with pytest.raises(ValueError, match="bit width"):
        reference(np.float32([1, 2]), 1.0, 0.0, bits)


@pytest.mark.parametrize("position", [1, 2, 3])
def test_parameters_never_widen_x(position: int) -> None:
    inputs = [np.zeros((1, 3), np.float32), 1.0, 0.0, 8.0]
    for shape in ((2, 1), (2,), (1, 1, 3)):
        inputs[position] = np.ones(shape, np.float32)
        with pytest.raises(ValueError, match="does not broadcast"):
            reference(*inputs)


def test_rounding_modes_in_any_case_and_by_alias() -> None:
    x = np.float32([2.5, -2.5, 1.4])
    for alias, mode in (("half_even", "ROUND"), ("Round_To_Zero", "DOWN"), ("half_up", "HALF_UP")):
        assert_same(reference(x, 1.0, 0.0, 8, rounding_mode=alias), reference(x, 1.0, 0.0, 8, rounding_mode=mode))


def test_inputs_are_not_written_to() -> None:
    x = np.float32([5.0, np.nan])
    x.flags.writeable = False
    assert not np.shares_memory(reference(x, 1.0, 0.0, 3), x)


@pytest.mark.parametrize("mode", MODES)
def test_few_nodes_are_left_when_all_is_constant(mode: str) -> None:
    inputs = [np.dtype(np.float32), np.float32(0.1), np.float32(0), np.float32(4)]
    model = expanded_model(QUANT, [inputs[0], *map(np.asarray, inputs[1:])], {"rounding_mode": mode})
    names = [n.op_type for n in model.graph.node]
    assert names[:2] == ["Div", "Clip"]
    assert len(names) <= {"ROUND": 4, "CEIL": 4, "FLOOR": 4, "UP": 7, "DOWN": 7}.get(mode, 12)


GOOD = {"scale": np.float32(0.1), "zeropt": np.float32(0.5), "bitwidth": np.int8(8)}


@pytest.mark.parametrize(
    ("change", "attributes", "expected"),
    [
        ({}, {}, []),
        ({"bitwidth": np.full((2, 1), 3.0)}, {"signed": 0, "narrow": 1, "rounding_mode": "half_even"}, []),
        ({"scale": np.float32(0)}, {}, ["scale"]),
        ({"scale": np.float32([1, -1, 1])}, {}, ["scale"]),
        ({"scale": np.float32(np.nan)}, {}, ["scale"]),
        ({"scale": np.float32(np.inf)}, {}, ["scale"]),
        ({"zeropt": np.float32(np.nan)}, {}, ["zero-point"]),
        ({"zeropt": np.float32([np.nan] * 3)}, {}, ["zero-point"]),
        ({"zeropt": np.float32([0, np.inf, 0])}, {}, ["zero-point"]),
        ({"bitwidth": np.float32(2.5)}, {}, ["bit-width"]),
        ({"bitwidth": np.int64(0)}, {}, ["bit-width"]),
        ({"bitwidth": np.float32([4, np.nan, np.nan])}, {}, ["bit-width"]),
        ({"bitwidth": np.float32([np.nan] * 3)}, {}, ["bit-width"]),
        ({"bitwidth": np.float32(np.inf)}, {}, ["bit-width"]),
        ({"scale": np.ones((2,))}, {}, ["broadcast"]),
        ({"zeropt": np.ones((1, 2, 3))}, {}, ["broadcast"]),
        ({"bitwidth": np.ones((3, 1))}, {}, ["broadcast"]),
        ({}, {"signed": 2}, ["attribute"]),
        ({}, {"narrow": -1}, ["attribute"]),
        ({}, {"rounding_mode": "NEAREST"}, ["rounding-mode"]),
        ({"scale": np.float32(0), "bitwidth": np.int8(0)}, {"signed": 7}, ["scale", "bit-width", "attribute"]),
    ],
)
def test_rules(change, attributes, expected: list[str]) -> None:
    assert rules(QUANT, call(QUANT, GOOD | change, attributes=attributes)) == expected


def test_nothing_is_found_where_nothing_is_known() -> None:
    assert rules(QUANT, call(QUANT, {}, x_shape=None)) == []
    assert rules(QUANT, call(QUANT, {"scale": np.ones(3)}, x_shape=(None, None))) == []
    assert rules(QUANT, call(QUANT, {"scale": np.ones(3)}, x_shape=None)) == []


@pytest.mark.parametrize(
    ("bits", "signed", "expected"),
    [
        (np.int8(4), 1, IntFormat(4, signed=True)),
        (np.float32([[3.0, 3.0]]), 0, IntFormat(3, signed=False)),
        (np.int8(1), 1, BipolarFormat()),
        (np.int8(1), 0, IntFormat(1, signed=False)),
        (np.float32([3, 4]), 1, None),
        (np.float32(2.5), 1, None),
        (np.float32(0), 1, None),
        (np.float32(np.nan), 1, None),
        (np.float32([]), 1, None),
    ],
)
def test_number_format(bits, signed: int, expected) -> None:
    assert QUANT.number_format(call(QUANT, {"bitwidth": bits}, attributes={"signed": signed})) == expected


@given(quant_cases(PARAMETER_TYPES[3:4]))
@examples(100)
def test_the_number_format_has_every_integer_that_comes_out(case: QuantCase) -> None:
    bits = np.full((), case.bits.flat[0] if case.bits.size else 4)
    y = reference(case.x, 1.0, 0.0, bits, **case.attributes)
    made = call(QUANT, {"bitwidth": bits}, attributes=case.attributes)
    if bits <= 24:  # beyond, float32 does not hold the ends of the grid
        assert QUANT.number_format(made).allows(y[~np.isnan(y)]).all()
