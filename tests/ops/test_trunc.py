"""Trunc, versions 1 and 2, against exact arithmetic; its bodies against its references; the rules of its nodes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from anybit.datatypes import IntType
from anybit.ops.trunc import TRUNC, TRUNC_1, reference, reference_1
from tests.ops import exact
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
