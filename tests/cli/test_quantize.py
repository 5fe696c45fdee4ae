"""anybit quantize, as a user calls it."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

from tests.cli.test_cli import anybit
from tests.quantization.nets import images, residual


@pytest.fixture
def file(tmp_path):
    onnx.save(residual(), tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", pictures=images(), labels=np.zeros(48, np.int64))
    return tmp_path / "m.onnx"


def quantize(file, output, *options):
    return anybit("quantize", file, "--calibration", file.with_name("x.npz"), "-o", file.with_name(output), *options)


def test_a_plan_is_written_and_followed(file):
    plan = file.with_name("plan.json")
    options = ("--weights", "4", "--activations", "4", "--layer", "w1=3/6", "--plan", plan)
    first = quantize(file, "a.onnx", *options, "--explain")
    assert first.returncode == 0, first.stderr
    assert "4 weights and 6 activations quantised on 48 samples" in first.stdout
    assert all(text in first.stdout for text in ("UINT6", "INT3", "named in the recipe", "dB"))
    assert {t["bits"] for t in json.loads(plan.read_text())["weights"]} == {3, 4}
    again = quantize(file, "b.onnx", "--plan", plan, "--json")
    assert json.loads(again.stdout)["report"]["samples"] == 48
    assert file.with_name("a.onnx").read_bytes() == file.with_name("b.onnx").read_bytes()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--weights", "1"), "bit width of weights: got 1"),
        (("--scales", "odd"), "--scales: got 'odd'"),
        (("--target", "gpu"), "--target: got 'gpu'"),
        (("--layer", "w1"), "--layer: got 'w1'"),
        (("--skip", "nothing"), "no layer of this name"),
        (("--block", "32"), "blocks of weights"),
    ],
)
def test_misuse_is_one_line_and_no_file(file, options, text):
    result = quantize(file, "a.onnx", *options)
    assert result.returncode == 2
    assert text in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not file.with_name("a.onnx").exists()


def test_few_samples_are_warned_of_in_one_line(file):
    np.save(file.with_name("few.npy"), images(5))
    found = anybit("quantize", file, "--calibration", file.with_name("few.npy"), "-o", file.with_name("f.onnx"))
    assert found.returncode == 0
    assert found.stderr == (
        "anybit: warning: 5 samples for calibration, expected 16 or more: ranges may not fit others\n"
    )
