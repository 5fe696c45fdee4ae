"""Figures that others have published for these models, and the same model in two formats."""

from __future__ import annotations

import pytest

from anybit.analysis.cost.cost import Figures, cost
from tests.integration.corpus import CORPUS, ZOO, needs_corpus

needs_zoo = pytest.mark.skipif(not ZOO.is_dir(), reason="the public zoo models are not beside the project")

# Exports that are not the same model in both formats: in one of them weights or quantisers went wrong.
_DIFFERENT = {
    "espcn_a2q_4w4a_acc14": "model_baked.onnx",
    "zoo_floor_weights": "model_baked.onnx",
}


def figures(of: Figures) -> tuple[int | None, ...]:
    return of.macs, of.bit_operations, of.weight_bits


def by_formats(of: Figures) -> dict[str, int]:
    return {f"{f.activation} x {f.weight}": f.macs for f in of.formats}


@needs_zoo
def test_tfc_2w2a():
    result = cost(ZOO / "TFC_2W2A.onnx")
    assert figures(result.dense) == (59008, 236032, 118016)
    assert figures(result.sparse) == (22355, 89420, 44710)
    assert by_formats(result.dense) == {"INT2 x INT2": 59008}


@needs_zoo
def test_tfc_1w1a():
    result = cost(ZOO / "TFC_1W1A.onnx")
    assert figures(result.dense) == figures(result.sparse) == (59008, 59008, 59008)


@needs_zoo
def test_jet_tagging():
    """Its input is not quantised: 32 bits."""
    result = cost(ZOO / "qkeras_jettagging.onnx")
    assert (result.dense.bit_operations, result.sparse.bit_operations) == (312960, 228768)
    assert by_formats(result.dense) == {"UINT6 x INT6": 3232, "FLOAT32 x INT6": 1024}


@needs_corpus
@pytest.mark.parametrize("file", ["model.onnx", "model_dynamo.onnx", "model_qcdq.onnx"])
def test_cnv_2w2a(file):
    result = cost(CORPUS / "cnv_2w2a" / file)
    assert figures(result.dense) == (59461376, 256507904, 3085696)
    assert by_formats(result.dense) == {"INT2 x INT2": 57906176, "INT8 x INT2": 1555200}


@needs_corpus
@pytest.mark.parametrize("folder", sorted(p.parent.name for p in CORPUS.glob("*/model_qcdq.onnx")))
def test_a_model_costs_the_same_in_qcdq(folder):
    quantized = cost(CORPUS / folder / _DIFFERENT.get(folder, "model.onnx"))
    qcdq = cost(CORPUS / folder / "model_qcdq.onnx")
    assert (qcdq.dense, qcdq.sparse) == (quantized.dense, quantized.sparse)
    assert qcdq.dense.macs


@needs_corpus
def test_an_operator_that_nothing_knows_leaves_the_sums_open():
    result = cost(CORPUS / "quant_lstm_full" / "model.onnx")
    assert result.dense.macs is None
    assert any("QuantLSTMCell" in f.node for f in result.findings)
