"""convert: what it writes is compared with the source, and a departure is refused."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import helper

import anybit
from anybit.exact.certificate import Assumption, Verdict
from anybit.formats.convert import WRITERS, translate
from anybit.graph.annotations import annotate_number_format
from anybit.io.load import load
from anybit.number_formats import IntFormat
from anybit.runtime import convert as module
from anybit.runtime.convert import convert
from tests.exact.test_equivalence import CHANGES, changed
from tests.models import mlp, model, parameters, quant


@pytest.mark.parametrize("to", list(WRITERS))
def test_every_format_is_compared(to):
    made = convert(mlp(), to)
    assert not made.refusals
    assert made.certificate is not None
    assert made.certificate.verdict is not Verdict.DIFFERENT
    assert made.certificate.samples > 100


@pytest.mark.parametrize("change", ["negated", "one weight", "swapped"])
@pytest.mark.parametrize("to", list(WRITERS))
def test_a_departure_is_refused(monkeypatch, to, change: str):
    wrong = changed(mlp(), "w", CHANGES[change])
    monkeypatch.setattr(module, "translate", lambda _, to, **options: translate(wrong, to, **options))
    made = convert(mlp(), to)
    assert made.certificate is not None
    assert made.certificate.verdict is Verdict.DIFFERENT
    (refusal,) = made.refusals
    assert refusal.node == "output 'y'"
    assert "bug" in refusal.problem
    found = made.certificate.counter_example
    results = [anybit.run(m, dict(found.inputs), engine="reference")["y"] for m in (mlp(), wrong)]
    assert np.abs(results[0] - results[1]).max() == found.largest > 0


def test_a_proof_does_not_excuse_a_departure(monkeypatch):
    """What reads both models wrongly in one way proves them equal; running them does not."""
    wrong = changed(mlp(), "w", CHANGES["negated"])
    monkeypatch.setattr(module, "translate", lambda _, to, **options: translate(wrong, to, **options))
    proven = replace(anybit.verify(mlp(), mlp()), samples=0)
    assert proven.verdict.is_exact
    monkeypatch.setattr(module, "certify", lambda *_: proven)
    made = convert(mlp(), "qonnx")
    assert made.certificate is not None
    assert made.certificate.verdict is Verdict.DIFFERENT
    assert made.refusals


def test_without_the_check_nothing_is_compared(monkeypatch):
    monkeypatch.setattr(module, "certify", None)
    made = convert(mlp(), "qcdq", check=False)
    assert made.certificate is None
    assert not made.refusals


def test_a_stated_approximation_may_depart():
    nodes = [quant("x", "y", rounding_mode="FLOOR")]
    floor = model(nodes, parameters("y", scale=0.5), inputs={"x": [1, 4]}, outputs=["y"])
    made = convert(floor, "qcdq", approximate=True)
    assert made.approximations
    assert not made.refusals
    assert made.certificate is not None
    assert made.certificate.verdict is Verdict.DIFFERENT
    assert made.certificate.counter_example.largest == 0.5


def test_models_that_cannot_be_run_are_said_to_be_unrun():
    nodes = [helper.make_node("Unknown", ["x"], ["u"], domain="somewhere"), quant("u", "y")]
    imports = {"": 21, "somewhere": 1, "qonnx.custom_op.general": 1}
    source = model(nodes, parameters("y"), inputs={"x": [1, 4]}, outputs=["y"], imports=imports)
    made = convert(source, "qonnx")
    assert made.certificate is not None
    assert made.certificate.samples == 0
    assert any("not run" in note and "Unknown" in note for note in made.certificate.notes)


def test_large_tensors_are_compared_on_fewer_samples():
    """Nodes without products take time as well: the samples are bounded by the numbers that they make."""
    runs = []
    for size in (4, 1 << 22):
        nodes = [quant("x", "q"), *(helper.make_node("Neg", [a], [b]) for a, b in itertools.pairwise("qabcdy"))]
        made = convert(model(nodes, parameters("q"), inputs={"x": [1, size]}, outputs=["y"]), "qonnx")
        assert not made.refusals
        assert made.certificate is not None
        runs.append(made.certificate.samples)
    assert runs[0] > 100
    assert 0 < runs[1] < 20


def test_free_dimensions_get_a_size():
    nodes = [quant("x", "q"), helper.make_node("Transpose", ["q"], ["y"], perm=[0, 2, 1])]
    source = model(nodes, parameters("q"), inputs={"x": ["N", "C", "T"]}, outputs=["y"])
    made = convert(source, "qcdq")
    assert made.certificate is not None
    assert made.certificate.samples > 0


def annotated(*datatypes: IntFormat | None) -> onnx.ModelProto:
    """x -> MatMul by quantised weights -> Quant, with a stated number format of each input."""
    rng = np.random.default_rng(0)
    known = {"w": rng.integers(-3, 4, (6, 3)).astype(np.float32)}
    known |= parameters("wq", scale=1.0, bits=3.0) | parameters("y", scale=32.0, bits=8.0)
    nodes = [quant("w", "wq"), helper.make_node("MatMul", ["x", "wq"], ["h"]), quant("h", "y")]
    loaded = load(model(nodes, known, inputs={"x": [1, 6]}, outputs=["y"]))
    for value, datatype in zip(loaded.graph.inputs, datatypes, strict=True):
        annotate_number_format(value, datatype)
    return anybit.to_proto(loaded)


_UINT8 = IntFormat(8, signed=False)


@pytest.mark.parametrize("to", ["integer-ops", "quantized-ops", "finn"])
def test_a_conversion_says_what_it_assumes(to):
    made = convert(annotated(_UINT8), to)
    assert not made.refusals
    assert made.certificate is not None
    assert made.certificate.assumptions == (Assumption("x", _UINT8),)
    assert str(made.certificate.assumptions[0]) == "for x in UINT8, as the file states"


def test_nothing_is_assumed_where_the_proof_needs_nothing():
    made = convert(annotated(_UINT8), "qcdq")
    assert made.certificate is not None
    assert made.certificate.verdict.is_exact
    assert not made.certificate.assumptions


def test_verify_assumes_what_both_files_state():
    source, written = annotated(_UINT8), convert(annotated(_UINT8), "integer-ops").model
    certificate = anybit.verify(source, written)
    assert certificate.verdict is Verdict.EXACT_BY_ENUMERATION
    assert certificate.assumptions == (Assumption("x", _UINT8),)
    without = anybit.verify(source, written, assume_annotations=False)
    assert without.verdict is Verdict.DIFFERENT
    assert not without.assumptions
    x = without.counter_example.inputs["x"]
    assert not _UINT8.allows(x).all()


def test_a_format_that_one_file_states_is_assumed_only_when_asked_for():
    written = convert(annotated(_UINT8), "integer-ops").model
    assert anybit.verify(annotated(None), written).verdict is Verdict.DIFFERENT
    assert anybit.verify(annotated(None), written, assume_annotations=True).verdict.is_exact
    other = annotated(IntFormat(8, signed=True))
    assert anybit.verify(other, written).verdict is Verdict.DIFFERENT
    assert anybit.verify(other, written, assume_annotations=True).verdict is Verdict.DIFFERENT


def test_a_counter_example_keeps_to_the_assumption():
    source = annotated(_UINT8)
    wrong = convert(changed(source, "w", CHANGES["negated"]), "integer-ops").model
    certificate = anybit.verify(source, wrong)
    assert certificate.verdict is Verdict.DIFFERENT
    assert certificate.assumptions
    assert _UINT8.allows(certificate.counter_example.inputs["x"]).all()
