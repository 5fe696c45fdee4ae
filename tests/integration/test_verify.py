"""Real models, and what is proven of their other exports."""

from __future__ import annotations

import numpy as np
import pytest

import anybit
from anybit.cleanup.clean import clean
from anybit.exact.certificate import Verdict
from anybit.formats.certify import certify
from anybit.formats.convert import translate
from anybit.runtime.verify import verify
from tests.integration.corpus import CORPUS, needs_corpus


@needs_corpus
@pytest.mark.parametrize("name", ["tfc_2w2a", "cnv_2w2a"])
@pytest.mark.parametrize("other", ["model_qcdq.onnx", "model_dynamo.onnx"])
def test_exports_of_one_network_are_equal(name: str, other: str):
    certificate = certify(CORPUS / name / "model.onnx", CORPUS / name / other)
    assert certificate.verdict in (Verdict.EXACT_BY_CONSTRUCTION, Verdict.EXACT_BY_ENUMERATION)
    assert all(s.verdict.is_exact for s in certificate.layers)


@needs_corpus
@pytest.mark.parametrize("name", ["tfc_2w2a", "cnv_2w2a"])
def test_cleaned_and_integer_forms_are_equal(name: str):
    path = CORPUS / name / "model.onnx"
    assert certify(path, clean(path)).verdict.is_exact
    assert certify(path, translate(path, "integer-ops").model).verdict.is_exact
    quantized = certify(path, translate(path, "quantized-ops", approximate=True).model)  # the last layer stays float
    assert quantized.verdict is Verdict.EXACT_BY_ENUMERATION


@needs_corpus
@pytest.mark.parametrize(
    ("name", "other"), [("zoo_floor_weights", "model_baked.onnx"), ("zoo_rounding_modes", "model_qcdq.onnx")]
)
def test_wrong_exports_are_found_out(name: str, other: str):
    paths = CORPUS / name / "model.onnx", CORPUS / name / other
    found = verify(*paths, samples=8).counter_example
    assert found is not None
    (fed,) = found.inputs.values()
    first, second = (next(iter(anybit.Session(p, engine="reference").run(fed).values())) for p in paths)
    assert np.abs(first - second).max() == pytest.approx(found.largest)


@needs_corpus
def test_a_pool_on_ties_is_all_that_two_mobile_nets_differ_in():
    folder = CORPUS / "mobilenetv1_w05_4w4a_96"
    certificate = verify(folder / "model.onnx", folder / "model_qcdq.onnx", samples=1)
    assert certificate.verdict is Verdict.DIFFERENT
    assert [s.a.split()[0] for s in certificate.layers if not s.verdict.is_exact] == ["Trunc"]
    assert "Trunc" in certificate.outputs[0].detail


@needs_corpus
@pytest.mark.parametrize(
    ("name", "to"),
    [
        ("embedding_4w/model.onnx", "integer-ops"),  # a mean whose scale is no power of two
        ("legacy_bv0103_mixnet/model.onnx", "integer-ops"),
        ("legacy_bv0103_mixnet/model.onnx", "finn"),  # Trunc behind such a mean
        ("mobilenetv1_w05_4w4a_96/model.onnx", "finn"),
        ("fp8_e4m3_ocp/model_dynamo.onnx", "qcdq"),  # a bias of one row
    ],
)
def test_a_conversion_is_proven(name: str, to: str):
    path = CORPUS / name
    assert certify(path, translate(path, to).model).verdict.is_proof


@needs_corpus
@pytest.mark.parametrize("name", ["quant_lstm_weightonly/model.onnx", "transformer_4w8a/model_qcdq.onnx"])
def test_a_cleaned_model_is_proven(name: str):
    assert certify(CORPUS / name, clean(CORPUS / name)).verdict.is_exact


@needs_corpus
@pytest.mark.parametrize("name", ["espcn_deconv_4w4a", "fp8_e4m3_ocp"])
def test_exports_that_spell_out_attributes_are_the_same(name: str):
    certificate = certify(CORPUS / name / "model.onnx", CORPUS / name / "model_dynamo.onnx")
    assert certificate.verdict is Verdict.EXACT_BY_CONSTRUCTION
