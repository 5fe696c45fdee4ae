"""FloatQuant against exact arithmetic, its body against its reference, and the rules of its nodes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from anybit.ops.float_quant import FLOAT_QUANT
from tests.ops import exact
from tests.ops.running import assert_same, run_body, run_expanded, run_folded
from tests.strategies import Case, float_quant_cases, examples


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
    assert_same(run_folded(FLOAT_QUANT, case.inputs, case.attributes), FLOAT_QUANT.evaluate(case.inputs, case.attributes))
