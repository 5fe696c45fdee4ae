"""anybit ranges, as a user calls it."""

from __future__ import annotations

import json

import onnx
import pytest
from onnx import helper

from tests.cli.command import anybit
from tests.models import mlp, model


@pytest.fixture
def file(tmp_path):
    onnx.save(mlp(), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_tensors_and_accumulators_are_printed(file):
    result = anybit("ranges", file, "--input-range", "x=-0.5,1")
    assert result.returncode == 0, result.stderr
    assert all(text in result.stdout for text in ("xq", "-1 .. 2", "Accumulators", "INT4 x INT4", "bits by weights"))


def test_json_has_the_bounds_of_every_channel(file):
    report = json.loads(anybit("ranges", file, "--json", "--input-range", "x=-0.5,1").stdout)
    tensors = {t["name"]: t for t in report["tensors"]}
    assert (tensors["x"]["lo"], tensors["x"]["hi"]) == (-0.5, 1.0)
    assert len(tensors["h"]["channels"]["lo"]) == 8
    assert tensors["h"]["integers"]["scale"] == [0.125]
    assert [b["bound"] for b in report["accumulators"][0]["bounds"]] == ["data type", "weights", "values"]
    assert report["accumulators"][0]["operands"] == ["INT4", "INT4"]
    assert report["unfollowed"] == []
    assert json.loads(anybit("ranges", file, "--json").stdout)["tensors"][0]["lo"] == "-inf"


def test_nodes_that_are_not_followed_are_seen(tmp_path):
    node = helper.make_node("Mystery", ["x"], ["y"], name="m", domain="elsewhere")
    proto = model([node], {}, inputs={"x": [1]}, outputs=["y"], imports={"": 21, "elsewhere": 1})
    onnx.save(proto, tmp_path / "u.onnx")
    result = anybit("ranges", tmp_path / "u.onnx")
    assert "Mystery 'm'" in result.stdout
    (found,) = json.loads(anybit("ranges", tmp_path / "u.onnx", "--json").stdout)["unfollowed"]
    assert found["node"] == "Mystery 'm'"


@pytest.mark.parametrize(
    "given", [["x"], ["x=1"], ["x=a,b"], ["x=1,2,3"], ["=1,2"], ["x=nan,1"], ["x=2,1"], ["z=0,1"], ["x=0,1", "x=0,2"]]
)
def test_ranges_that_make_no_sense_are_one_line_and_exit_2(file, given):
    result = anybit("ranges", file, *(part for text in given for part in ("--input-range", text)))
    assert result.returncode == 2
    assert "range of an" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stdout == ""
