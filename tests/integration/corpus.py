"""The real models: exports of training frameworks, with the frameworks' own outputs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest

from tests.models import PROJECT

CORPUS = PROJECT.parent / "shared" / "corpus"
ZOO = PROJECT.parent / "shared" / "zoo"

# Files that do not compute what their framework computed, and why: a faithful engine departs on them.
WRONG_EXPORTS = {
    "espcn_a2q_4w4a_acc14/model.onnx": "Brevitas 0.13.4 writes unrounded weights marked ROUND (accumulator-aware)",
    "espcn_a2q_4w4a_acc14/model_dynamo.onnx": "Brevitas 0.13.4 writes unrounded weights marked ROUND",
    "zoo_floor_weights/model.onnx": "Brevitas 0.13.4 writes unrounded weights marked ROUND (FLOOR, CEIL)",
    "zoo_floor_weights/model_dynamo.onnx": "Brevitas 0.13.4 writes unrounded weights marked ROUND",
    "zoo_rounding_modes/model_qcdq.onnx": "QCDQ of FLOOR, CEIL and DOWN activations rounds to nearest",
    "trunc_avgpool_floor/model_qcdq.onnx": "QCDQ of a FLOOR Trunc rounds to nearest",
}
# AveragePool, then QuantizeLinear, sits on rounding ties: float32 and float64 sums land on different sides.
POOLED_TIES = ("mobilenetv1_4w4a_224/model_qcdq.onnx", "mobilenetv1_w05_4w4a_96/model_qcdq.onnx")
NOT_EXECUTABLE = ("quant_lstm_full/model.onnx",)

needs_corpus = pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus of real models is not beside the project")


@dataclass(frozen=True)
class Case:
    """One file of the corpus."""

    path: Path

    @property
    def name(self) -> str:
        return f"{self.path.parent.name}/{self.path.name}"

    @cached_property
    def inputs(self) -> np.ndarray:
        return np.load(self.path.parent / "inputs.npz")["x"][self._stable]

    @cached_property
    def outputs(self) -> np.ndarray:
        folder = self.path.parent
        own = folder / "outputs_qcdq.npz"
        source = own if self.path.name == "model_qcdq.onnx" and own.exists() else folder / "outputs.npz"
        return np.load(source)["y"][self._stable]

    @cached_property
    def _stable(self) -> np.ndarray:
        folder = self.path.parent
        unstable = json.loads((folder / "meta.json").read_text()).get("unstable_inputs", [])
        count = len(np.load(folder / "inputs.npz")["x"])
        return np.array([i for i in range(count) if i not in unstable])


def corpus_files() -> list[Case]:
    return [Case(path) for path in sorted(CORPUS.glob("*/*.onnx"))]


def executable_files() -> list[Case]:
    return [c for c in corpus_files() if c.name not in NOT_EXECUTABLE]


def zoo_files() -> list[Path]:
    return sorted(ZOO.glob("*.onnx"))


def departures(actual: np.ndarray, expected: np.ndarray, step: float | None) -> int:
    """Elements that break the rule of the corpus: equal up to float accumulation error, or one step of the output's
    grid apart in at most one element of a thousand."""
    gap = np.abs(actual.astype(np.float64) - expected.astype(np.float64))
    far = gap > 1e-5 * np.abs(expected).max()
    if step is not None and far.mean() <= 1e-3:
        far &= gap > step * (1 + 1e-5)
    return int(far.sum())
