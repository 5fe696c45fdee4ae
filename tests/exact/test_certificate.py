"""Certificates: which verdicts are proofs, what is stated where nothing is, and the bound of several outputs."""

from __future__ import annotations

import pytest

from anybit.exact.certificate import Assumption, Certificate, TensorProof, Verdict
from anybit.number_formats import IntFormat


@pytest.mark.parametrize(
    ("verdict", "exact", "proof"),
    [
        (Verdict.EXACT_BY_CONSTRUCTION, True, True),
        (Verdict.EXACT_BY_ENUMERATION, True, True),
        (Verdict.EXACT_BUT_FOR_FLOAT_ROUNDING, False, True),
        (Verdict.DIFFERENT, False, False),
        (Verdict.UNDECIDED, False, False),
    ],
)
def test_proofs_are_those_of_equality_or_of_a_bound(verdict: Verdict, exact: bool, proof: bool):
    assert (verdict.is_exact, verdict.is_proof) == (exact, proof)


def test_a_proof_by_construction_tries_nothing():
    made = TensorProof("a", "b", Verdict.EXACT_BY_CONSTRUCTION)
    assert (made.values, made.steps, made.bound, made.detail) == (0, 0, 0.0, "")


@pytest.mark.parametrize("verdict", Verdict)
def test_the_bound_is_that_of_the_output_that_may_differ_most(verdict: Verdict):
    outputs = tuple(TensorProof("y", "y", verdict, bound=bound) for bound in (0.25, 0.5, 0.0))
    expected = 0.5 if verdict.is_proof else float("inf")
    made = Certificate(verdict, (), outputs)
    assert made.bound == expected
    assert Certificate(verdict, outputs, ()).bound == (0.0 if verdict.is_proof else float("inf"))
    assert (made.notes, made.assumptions, made.samples, made.counter_example) == ((), (), 0, None)


def test_an_assumption_names_the_input_and_its_format():
    assert str(Assumption("x", IntFormat(4, signed=False))) == "for x in UINT4, as the file states"
