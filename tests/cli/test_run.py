"""anybit run: what becomes of the inputs, what is seen of the tensors, how often it is right."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

import anybit as library
from tests.cli.command import anybit
from tests.models import DIGITS, mlp, samples
from tests.ops.finn.test_operators import binary_network


@pytest.fixture
def file(tmp_path):
    onnx.save(mlp(batch="N"), tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", samples(10, 6))
    return tmp_path / "m.onnx"


def tensors(result) -> dict[str, dict]:
    assert result.returncode == 0, result.stderr
    return {t["tensor"]: t for t in json.loads(result.stdout)["tensors"]}


def test_patterns_and_second_names_of_tensors(file, tmp_path):
    given = ("-i", tmp_path / "x.npy", "--json")
    assert set(tensors(anybit("run", file, *given, "--tensors", "x*,h"))) == {"y", "xq", "h"}
    assert anybit("run", file, *given, "--tensors", "nothing*").returncode == 2
    x = np.zeros((1, 4, 4, 3), np.float32)
    assert list(library.run(binary_network(), x, tensors=["seen"])) == ["y", "m"]
    assert set(library.run(binary_network(), x, tensors="[pqm]")) == {"y", "p", "q", "m"}


@pytest.mark.parametrize("command", [("run",), ("evaluate",), ("zoo", "run"), ("zoo", "evaluate")], ids=" ".join)
def test_the_help_names_every_engine(command):
    told = " ".join(anybit(*command, "--help").stdout.split())
    assert f"One of {', '.join(engine.value for engine in library.engines.Engine)}." in told


def test_zeros_and_a_limit(file, tmp_path):
    zero = json.loads(anybit("run", file, "--zero-inputs", "--json").stdout)
    assert zero["samples"] == 1
    few = json.loads(anybit("run", file, "-i", tmp_path / "x.npy", "--limit", "3", "--json").stdout)
    assert few["samples"] == 3
    for wrong in ((), ("-i", tmp_path / "x.npy", "--limit", "0")):
        assert anybit("run", file, *wrong).returncode == 2


def test_pixels(file, tmp_path):
    pixels = np.arange(60).reshape(10, 6).astype(np.uint8)
    np.save(tmp_path / "p.npy", pixels)
    out = tmp_path / "o.npz"
    for option, x in (("unit", pixels / 255), ("centred", 2 * pixels / 255 - 1)):
        assert anybit("run", file, "-i", tmp_path / "p.npy", "--pixels", option, "-o", out).returncode == 0
        np.testing.assert_array_equal(np.load(out)["y"], library.run(mlp(batch="N"), x.astype(np.float32))["y"])
    refused = anybit("run", file, "-i", tmp_path / "x.npy", "--pixels", "unit")
    assert refused.returncode == 2
    assert "0 .. 255" in refused.stderr


def test_accuracy_by_labels_up_to_a_limit(tmp_path):
    x = samples(20, 64)
    scores = next(iter(library.run(DIGITS / "model.onnx", x).values()))
    labels = scores.argmax(-1)
    labels[:5] = (labels[:5] + 1) % 10
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "l.npy", labels)
    given = (DIGITS / "model.onnx", "-i", tmp_path / "x.npy", "--labels", tmp_path / "l.npy", "--json")
    assert json.loads(anybit("run", *given).stdout)["accuracy"] == 0.75
    assert json.loads(anybit("run", *given, "--limit", "10").stdout)["accuracy"] == 0.5
    np.save(tmp_path / "l.npy", labels[:7])
    assert anybit("run", *given).returncode == 2
