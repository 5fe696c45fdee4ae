"""anybit stats, as a user calls it."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

from tests.cli.command import anybit
from tests.models import mlp, samples


@pytest.fixture
def file(tmp_path):
    onnx.save(mlp(), tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", x=samples(100, 6))
    return tmp_path / "m.onnx"


def test_weights_are_printed_without_data(file):
    result = anybit("stats", file)
    assert result.returncode == 0, result.stderr
    assert all(text in result.stdout for text in ("1 quantised weights", "wq", "of 15", "0 of 8", "█"))
    assert "activation" not in result.stdout


def test_activations_are_counted_on_data(file):
    result = anybit("stats", file, "-i", file.with_name("x.npz"))
    assert "2 quantised activations on 100 samples" in result.stdout
    report = json.loads(anybit("stats", file, "-i", file.with_name("x.npz"), "--batch-size", "9", "--json").stdout)
    assert report["samples"] == 100
    assert [t["name"] for t in report["activations"]] == ["xq", "y"]
    assert [t["format"] for t in report["activations"]] == ["INT4", "UINT4"]
    assert sum(report["activations"][0]["histogram"]["counts"]) == 600


def test_labels_beside_the_inputs_are_left_out_and_named(file):
    np.savez(file.with_name("labelled.npz"), x=samples(100, 6), labels=np.arange(100))
    plain = anybit("stats", file, "-i", file.with_name("x.npz"), "--json")
    labelled = anybit("stats", file, "-i", file.with_name("labelled.npz"), "--json")
    assert labelled.returncode == 0, labelled.stderr
    assert "left out: 'labels'" in labelled.stderr
    assert labelled.stdout == plain.stdout


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("-i", "absent.npz"), "absent.npz"),
        (("--bins", "0"), "at least 1"),
        (("-i", "x.npz", "--batch-size", "0"), "at least 1"),
        (("-i", "x.npz", "--engine", "warp"), "unknown engine"),
    ],
)
def test_misuse_is_one_line_and_exit_2(file, monkeypatch, options, text):
    monkeypatch.chdir(file.parent)
    result = anybit("stats", file, *options)
    assert result.returncode == 2
    assert text in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stdout == ""
