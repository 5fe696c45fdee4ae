"""anybit ranges, as a user calls it."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import helper

from anybit.annotations import number_format
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


def test_bounds_by_channel_come_from_files_in_every_command(file, tmp_path):
    low, high = -np.arange(6.0), np.arange(6.0) + 1
    np.save(tmp_path / "rows.npy", np.stack([low, high]))
    np.savez(tmp_path / "named.npz", low=low, high=np.float64(7), axis=np.int64(-1))
    for option in ("--input-range", "--input"):
        report = json.loads(anybit("ranges", file, "--json", option, f"x={tmp_path / 'rows.npy'}").stdout)
        channels = next(t for t in report["tensors"] if t["name"] == "x")["channels"]
        assert (channels["lo"], channels["hi"]) == (low.tolist(), high.tolist())
    named = json.loads(anybit("ranges", file, "--json", "--input", f"x={tmp_path / 'named.npz'}").stdout)
    assert next(t for t in named["tensors"] if t["name"] == "x")["hi"] == 7.0
    np.save(tmp_path / "narrow.npy", np.stack([np.zeros(6), np.full(6, 0.5)]))
    stated = ("--input", f"x={tmp_path / 'narrow.npy'}")
    kinds = {}
    for name, given in (("wide", ()), ("narrow", stated)):
        rows = json.loads(anybit("types", file, "--json", *given).stdout)
        kinds[name] = next(t["format"] for t in rows if t["name"] == "h")
    assert kinds["wide"] != kinds["narrow"]
    written = tmp_path / "typed.onnx"
    assert anybit("types", file, "-o", written, *stated).returncode == 0
    assert str(number_format(written, "h")) == kinds["narrow"]
    assert anybit("cost", file, "--json", *stated).returncode == 0
    assert anybit("report", file, "-o", tmp_path / "page.html", *stated).returncode == 0
    hand_over = anybit("prepare", "hls4ml", file, "-o", tmp_path / "p.onnx", *stated)
    assert hand_over.returncode in (0, 1), hand_over.stderr


@pytest.mark.parametrize(
    "content",
    [
        np.zeros((3, 6)),
        np.zeros(6),
        {"low": np.zeros(6)},
        {"low": np.zeros(6), "high": np.ones(6), "at": 1},
        {"low": np.zeros(6), "high": np.ones(6), "axis": np.float64(1)},
        {"low": np.zeros(5), "high": np.ones(5)},
    ],
)
def test_files_that_hold_no_bounds_are_one_line_and_exit_2(file, tmp_path, content):
    path = tmp_path / ("f.npz" if isinstance(content, dict) else "f.npy")
    np.savez(path, **content) if isinstance(content, dict) else np.save(path, content)
    for command in ("ranges", "types", "cost"):
        result = anybit(command, file, "--input", f"x={path}")
        assert result.returncode == 2, result.stdout
        assert len(result.stderr.strip().splitlines()) == 1
    missing = anybit("ranges", file, "--input", f"x={tmp_path / 'none.npy'}")
    assert missing.returncode == 2
    assert "none.npy" in missing.stderr
