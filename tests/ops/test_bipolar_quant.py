"""BipolarQuant against exact arithmetic, its body against its reference, and the rules of its nodes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from anybit.ops.bipolar_quant import BIPOLAR_QUANT
from tests.ops import exact
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
    assert_same(run_body(BIPOLAR_QUANT, case.inputs, case.attributes), BIPOLAR_QUANT.evaluate(case.inputs, case.attributes))


@given(bipolar_cases())
@examples(300)
def test_body_with_parameters_as_graph_inputs_is_the_reference(case: Case) -> None:
    expected = BIPOLAR_QUANT.evaluate(case.inputs, case.attributes)
    assert_same(run_expanded(BIPOLAR_QUANT, case.inputs, case.attributes), expected)


@given(bipolar_cases())
@examples(300)
def test_body_with_constant_parameters_is_the_reference(case: Case) -> None:
    assert_same(run_folded(BIPOLAR_QUANT, case.inputs, case.attributes), BIPOLAR_QUANT.evaluate(case.inputs, case.attributes))
