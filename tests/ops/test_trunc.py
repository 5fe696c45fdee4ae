"""Trunc, versions 1 and 2, against exact arithmetic; its bodies against its references; the rules of its nodes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from anybit.number_formats import IntFormat
from anybit.ops.trunc import TRUNC, TRUNC_1, reference, reference_1
from tests.ops import exact
from tests.ops.calling import call, rules
from tests.ops.running import assert_same, run_body, run_expanded, run_folded
from tests.strategies import Case, examples, trunc_1_cases, trunc_2_cases

RUNNERS = pytest.mark.parametrize("run", [run_body, run_expanded, run_folded])


@given(trunc_1_cases())
@examples(300)
def test_version_1_is_exact_arithmetic_rounded_where_the_formula_rounds(case: Case) -> None:
    expected = exact.elementwise(exact.trunc_1(case.attributes["rounding_mode"]), *case.inputs)
    assert_same(TRUNC_1.evaluate(case.inputs, case.attributes), expected)


@given(trunc_2_cases())
@examples(300)
def test_version_2_is_exact_arithmetic_rounded_where_the_formula_rounds(case: Case) -> None:
    a = case.attributes
    expected = exact.elementwise(exact.trunc_2(a["signed"], a["narrow"], a["rounding_mode"]), *case.inputs)
    assert_same(TRUNC.evaluate(case.inputs, a), expected)


@RUNNERS
@given(case=trunc_1_cases())
@examples(250)
def test_body_of_version_1_is_the_reference(run, case: Case) -> None:
    assert_same(run(TRUNC_1, case.inputs, case.attributes), TRUNC_1.evaluate(case.inputs, case.attributes))


@RUNNERS
@given(case=trunc_2_cases())
@examples(250)
def test_body_of_version_2_is_the_reference(run, case: Case) -> None:
    assert_same(run(TRUNC, case.inputs, case.attributes), TRUNC.evaluate(case.inputs, case.attributes))


def test_version_1_keeps_the_scale_and_version_2_enlarges_it() -> None:
    x = np.float32([17.0])
    assert reference_1(x, 1.0, 0.0, 8, 4).tolist() == [1.0]
    assert reference(x, 1.0, 0.0, 8, 16.0, 4).tolist() == [16.0]


def test_version_1_does_not_clip() -> None:
    assert reference_1(np.float32([4096.0]), 1.0, 0.0, 8, 4).tolist() == [256.0]


def test_x_is_brought_back_to_its_integer_grid_first() -> None:
    # 15.9999 is the integer 16 of a sum that float32 did not hit; FLOOR alone would lose a step.
    assert reference_1(np.float32([15.9999]), 1.0, 0.0, 8, 4).tolist() == [1.0]
    assert reference(np.float32([15.9999]), 1.0, 0.0, 8, 16.0, 4).tolist() == [16.0]


@pytest.mark.parametrize(
    "run", [reference, lambda *i: run_body(TRUNC, _arrays(i), {}), lambda *i: run_folded(TRUNC, _arrays(i), {})]
)
@pytest.mark.parametrize("power", [-3, 0, 4])
@pytest.mark.parametrize(("ratio", "step"), [(np.nextafter(2**0.5, 0), 1), (2**0.5, 2)])
def test_the_ratio_of_the_scales_goes_to_the_nearer_power_of_two(run, power: int, ratio: float, step: int) -> None:
    # The float64 nearest to the square root of 2 lies above it.
    out_scale = ratio * 2.0**power
    y = run(np.array([64.0]), 1.0, 0.0, 8, out_scale, 12)
    assert y.item() == np.floor(64 / (step * 2.0**power)) * out_scale


def _arrays(inputs) -> list[np.ndarray]:
    return [np.asarray(i, np.float64) for i in inputs]


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("narrow", [0, 1])
@pytest.mark.parametrize("bits", [1, 8, 25, 32])
def test_float64_saturates_to_the_very_ends_of_the_output_grid(bits: int, signed: int, narrow: int) -> None:
    y = reference(np.array([-np.inf, np.inf]), 1.0, 0.0, 8, 2.0, bits, signed=signed, narrow=narrow)
    assert [int(v) // 2 for v in y] == list(exact.bounds(bits, signed, narrow))


def test_refusals() -> None:
    with pytest.raises(TypeError):
        reference_1(np.int8([1]), 1.0, 0.0, 8, 4)
    with pytest.raises(ValueError, match="bit width"):
        reference(np.float32([1]), 1.0, 0.0, 8.5, 2.0, 4)
    with pytest.raises(ValueError, match="does not broadcast"):
        reference(np.float32([1]), 1.0, 0.0, 8, np.ones(2), 4)


GOOD_1 = {"scale": 0.5, "zeropt": 0.0, "in_bitwidth": 8, "out_bitwidth": 4}
GOOD_2 = GOOD_1 | {"out_scale": 8.0}


@pytest.mark.parametrize("operator", [TRUNC_1, TRUNC])
@pytest.mark.parametrize(
    ("change", "attributes", "expected"),
    [
        ({}, {}, []),
        ({}, {"rounding_mode": "round_to_zero"}, []),
        ({"scale": 0.0}, {}, ["scale"]),
        ({"zeropt": np.inf}, {}, ["zero-point"]),
        ({"in_bitwidth": 0}, {}, ["bit-width"]),
        ({"out_bitwidth": 3.5}, {}, ["bit-width"]),
        ({"in_bitwidth": np.ones((2, 2))}, {}, ["broadcast"]),
        ({"scale": np.ones((1, 1, 1))}, {}, ["broadcast"]),
        ({}, {"rounding_mode": ""}, ["rounding-mode"]),
    ],
)
def test_rules_of_both_versions(operator, change, attributes, expected: list[str]) -> None:
    good = GOOD_1 if operator is TRUNC_1 else GOOD_2
    assert rules(operator, call(operator, good | change, attributes=attributes)) == expected


@pytest.mark.parametrize(
    ("change", "attributes", "expected"),
    [
        ({"out_scale": -1.0}, {}, ["scale"]),
        ({"out_scale": np.ones(4)}, {}, ["broadcast"]),
        ({}, {"signed": 3}, ["attribute"]),
        ({}, {"narrow": 3}, ["attribute"]),
    ],
)
def test_rules_of_version_2(change, attributes, expected: list[str]) -> None:
    assert rules(TRUNC, call(TRUNC, GOOD_2 | change, attributes=attributes)) == expected


def test_number_format() -> None:
    assert TRUNC.number_format(call(TRUNC, GOOD_2)) == IntFormat(4, signed=True)
    assert TRUNC.number_format(call(TRUNC, GOOD_2, attributes={"signed": 0})) == IntFormat(4, signed=False)
    assert TRUNC.number_format(call(TRUNC, {"out_bitwidth": 2.5})) is None
    assert TRUNC.number_format(call(TRUNC, {})) is None


@pytest.mark.parametrize("run", [TRUNC.evaluate, *(lambda i, a, r=r: r(TRUNC, i, a) for r in (run_body, run_folded))])
def test_float32_with_a_large_zero_point_is_not_off_by_one(run) -> None:
    # In float32 the upper bound 2^25 - 1 would be 2^25, and the result 2^24.
    inputs = [np.float32([3e38]), *(np.asarray(p, np.float32) for p in (1, 2**24, 25, 1, 25))]
    assert run(inputs, {"signed": 0}).item() == 2**24 - 1
