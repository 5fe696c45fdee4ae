"""anybit cost: the table and the JSON say the same."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import typer
from onnx import helper
from typer.testing import CliRunner

from anybit.cli.cost import cost
from tests.models import mlp, model, parameters, quant

_APP = typer.Typer()
_APP.command()(cost)


def run(*arguments: object):
    return CliRunner().invoke(_APP, [str(a) for a in arguments])


@pytest.fixture
def path(tmp_path):
    """Two layers, a product of 48 weights of which 12 are 0, and one of 16."""
    nodes = [
        quant("x", "xq"),
        quant("w", "wq"),
        helper.make_node("MatMul", ["xq", "wq"], ["h"], name="first"),
        helper.make_node("Relu", ["h"], ["r"]),
        quant("v", "vq"),
        helper.make_node("MatMul", ["r", "vq"], ["y"], name="second"),
    ]
    w = np.ones((6, 8), np.float32)
    w[:, 2:4] = 0
    initializers = {"w": w, "v": np.ones((8, 2), np.float32)}
    initializers |= parameters("xq") | parameters("wq", bits=3.0) | parameters("vq", bits=2.0)
    onnx.save(model(nodes, initializers, inputs={"x": ["N", 6]}, outputs=["y"]), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_totals(path):
    result = run(path, "--json", "--sparsity")
    report = json.loads(result.stdout)
    assert result.exit_code == 0
    assert (report["samples"], report["counting"], report["findings"]) == (1, "products", [])
    assert (report["dense"]["macs"], report["sparse"]["macs"]) == (64, 52)
    assert (report["dense"]["weight_bits"], report["sparse"]["weight_bits"]) == (48 * 3 + 32, 36 * 3 + 32)
    assert {"activation": "INT4", "weight": "INT3", "macs": 48, "bit_operations": 576} in report["dense"]["formats"]
    assert "layers" not in report
    table = run(path, "--sparsity").stdout
    for cell in ("one sample", "MACs", "64", "52", "176", "140", "576", "INT4", "INT3", "Relu"):
        assert cell in table
    assert "sparse" not in run(path).stdout
    assert "sparse" not in json.loads(run(path, "--json").stdout)


@pytest.mark.parametrize(
    ("by", "key", "names"), [("layer", "layers", ["first", "second"]), ("op", "operators", ["MatMul"])]
)
def test_breakdowns(path, by, key, names):
    report = json.loads(run(path, "--by", by, "--json").stdout)
    assert [part["name"] for part in report[key]] == names
    assert sum(part["dense"]["macs"] for part in report[key]) == 64
    assert "sparse" not in report[key][0]
    table = run(path, "--by", by).stdout
    assert all(name in table for name in names)


def test_accumulation(path):
    report = json.loads(run(path, "--accumulation", "--json").stdout)
    assert report["counting"] == "accumulation"
    (first,) = (f for f in report["dense"]["formats"] if f["weight"] == "INT3")
    assert first["bit_operations"] == round(48 * (4 * 3 + 4 + 3 + np.log2(6)))


def test_large_numbers_are_readable(tmp_path):
    onnx.save(mlp(hidden=1000), tmp_path / "m.onnx")
    assert "96,000" in run(tmp_path / "m.onnx").stdout


def test_what_is_not_known_is_said_and_exits_1(tmp_path):
    nodes = [helper.make_node("Conv", ["x", "k"], ["y"], name="conv")]
    source = model(nodes, {"k": np.ones((2, 1, 3, 3), np.float32)}, inputs={"x": [1, 1, "H", "W"]}, outputs=["y"])
    onnx.save(source, tmp_path / "m.onnx")
    for by in ("total", "layer", "op"):
        result = run(tmp_path / "m.onnx", "--by", by)
        assert result.exit_code == 1
        assert "unknown" in result.stdout
        assert "Conv 'conv'" in result.stdout
    report = json.loads(run(tmp_path / "m.onnx", "--json").stdout)
    assert report["dense"]["macs"] is None
    assert report["findings"][0]["node"] == "Conv 'conv'"


def test_a_batch_that_is_counted_whole_is_named(tmp_path):
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("ReduceMean", ["h", "axis"], ["y"], keepdims=0),
    ]
    constants = {"w": np.ones((3, 2), np.float32), "axis": np.int64([0])}
    onnx.save(model(nodes, constants, inputs={"x": [8, 3]}, outputs=["y"]), tmp_path / "m.onnx")
    result = run(tmp_path / "m.onnx")
    assert result.exit_code == 0
    assert "one run of 8 samples" in result.stdout


def test_unknown_breakdowns_exit_2(path):
    assert run(path, "--by", "colour").exit_code == 2
