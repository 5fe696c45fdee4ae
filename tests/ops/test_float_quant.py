"""FloatQuant against exact arithmetic, its body against its reference, and the rules of its nodes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from anybit.ops.float_quant import FLOAT_QUANT
from tests.ops import exact
from tests.ops.calling import call, rules
from tests.ops.running import assert_same, run_body, run_expanded, run_folded
from tests.strategies import MODES, Case, examples, float_quant_cases


@given(float_quant_cases())
@examples(300)
def test_reference_is_exact_arithmetic_rounded_where_the_formula_rounds(case: Case) -> None:
    a = case.attributes
    oracle = exact.float_quant(a["rounding_mode"], a["saturation"], a["has_inf"])
    expected = exact.elementwise(oracle, *case.inputs)
    assert_same(FLOAT_QUANT.evaluate(case.inputs, case.attributes), expected)


@given(float_quant_cases())
@examples(300)
def test_whole_body_is_the_reference(case: Case) -> None:
    assert_same(run_body(FLOAT_QUANT, case.inputs, case.attributes), FLOAT_QUANT.evaluate(case.inputs, case.attributes))


@given(float_quant_cases())
@examples(300)
def test_body_with_parameters_as_graph_inputs_is_the_reference(case: Case) -> None:
    expected = FLOAT_QUANT.evaluate(case.inputs, case.attributes)
    assert_same(run_expanded(FLOAT_QUANT, case.inputs, case.attributes), expected)


@given(float_quant_cases())
@examples(300)
def test_body_with_constant_parameters_is_the_reference(case: Case) -> None:
    assert_same(
        run_folded(FLOAT_QUANT, case.inputs, case.attributes), FLOAT_QUANT.evaluate(case.inputs, case.attributes)
    )


E4M3 = (1.0, 4, 3, 7, 448.0)


@pytest.mark.parametrize(
    ("mode", "expected"), [("FLOOR", 6.0), ("DOWN", 6.0), ("CEIL", 8.0), ("UP", 8.0), ("ROUND", 8.0)]
)
@pytest.mark.parametrize(
    "run", [FLOAT_QUANT.evaluate, *(lambda i, a, r=r: r(FLOAT_QUANT, i, a) for r in (run_body, run_folded))]
)
def test_the_exponent_just_below_a_power_of_two(run, mode: str, expected: float) -> None:
    x = np.nextafter(np.float32([8]), np.float32(0))
    inputs = [x, *(np.asarray(p, np.float32) for p in (1.0, 4, 1, 7, 480.0))]
    assert run(inputs, {"rounding_mode": mode}).item() == expected


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("power", [*range(-30, 16), -24, -149, -300])
def test_neighbours_of_every_power_of_two(dtype, power: int) -> None:
    with np.errstate(all="ignore"):
        x = dtype(2.0**power)
        x = np.array([np.nextafter(x, dtype(0)), x, np.nextafter(x, dtype(9e9))])
    inputs = [x, *(np.asarray(p, dtype) for p in (1.0, 5, 2, 15, 57344.0))]
    for mode in ("FLOOR", "CEIL", "ROUND"):
        attributes = {"rounding_mode": mode}
        y = FLOAT_QUANT.evaluate(inputs, attributes)
        assert_same(y, exact.elementwise(exact.float_quant(mode, 1, 0), *inputs))
        assert_same(run_body(FLOAT_QUANT, inputs, attributes), y)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, [448.0, -448.0, 448.0, -448.0]),
        ({"has_inf": 1, "has_nan": 1}, [448.0, -448.0, 448.0, -448.0]),
        ({"saturation": 0, "has_inf": 1}, [np.inf, -np.inf, np.inf, -np.inf]),
        ({"saturation": 0, "has_inf": 1, "has_nan": 1}, [np.inf, -np.inf, np.inf, -np.inf]),
        ({"saturation": 0, "has_nan": 1}, [np.nan] * 4),
    ],
)
def test_overflow(attributes, expected: list[float]) -> None:
    x = np.float32([1e4, -1e4, np.inf, -np.inf])
    np.testing.assert_array_equal(FLOAT_QUANT.reference(x, *E4M3, **attributes), np.float32(expected))


@pytest.mark.parametrize("run", [run_body, run_expanded, run_folded])
def test_a_largest_value_below_the_smallest_number_still_saturates(run) -> None:
    inputs = [np.float32([100.0, -100.0, 0.2]), *(np.asarray(p, np.float32) for p in (1.0, 4, 0, 0, 0.5))]
    attributes = {"rounding_mode": "FLOOR"}
    assert FLOAT_QUANT.evaluate(inputs, attributes).tolist() == [0.5, -0.5, 0.0]
    assert_same(run(FLOAT_QUANT, inputs, attributes), FLOAT_QUANT.evaluate(inputs, attributes))


def test_bias_zero_is_a_bias() -> None:
    assert FLOAT_QUANT.reference(np.float32([1.0]), 1.0, 4, 3, 0, 1e9).item() == 1.0
    assert FLOAT_QUANT.reference(np.float32([0.3]), 1.0, 4, 3, 0, 1e9).item() == 0.25  # a subnormal of step 1/4


def test_every_number_of_a_format_is_kept() -> None:
    magnitudes = [m * 2.0 ** (1 - 7 - 3) for m in range(8)]
    magnitudes += [(1 + m / 8) * 2.0 ** (e - 7) for e in range(1, 16) for m in range(8)]
    x = np.float32(magnitudes + [-m for m in magnitudes])
    for mode in MODES:
        np.testing.assert_array_equal(FLOAT_QUANT.reference(x, 1.0, 4, 3, 7, 480.0, rounding_mode=mode), x)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="overflow"):
        FLOAT_QUANT.reference(np.float32([1]), *E4M3, saturation=0)
    with pytest.raises(TypeError):
        FLOAT_QUANT.reference(np.int32([1]), *E4M3)
    with pytest.raises(ValueError, match="does not broadcast"):
        FLOAT_QUANT.reference(np.float32([1]), 1.0, 4, np.float32([3, 3]), 7, 448.0)


GOOD = {"scale": 1.0, "exponent_bitwidth": 4, "mantissa_bitwidth": 3, "exponent_bias": 7, "max_val": 448.0}


@pytest.mark.parametrize(
    ("change", "attributes", "expected"),
    [
        ({}, {}, []),
        ({"exponent_bias": -3, "mantissa_bitwidth": 0}, {"saturation": 0, "has_nan": 1}, []),
        ({"scale": -1.0}, {}, ["scale"]),
        ({"max_val": 0.0}, {}, ["scale"]),
        ({"exponent_bitwidth": -1}, {}, ["bit-width"]),
        ({"mantissa_bitwidth": 2.5}, {}, ["bit-width"]),
        ({"mantissa_bitwidth": np.float32([np.nan] * 3)}, {}, ["bit-width"]),
        ({"exponent_bias": 0.5}, {}, ["bit-width"]),
        ({"exponent_bias": np.zeros((2, 2))}, {}, ["broadcast"]),
        ({}, {"has_inf": 2}, ["attribute"]),
        ({}, {"has_subnormal": 2}, ["attribute"]),
        ({}, {"rounding_mode": "x"}, ["rounding-mode"]),
        ({}, {"saturation": 0}, ["overflow"]),
    ],
)
def test_rules(change, attributes, expected: list[str]) -> None:
    assert rules(FLOAT_QUANT, call(FLOAT_QUANT, GOOD | change, attributes=attributes)) == expected


def test_number_format() -> None:
    assert str(FLOAT_QUANT.number_format(call(FLOAT_QUANT, GOOD))) == "FLOAT<4,3,7>"
    for change in (
        {"exponent_bias": np.nan},
        {"exponent_bias": 0.5},
        {"exponent_bitwidth": 0},
        {"mantissa_bitwidth": -1},
        {"mantissa_bitwidth": np.ones(3)},
    ):
        assert FLOAT_QUANT.number_format(call(FLOAT_QUANT, GOOD | change)) is None
    assert FLOAT_QUANT.number_format(call(FLOAT_QUANT, {})) is None


@pytest.mark.parametrize("run", [run_body, run_folded])
def test_powers_of_two_whose_logarithms_come_out_too_small_or_too_large(run) -> None:
    powers = np.exp2(np.arange(-990.0, 20.0))
    x = np.concatenate([np.nextafter(powers, 0), powers, np.nextafter(powers, np.inf)])
    inputs = [x, *(np.asarray(p, np.float64) for p in (1.0, 10, 2, 1000, 1e6))]
    for mode in ("FLOOR", "CEIL"):
        expected = exact.elementwise(exact.float_quant(mode, 1, 0), *inputs)
        assert_same(FLOAT_QUANT.evaluate(inputs, {"rounding_mode": mode}), expected)
        assert_same(run(FLOAT_QUANT, inputs, {"rounding_mode": mode}), expected)
