"""MultiThreshold against exact arithmetic, its body against its reference, and the rules of its nodes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from anybit.ops.multi_threshold import MULTI_THRESHOLD
from tests.ops import exact
from tests.ops.running import assert_same, run_body, run_expanded, run_folded
from tests.strategies import Case, multi_threshold_cases, examples


@given(multi_threshold_cases())
@examples(300)
def test_reference_is_exact_arithmetic_rounded_where_the_formula_rounds(case: Case) -> None:
    a = case.attributes
    axis = -1 if a["data_layout"].endswith("C") and a["data_layout"] != "NC" else 1
    expected = exact.multi_threshold(*case.inputs, axis, a["out_scale"], a["out_bias"])
    assert_same(MULTI_THRESHOLD.evaluate(case.inputs, case.attributes), expected)


@given(multi_threshold_cases())
@examples(300)
def test_whole_body_is_the_reference(case: Case) -> None:
    assert_same(run_body(MULTI_THRESHOLD, case.inputs, case.attributes), MULTI_THRESHOLD.evaluate(case.inputs, case.attributes))


@given(multi_threshold_cases())
@examples(300)
def test_body_with_parameters_as_graph_inputs_is_the_reference(case: Case) -> None:
    expected = MULTI_THRESHOLD.evaluate(case.inputs, case.attributes)
    assert_same(run_expanded(MULTI_THRESHOLD, case.inputs, case.attributes), expected)


@given(multi_threshold_cases())
@examples(300)
def test_body_with_constant_parameters_is_the_reference(case: Case) -> None:
    assert_same(run_folded(MULTI_THRESHOLD, case.inputs, case.attributes), MULTI_THRESHOLD.evaluate(case.inputs, case.attributes))
