"""The shipped models come from their scripts, and are what the scripts say."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from anybit import check, info
from tests.models import DIGITS, PROJECT


def test_the_digits_model_is_made_again_to_the_byte(tmp_path):
    pytest.importorskip("sklearn", reason="training needs scikit-learn: install anybit[train]")
    command = [sys.executable, "-m", "training.digits_mlp_2w2a", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT)
    assert done.returncode == 0, done.stderr
    assert "98.61%" in done.stdout
    assert (tmp_path / "model.onnx").read_bytes() == (DIGITS / "model.onnx").read_bytes()
    made, shipped = (np.load(folder / "test.npz") for folder in (tmp_path, DIGITS))
    for name in ("pixels", "labels"):
        np.testing.assert_array_equal(made[name], shipped[name])


def test_the_digits_model_has_no_findings_and_two_bits():
    assert check(DIGITS / "model.onnx") == ()
    formats = {(q.number_format, q.weights) for q in info(DIGITS / "model.onnx").quantizers}
    assert formats == {("INT2", True), ("UINT2", False), ("UINT5", False)}
