"""anybit prepare: what it prints, what it writes, and its exit codes."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import helper
from typer.testing import CliRunner

from anybit.cli.prepare import prepare
from anybit.errors import UsageError
from tests.models import model, parameters, quant

RUNNER = CliRunner()


@pytest.fixture
def net(tmp_path):
    constants = {"w": np.float32([[1, -1], [2, 0]])} | parameters("xq") | parameters("wq", scale=1.0) | parameters("y")
    nodes = [quant("x", "xq"), quant("w", "wq"), helper.make_node("MatMul", ["xq", "wq"], ["s"]), quant("s", "y")]
    path = tmp_path / "net.onnx"
    onnx.save(model(nodes, constants, inputs={"x": (1, 2)}, outputs=["y"]), path)
    return path


@pytest.fixture
def softmax(tmp_path):
    constants = {"w": np.float32([[1, -1], [2, 0]])} | parameters("xq") | parameters("wq", scale=1.0)
    nodes = [
        quant("x", "xq"),
        quant("w", "wq"),
        helper.make_node("MatMul", ["xq", "wq"], ["s"]),
        helper.make_node("Softmax", ["s"], ["y"], name="probabilities"),
    ]
    path = tmp_path / "softmax.onnx"
    onnx.save(model(nodes, constants, inputs={"x": (1, 2)}, outputs=["y"]), path)
    return path


def run(*arguments: object):
    return RUNNER.invoke(prepare, [str(a) for a in arguments])


def test_finn_writes_what_is_ready(net, tmp_path):
    result = run("finn", net, "-o", tmp_path / "out.onnx")
    assert result.exit_code == 0, result.output
    assert "Quant 'y_node': thresholds in its place" in result.output
    assert "0 of 16 elements depart" in result.output
    assert "MultiThreshold" in [n.op_type for n in onnx.load(tmp_path / "out.onnx").graph.node]


def test_finn_writes_nothing_that_is_not(softmax, tmp_path):
    result = run("finn", softmax, "-o", tmp_path / "out.onnx")
    assert result.exit_code == 1
    assert "error [no-form] Softmax 'probabilities'" in result.output
    assert "nothing was written" in result.output
    assert not (tmp_path / "out.onnx").exists()
    assert run("finn", softmax, "-o", tmp_path / "out.onnx", "--logits").exit_code == 0


def test_finn_writes_a_project_into_a_folder(net, tmp_path):
    result = run("finn", net, "-o", tmp_path / "p", "--board", "Pynq-Z2", "--target-fps", 50, "--clock-ns", 5)
    assert result.exit_code == 0, result.output
    assert {f.name for f in (tmp_path / "p").iterdir()} >= {"model.onnx", "build.py"}
    assert "'Pynq-Z2'" in (tmp_path / "p/build.py").read_text()


def test_finn_in_json(net, tmp_path):
    result = run("finn", net, "-o", tmp_path / "out.onnx", "--json")
    printed = json.loads(result.output)
    assert printed["output"] == str(tmp_path / "out.onnx")
    assert len(printed["rewrites"]) == 2
    assert {f["severity"] for f in printed["findings"]} == {"warning"}
    assert printed["comparison"]["outputs"][0]["departing"] == 0


def test_finn_takes_the_form_and_formats_of_inputs(net, tmp_path):
    assert run("finn", net, "-o", tmp_path / "out.onnx", "--form", "qonnx").exit_code == 0
    assert "Quant" in [n.op_type for n in onnx.load(tmp_path / "out.onnx").graph.node]
    assert run("finn", net, "-o", tmp_path / "out.onnx", "--input-type", "x=INT4").exit_code == 0
    stated = onnx.load(tmp_path / "out.onnx").graph.quantization_annotation
    assert {a.tensor_name for a in stated} >= {"x"}


@pytest.mark.parametrize(
    "options", [("--form", "hls"), ("--input-type", "INT4"), ("--input-type", "x=INT"), ("--input-type", "z=INT4")]
)
def test_misuse(net, tmp_path, options):
    result = run("finn", net, "-o", tmp_path / "out.onnx", *options)
    assert isinstance(result.exception, UsageError)


def test_hls4ml_writes_what_is_ready_or_says_why_not(net, tmp_path):
    result = run("hls4ml", net, "-o", tmp_path / "out.onnx")
    assert result.exit_code in (0, 1), result.output
    assert (tmp_path / "out.onnx").exists() == (result.exit_code == 0)


def test_hls4ml_writes_a_project_into_a_folder(net, tmp_path):
    result = run("hls4ml", net, "-o", tmp_path / "made", "--io-type", "stream", "--reuse", "2", "--json")
    assert result.exit_code == 0, result.output
    printed = json.loads(result.output)
    assert printed["output"] == str(tmp_path / "made")
    assert printed["configuration"]["LayerName"]["MatMul_0"]["ReuseFactor"] == 2
    assert "IOType: io_stream" in (tmp_path / "made" / "hls4ml_config.yml").read_text()
    assert (tmp_path / "made" / "build.py").exists()
    assert isinstance(run("hls4ml", net, "-o", tmp_path / "made", "--io-type", "fast").exception, UsageError)
    assert run("hls4ml", net, "-o", tmp_path / "made", "--reuse", "0").exit_code == 2


def test_hls4ml_writes_no_project_of_what_is_not_ready(softmax, tmp_path):
    result = run("hls4ml", softmax, "-o", tmp_path / "made")
    assert result.exit_code == 1
    assert "cut it off with --logits" in result.output
    assert not (tmp_path / "made").exists()


def test_hls4ml_chooses_the_precision_by_the_range_of_the_input(net, tmp_path):
    narrow, wide = (
        json.loads(run("hls4ml", net, "-o", tmp_path / "out.onnx", "--json", "--input-range", f"x={r}").output)
        for r in ("-1,1", "-1000,1000")
    )
    assert narrow["precision"] != wide["precision"]
    refused = run("hls4ml", net, "-o", tmp_path / "out.onnx", "--input-range", "x=1").exception
    assert isinstance(refused, UsageError)
    assert "NAME=LO,HI" in str(refused)


def test_hls4ml_takes_the_logits(softmax, tmp_path):
    assert run("hls4ml", softmax, "-o", tmp_path / "out.onnx").exit_code == 1
    assert run("hls4ml", softmax, "-o", tmp_path / "out.onnx", "--logits").exit_code == 0


def test_c_writes_a_folder_and_prints_flash_and_ram(net, tmp_path):
    result = run("c", net, "-o", tmp_path / "out", "--name", "tiny")
    assert result.exit_code == 0, result.output
    assert "RAM: arena on integers, bytes: " in result.output
    assert sorted(p.name for p in (tmp_path / "out").glob("*.[ch]")) == ["test_tiny.c", "tiny.c", "tiny.h"]
    printed = json.loads(run("c", net, "-o", tmp_path / "out", "--json").output)
    assert printed["figures"]["multiplications"] == 4


def test_c_and_da4ml_write_nothing_that_is_not_exact(softmax, tmp_path):
    for tool in ("c", "da4ml"):
        result = run(tool, softmax, "-o", tmp_path / tool)
        assert result.exit_code == 1
        assert "Softmax 'probabilities'" in result.output
        assert "nothing was written" in result.output
        assert not (tmp_path / tool).exists()
        assert run(tool, softmax, "-o", tmp_path / tool, "--logits").exit_code == 0
        assert (tmp_path / tool).is_dir()
