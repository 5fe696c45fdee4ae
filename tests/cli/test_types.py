"""anybit types, as a user calls it."""

from __future__ import annotations

import json

import onnx
import pytest

from anybit.graph.annotations import annotated_number_format
from anybit.io.load import load
from tests.cli.command import anybit
from tests.models import DIGITS, mlp


@pytest.fixture
def file(tmp_path):
    onnx.save(mlp(), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_the_table_names_every_tensor_that_is_no_initializer(file):
    result = anybit("types", file)
    assert result.returncode == 0, result.stderr
    assert all(text in result.stdout for text in ("xq", "wq", "FIXED<4,3>", "SCALEDINT<4>", "UINT4", "constant"))
    assert "y_bits" not in result.stdout


def test_json_has_formats_as_text(file):
    rows = {t["name"]: t for t in json.loads(anybit("types", file, "--json").stdout)}
    assert rows["wq"]["format"] == "FIXED<4,2>"
    assert rows["wq"]["role"] == "constant"
    assert rows["wq"]["scale"] == {"smallest": 0.25, "largest": 0.25, "entries": 1}
    assert rows["y_bits"]["format"] == "UINT3"
    legacy = {t["name"]: t for t in json.loads(anybit("types", file, "--json", "--legacy").stdout)}
    assert (legacy["h"]["format"], legacy["r"]["format"]) == ("FLOAT32", "FLOAT32")
    scaled = anybit("types", file, "--json", "--legacy", "--allow-scaledint-dtypes").stdout
    assert {t["name"]: t["format"] for t in json.loads(scaled)}["h"] == "SCALEDINT<32>"


def test_the_setting_of_the_legacy_inference_needs_it(file):
    assert anybit("types", file, "--allow-scaledint-dtypes").returncode == 2


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), "FIXED<4,2>"),
        (("--legacy",), "FLOAT32"),
        (("--legacy", "--allow-scaledint-dtypes"), "SCALEDINT<4>"),
    ],
)
def test_annotations_are_written(file, options, expected):
    out = file.with_name("out.onnx")
    result = anybit("types", file, "-o", out, *options)
    assert result.returncode == 0, result.stderr
    (node,) = (n for n in load(out).graph if n.outputs[0].name == "wq")
    assert str(annotated_number_format(node.outputs[0])) == expected


def test_a_missing_file_is_one_line_and_exit_2(file):
    result = anybit("types", file.with_name("absent.onnx"), "-o", file.with_name("out.onnx"))
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert not file.with_name("out.onnx").exists()


def test_the_demo_model_is_readable():
    result = anybit("types", DIGITS / "model.onnx")
    assert result.returncode == 0
    assert max(map(len, result.stdout.splitlines())) < 120
