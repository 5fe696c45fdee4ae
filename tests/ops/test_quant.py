"""Quant against exact arithmetic, its body against its reference, and the rules of its nodes."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given

from anybit.datatypes import BipolarType, IntType
from anybit.ops.quant import QUANT, reference
from tests.ops import exact
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
