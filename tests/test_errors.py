"""What messages say."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from anybit import errors
from anybit.errors import AnybitError, Diagnosis, Finding, Refusal, Severity, UsageError

LEAVES = [getattr(errors, n) for n in dir(errors) if n.endswith("Error") and n != "AnybitError"]


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({}, "shape"),
        ({"node": "Quant 'a'"}, "Quant 'a': shape"),
        ({"got": "3"}, "shape: got 3"),
        ({"expected": "4"}, "shape: expected 4"),
        ({"hint": "reshape it"}, "shape; reshape it"),
        ({"node": "n", "got": "3", "expected": "4", "hint": "reshape it"}, "n: shape: got 3, expected 4; reshape it"),
    ],
)
def test_a_diagnosis_reads_node_problem_got_expected_hint(parts: dict[str, str], text: str) -> None:
    assert str(Diagnosis(problem="shape", **parts)) == text
    assert str(Refusal(problem="shape", **parts)) == text
    assert str(Finding(problem="shape", rule="r", **parts)) == f"error [r] {text}"
    assert str(UsageError("shape", **parts)) == text


def test_a_finding_says_how_bad_it_is() -> None:
    assert str(Finding(problem="p", rule="r", severity=Severity.WARNING)) == "warning [r] p"
    assert Finding(problem="p", rule="r").severity is Severity.ERROR


def test_got_may_be_any_object_zero_included() -> None:
    assert str(UsageError("bits", got=0, expected=[1, 2])) == "bits: got 0, expected [1, 2]"


@pytest.mark.parametrize("kind", LEAVES)
def test_errors_are_one_tree_and_survive_pickling(kind: type[AnybitError]) -> None:
    assert issubclass(kind, AnybitError)
    assert kind.__doc__
    error = kind("p", node="n", got=1, expected=2, hint="h")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  our own bytes
    assert type(copy) is kind
    assert copy.diagnosis == error.diagnosis
    assert str(copy) == str(error)


def test_diagnoses_are_values() -> None:
    made = Diagnosis(problem="p")
    assert made == Diagnosis(problem="p")
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.problem = "q"  # type: ignore[misc]
