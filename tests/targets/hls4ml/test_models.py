"""Every real model: taken and computed as its framework does, or refused by a rule."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import anybit
from anybit.engines.sampling import random_inputs
from anybit.errors import Severity
from anybit.targets import IoType
from anybit.targets.hls4ml.prepare import prepare_hls4ml
from anybit.targets.logits import cut_softmax
from tests.environments import environment
from tests.integration.corpus import CORPUS, ZOO, Case, corpus_files, needs_corpus
from tests.targets.hls4ml.emulation import REQUIREMENTS, Job, emulate

pytestmark = needs_corpus

# By folder, the rules that refuse its files; all others are taken.
REFUSED = {
    "embedding_4w": {"operator", "shape"},
    "espcn_a2q_4w4a_acc14": {"operator"},
    "espcn_deconv_4w4a": {"operator"},
    "fp8_e4m3_ocp": {"operator"},
    "hgq2_jet_sat_rnd": {"quantizer"},
    "hgq2_jet_wrap_trn": {"operator"},
    "quant_lstm_full": {"batch"},
    "quant_lstm_weightonly": {"batch"},
    "transformer_4w8a": {"operator", "shape", "weights", "table"},
    "zoo_asym_ternary": {"table"},
}
EMULATED = (
    "jet_mlp_6b/model.onnx",
    "jet_mlp_6b/model_qcdq.onnx",
    "legacy_bv0103_mixnet/model.onnx",
    "legacy_bv0103_tfc_1w1a/model.onnx",
    "qkeras_mlp_mixed/model.onnx",
    "tfc_1w1a/model_dynamo.onnx",
    "tfc_2w2a/model_qcdq.onnx",
    "zoo_bias_wide/model_dynamo.onnx",
    "zoo_floor_weights/model_baked.onnx",
    "zoo_rounding_modes/model.onnx",
    "zoo_rounding_modes/model_qcdq.onnx",
)
STREAMED = ("legacy_bv0103_mixnet/model.onnx", "trunc_avgpool_floor/model.onnx")
STREAMED_LARGE = ("cnv_2w2a/model.onnx", "mobilenetv1_w05_4w4a_96/model.onnx")
EMULATED_LARGE = ("trunc_avgpool_round/model.onnx",)
LARGE = ("mobilenetv1_4w4a_224", "mobilenetv1_w05_4w4a_96", "resnet18_4w4a")
TOLERANCE = 1e-6  # of full scale; 1e-3 is asked for


def _files(*, large: bool) -> list[Case]:
    return [c for c in corpus_files() if (c.path.parent.name in LARGE) is large]


def _check(case: Case) -> None:
    handover = prepare_hls4ml(case.path, logits=True)
    rules = {f.rule for f in handover.findings if f.severity is Severity.ERROR}
    expected = REFUSED.get(case.path.parent.name, set())
    assert handover.ready is not bool(expected)
    assert rules <= expected
    if handover.ready:
        assert handover.comparison is not None
        assert handover.comparison.equal


@pytest.mark.parametrize("case", _files(large=False), ids=lambda c: c.name)
def test_a_model_is_taken_or_refused_by_its_rule(case: Case):
    _check(case)


@pytest.mark.large
@pytest.mark.parametrize("case", _files(large=True), ids=lambda c: c.name)
def test_a_large_model_is_taken(case: Case):
    _check(case)


@pytest.mark.slow
def test_a_net_beyond_all_that_was_tried_is_said_to_be():
    for name, io_type, beyond in (
        ("cnv_2w2a", IoType.PARALLEL, False),
        ("resnet18_4w4a", IoType.PARALLEL, True),
        ("mobilenetv1_w05_4w4a_96", IoType.PARALLEL, True),
        ("mobilenetv1_w05_4w4a_96", IoType.STREAM, False),
    ):
        findings = prepare_hls4ml(CORPUS / name / "model.onnx", io_type=io_type).findings
        assert ("size" in {f.rule for f in findings if f.severity is Severity.WARNING}) is beyond


@pytest.mark.slow
def test_hls4ml_computes_what_is_taken(tmp_path: Path):
    _emulate([*sorted(ZOO.glob("*.onnx")), *(CORPUS / name for name in EMULATED)], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", EMULATED_LARGE)
def test_hls4ml_computes_larger_nets(name: str, tmp_path: Path):
    _emulate([CORPUS / name], tmp_path)


@pytest.mark.large
@pytest.mark.parametrize("name", STREAMED_LARGE)
def test_hls4ml_computes_large_nets_in_streams(name: str, tmp_path: Path):
    _emulate([CORPUS / name], tmp_path, io_type=IoType.STREAM, samples=1)


@pytest.mark.slow
def test_hls4ml_computes_streams(tmp_path: Path):
    _emulate([*sorted(ZOO.glob("*.onnx")), *(CORPUS / name for name in STREAMED)], tmp_path, io_type=IoType.STREAM)


def _emulate(paths: list[Path], folder: Path, *, io_type: IoType = IoType.PARALLEL, samples: int = 8) -> None:
    jobs, expected = [], []
    for path in paths:
        source = anybit.clean(path)
        cut_softmax(source)
        x = np.float32(Case(path).inputs[:samples]) if path.parent.parent == CORPUS else _drawn(path)
        handover = prepare_hls4ml(path, logits=True, io_type=io_type)
        jobs.append(Job(handover, {str(handover.model.graph.inputs[0].name): x}))
        (outputs,) = anybit.run(source, x, engine="reference").values()
        expected.append(outputs.reshape(len(x), -1))
    results = emulate(jobs, environment("hls4ml", REQUIREMENTS), folder)
    for wanted, got in zip(expected, results, strict=True):
        assert not isinstance(got, str), got
        assert (wanted.argmax(1) == got[0].argmax(1)).all()
        assert np.abs(wanted - got[0]).max() <= TOLERANCE * np.abs(wanted).max()


def _drawn(path: Path) -> np.ndarray:
    (x,) = random_inputs(path, 64).values()
    return x
