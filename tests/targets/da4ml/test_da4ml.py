"""Circuits of da4ml, run by its own emulation: bit by bit what the reference says."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import anybit
from anybit.rounding import Rounding
from anybit.targets.da4ml.network import Network
from tests.integration.corpus import CORPUS, needs_corpus
from tests.targets.da4ml.nets import mlp, wrapping

pytest.importorskip("da4ml", reason="da4ml is not installed: make test-da4ml")

from da4ml.converter import trace_model
from da4ml.trace import comb_trace


def differences(source, folder) -> int:
    anybit.prepare_da4ml(source).write(folder)
    circuit = comb_trace(*trace_model(Network.load(folder / "model.onnx")))
    found, expected = circuit.predict(np.load(folder / "input.npy")), np.load(folder / "expected_output.npy")
    assert found.shape == expected.shape
    return int((found != expected).sum())


@pytest.mark.parametrize("mode", [m.value for m in Rounding])
@pytest.mark.parametrize("seed", range(3))
def test_every_rounding_mode_is_exact(mode, seed, tmp_path):
    assert differences(mlp(mode, seed=seed, narrow=seed % 2), tmp_path / "p") == 0


def test_zero_points_and_wrap_arounds(tmp_path):
    assert differences(mlp("ROUND", zeropt=1.0), tmp_path / "p") == 0
    assert differences(wrapping(), tmp_path / "w") == 0


@needs_corpus
@pytest.mark.parametrize("name", ["hgq2_jet_sat_rnd", "hgq2_jet_wrap_trn"])
def test_hgq2_nets_are_exact(name, tmp_path):
    assert differences(CORPUS / name / "model.onnx", tmp_path / "p") == 0


def test_the_script_compares_and_writes_verilog(tmp_path):
    folder = tmp_path / "p"
    anybit.prepare_da4ml(mlp("ROUND")).write(folder)
    done = subprocess.run(
        [sys.executable, folder / "build.py"], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("0 of 192 outputs differ")
    assert (folder / "circuit.json").exists()
    assert list((folder / "verilog").rglob("model.v"))
    np.save(folder / "expected_output.npy", np.load(folder / "expected_output.npy") + 1)
    assert (
        subprocess.run([sys.executable, folder / "build.py"], capture_output=True, check=False, timeout=300).returncode
        == 1
    )
