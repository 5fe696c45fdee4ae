"""anybit plan, as a user calls it."""

from __future__ import annotations

import json

import onnx

from tests.cli.test_cli import anybit
from tests.models import PROJECT, mlp

MODELS = PROJECT / "src" / "anybit" / "zoo" / "models"


def test_a_whole_plan_is_printed_a_line_a_layer():
    result = anybit("plan", MODELS / "digits_cnn_2w2a" / "model.onnx")
    assert result.returncode == 0, result.stderr
    assert all(text in result.stdout for text in ("convolution 3x3, 16 to 32", "3 thresholds", "452,864 MACs"))


def test_what_is_no_plan_is_named_and_why():
    result = anybit("plan", MODELS / "assignments_transformer_4w8a" / "model.onnx", "--json")
    assert result.returncode == 1
    found = json.loads(result.stdout)
    assert found["macs"] == sum(s["macs"] for s in found["steps"])
    assert any("LayerNormalization" in refusal["node"] for refusal in found["refusals"])


def test_a_model_that_is_none_at_all_is_one_line(tmp_path):
    model = mlp()
    del model.graph.node[:2]
    for node in model.graph.node:
        node.input[:] = [name.replace("xq", "x").replace("wq", "w") for name in node.input]
    onnx.save(model, tmp_path / "float.onnx")
    result = anybit("plan", tmp_path / "float.onnx")
    assert result.returncode == 2
    assert "MatMul 'matmul'" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
