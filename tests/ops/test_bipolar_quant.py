"""BipolarQuant against exact arithmetic, its body against its reference, and the rules of its nodes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from anybit.ops.bipolar_quant import BIPOLAR_QUANT
from tests.ops import exact
from tests.ops.calling import call, rules
from tests.ops.running import assert_same, run_body, run_expanded, run_folded
from tests.strategies import Case, bipolar_cases, examples


@given(bipolar_cases())
@examples(300)
def test_reference_is_exact_arithmetic_rounded_where_the_formula_rounds(case: Case) -> None:
    expected = exact.elementwise(exact.bipolar, *case.inputs)
    assert_same(BIPOLAR_QUANT.evaluate(case.inputs, case.attributes), expected)


@given(bipolar_cases())
@examples(300)
def test_whole_body_is_the_reference(case: Case) -> None:
    assert_same(
        run_body(BIPOLAR_QUANT, case.inputs, case.attributes), BIPOLAR_QUANT.evaluate(case.inputs, case.attributes)
    )


@given(bipolar_cases())
@examples(300)
def test_body_with_parameters_as_graph_inputs_is_the_reference(case: Case) -> None:
    expected = BIPOLAR_QUANT.evaluate(case.inputs, case.attributes)
    assert_same(run_expanded(BIPOLAR_QUANT, case.inputs, case.attributes), expected)


@given(bipolar_cases())
@examples(300)
def test_body_with_constant_parameters_is_the_reference(case: Case) -> None:
    assert_same(
        run_folded(BIPOLAR_QUANT, case.inputs, case.attributes), BIPOLAR_QUANT.evaluate(case.inputs, case.attributes)
    )


def test_zero_of_either_sign_is_positive_and_nan_stays() -> None:
    y = BIPOLAR_QUANT.reference(np.float32([0.0, -0.0, -1e-45, np.nan, np.inf, -np.inf]), 0.5)
    np.testing.assert_array_equal(y, np.float32([0.5, 0.5, -0.5, np.nan, 0.5, -0.5]))


def test_a_scale_beyond_float16_is_infinite() -> None:
    assert BIPOLAR_QUANT.reference(np.float16([1, -1]), np.float32(1e6)).tolist() == [np.inf, -np.inf]


def test_refusals() -> None:
    with pytest.raises(TypeError):
        BIPOLAR_QUANT.reference(np.int8([1]), 1.0)
    with pytest.raises(ValueError, match="does not broadcast"):
        BIPOLAR_QUANT.reference(np.float32([1]), np.float32([1, 2]))


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        (np.float32(1), []),
        (np.ones((2, 1)), []),
        (np.float32(-1), ["scale"]),
        (np.float32(np.nan), ["scale"]),
        (np.ones((2, 2)), ["broadcast"]),
        (np.zeros((2, 2)), ["scale", "broadcast"]),
    ],
)
def test_rules(scale, expected: list[str]) -> None:
    assert rules(BIPOLAR_QUANT, call(BIPOLAR_QUANT, {"scale": scale})) == expected


def test_number_format_is_bipolar() -> None:
    assert str(BIPOLAR_QUANT.number_format(call(BIPOLAR_QUANT, {}))) == "BIPOLAR"
