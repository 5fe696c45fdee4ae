"""The real client: the existing `qonnx` package executes what is handed over, and agrees in every row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import anybit
from anybit.formats.convert import to_hub
from anybit.formats.thresholds.write import write_layers
from anybit.io.load import load
from anybit.number_formats import IntFormat
from anybit.runtime.compare import FLOAT_TOLERANCE
from anybit.targets.finn.dialect_rules import MAC, is_hardware
from anybit.targets.finn.inputs import tie_inputs
from anybit.targets.finn.prepare import prepare_finn
from tests.environments import environment, run_script
from tests.formats.thresholds.threshold_models import layers, model_of, rows_for
from tests.integration.corpus import CORPUS, needs_corpus

REQUIREMENTS = ("qonnx==1.0.0",)
SCRIPT = Path(__file__).with_name("run_qonnx.py")

# By file, the rows that are executed: the package compares each element with each threshold.
SMALL = {
    "corpus/cnv_2w2a/model.onnx": 2,
    "corpus/jet_mlp_6b/model.onnx": 24,
    "corpus/legacy_bv0103_mixnet/model.onnx": 12,
    "corpus/legacy_bv0103_tfc_1w1a/model.onnx": 12,
    "corpus/mobilenetv1_w05_4w4a_96/model.onnx": 1,
    "corpus/qkeras_mlp_mixed/model.onnx": 4,
    "corpus/tfc_1w1a/model.onnx": 12,
    "corpus/tfc_2w2a/model.onnx": 12,
    "corpus/trunc_avgpool_floor/model.onnx": 4,
    "corpus/trunc_avgpool_round/model.onnx": 4,
    "corpus/zoo_asym_ternary/model.onnx": 24,
    "corpus/zoo_floor_weights/model_baked.onnx": 24,
    "corpus/zoo_rounding_modes/model.onnx": 24,
    "zoo/TFC_1W1A.onnx": 12,
    "zoo/TFC_2W2A.onnx": 12,
    "zoo/qkeras_jettagging.onnx": 24,
}
LARGE = {
    "corpus/espcn_a2q_4w4a_acc14/model_baked.onnx": 2,
    "corpus/mobilenetv1_4w4a_224/model.onnx": 1,
    "corpus/resnet18_4w4a/model.onnx": 4,
}
# Their first product reads real numbers; an input of integers makes it one of integers.
STATED = ("mobilenetv1", "qkeras_jettagging", "resnet18", "zoo_asym", "zoo_floor", "zoo_rounding")


def executed(models: Mapping[str, tuple[object, Mapping[str, np.ndarray]]], folder: Path) -> dict[str, np.ndarray]:
    """By name, the first output of each model as the package computes it."""
    folder.mkdir(exist_ok=True)
    for name, (model, rows) in models.items():
        anybit.save(model, folder / f"{name}.onnx")
        np.savez(folder / f"{name}.npz", **rows)
    run_script(environment("qonnx", REQUIREMENTS), SCRIPT, str(folder))
    results = {name: np.load(folder / f"{name}.out.npz") for name in models}
    return {name: found[found.files[0]] for name, found in results.items()}


def reference(model: object, rows: Mapping[str, np.ndarray]) -> np.ndarray:
    session = anybit.Session(model, engine="reference")
    count = len(next(iter(rows.values())))
    runs = [session.run({k: v[i : i + 1] for k, v in rows.items()}) for i in range(count)]
    return np.concatenate([r[session.outputs[0]] for r in runs])


def agree(files: Mapping[str, int], folder: Path) -> None:
    models, sources = {}, {}
    for number, (file, count) in enumerate(files.items()):
        path = CORPUS.parent / file
        inputs = [str(v.name) for v in load(path).graph.inputs] if any(s in file for s in STATED) else []
        handover = prepare_finn(path, logits=True, input_types={name: IntFormat(8, signed=True) for name in inputs})
        assert handover.ready, (file, handover.findings)
        rows = tie_inputs(handover.model, count, seed=number)
        models[f"m{number}"] = (handover.model, rows)
        sources[f"m{number}"] = file
    results = executed(models, folder)
    for name, (model, rows) in models.items():
        expected = reference(model, rows)
        # A last product of real weights runs on the host: float32 sums, in whatever order.
        host = any(n.op_type in MAC and not is_hardware(n) for n in model.graph)
        tolerance = FLOAT_TOLERANCE * np.abs(expected).max() if host else 0
        np.testing.assert_allclose(results[name], expected, rtol=0, atol=tolerance, err_msg=sources[name])


@pytest.mark.slow
@needs_corpus
def test_real_networks_in_every_row(tmp_path):
    agree(SMALL, tmp_path / "models")


@needs_corpus
@pytest.mark.large
def test_large_networks_in_every_row(tmp_path):
    agree(LARGE, tmp_path / "models")


@settings(max_examples=2, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(layers(), min_size=30, max_size=30))
def test_single_layers_in_every_row(tmp_path, drawn):
    models = {}
    for number, layer in enumerate(drawn):
        hub, _ = to_hub(model_of(layer))
        outcome, _ = write_layers(hub)
        if not outcome.refusals:
            models[f"m{number}"] = (hub, {"x": rows_for(layer, 6)})
    folder = tmp_path / f"models_{len(list(tmp_path.iterdir()))}"
    results = executed(models, folder)
    for name, (_, rows) in models.items():
        layer = drawn[int(name[1:])]
        np.testing.assert_array_equal(results[name], reference(model_of(layer), rows), err_msg=str(layer))
