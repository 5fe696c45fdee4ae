"""Lowered convolutions in the real client: the existing `qonnx` package executes Im2Col and the products behind it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import anybit
from anybit.passes.lowering.conv_to_matmul import ConvToMatMul
from tests.integration.corpus import CORPUS, needs_corpus
from tests.targets.finn.test_qonnx import executed, reference

SMALL = ("cnv_2w2a", "legacy_bv0103_mixnet", "trunc_avgpool_floor", "trunc_avgpool_round")
LARGE = ("espcn_a2q_4w4a_acc14", "mobilenetv1_w05_4w4a_96", "resnet18_4w4a")
_STEPS = 1e-3  # of full scale: float32 sums in another order, on the way through few quantisers


def lowered(names: tuple[str, ...], folder: Path) -> None:
    """Runs each model, its convolutions lowered, on its first row."""
    models = {}
    for name in names:
        cleaned = anybit.clean(CORPUS / name / "model.onnx")
        applied = anybit.apply(cleaned, [ConvToMatMul()])
        assert not applied.steps[0].notes, (name, applied.steps[0].notes)
        assert any(n.op_type == "Im2Col" for n in applied.model.graph), name
        rows = {k: v[:1] for k, v in np.load(CORPUS / name / "inputs.npz").items()}
        models[name] = (
            applied.model,
            dict(zip((str(v.name) for v in cleaned.graph.inputs), rows.values(), strict=True)),
        )
    results = executed(models, folder)
    for name, (_, rows) in models.items():
        expected = reference(CORPUS / name / "model.onnx", rows)
        assert np.abs(results[name] - expected).max() <= _STEPS * np.abs(expected).max(), name


@pytest.mark.slow
@needs_corpus
def test_small_networks(tmp_path):
    lowered(SMALL, tmp_path / "models")


@pytest.mark.large
@needs_corpus
def test_large_networks(tmp_path):
    lowered(LARGE, tmp_path / "models")
