"""anybit report, as a user calls it."""

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
    np.savez(tmp_path / "bad.npz", x=samples(100, 5))
    return tmp_path / "m.onnx"


def test_a_page_is_written(file):
    page = file.with_name("r.html")
    result = anybit("report", file, "-o", page)
    assert result.returncode == 0, result.stderr
    assert "r.html" in result.stdout
    assert page.read_text("utf-8").startswith("<!doctype html>")
    assert '"samples":0' in page.read_text("utf-8")


def test_data_is_run(file):
    page = file.with_name("r.html")
    assert anybit("report", file, "-o", page, "-i", file.with_name("x.npz")).returncode == 0
    assert '"samples":100' in page.read_text("utf-8")


@pytest.mark.parametrize("names", [("x", "labels"), ("images", "labels")])
def test_labels_beside_the_data_are_left_out_and_named(file, names):
    pages = [file.with_name(n) for n in ("plain.html", "labelled.html")]
    x, data = samples(100, 6), file.with_name("data.npz")
    np.savez(data, **dict(zip(names, (x, np.arange(100)), strict=True)))
    assert anybit("report", file, "-o", pages[0], "--data", file.with_name("x.npz")).returncode == 0
    result = anybit("report", file, "-o", pages[1], "--data", data)
    assert result.returncode == 0, result.stderr
    assert "left out: 'labels'" in result.stderr
    assert ("fed: 'images' as 'x'" in result.stderr) == (names[0] == "images")
    assert pages[1].read_bytes() == pages[0].read_bytes()


def test_arrays_that_may_both_be_the_input_are_refused(file):
    np.savez(file.with_name("two.npz"), a=samples(10, 6), b=samples(10, 6))
    result = anybit("report", file, "-o", file.with_name("r.html"), "--data", file.with_name("two.npz"))
    assert result.returncode == 2
    assert "which arrays are the inputs?: got 'a', 'b'" in result.stderr


@pytest.mark.parametrize("arguments", [("absent.onnx",), ("m.onnx", "-i", "absent.npz"), ("m.onnx", "-i", "bad.npz")])
def test_an_old_page_stays_where_a_new_one_cannot_be_made(file, monkeypatch, arguments):
    monkeypatch.chdir(file.parent)
    page = file.with_name("r.html")
    page.write_text("old")
    result = anybit("report", *arguments, "-o", page)
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert page.read_text() == "old"
    assert sorted(p.name for p in file.parent.iterdir()) == ["bad.npz", "m.onnx", "r.html", "x.npz"]


def test_a_folder_that_is_not_there_is_refused_by_name(file):
    result = anybit("report", file, "-o", file.parent / "absent" / "r.html")
    assert result.returncode == 2
    assert "absent" in result.stderr


def test_an_output_is_needed(file):
    assert anybit("report", file).returncode == 2


def test_two_models_are_set_side_by_side(file):
    page = file.with_name("r.html")
    onnx.save(mlp(), file.with_name("later.onnx"))
    result = anybit("report", file, file.with_name("later.onnx"), "-o", page, "--no-targets")
    assert result.returncode == 0, result.stderr
    assert "<title>m.onnx \N{RIGHTWARDS ARROW} later.onnx" in page.read_text("utf-8")


def test_what_was_measured_goes_into_the_page(file):
    page, losses, front = (file.with_name(n) for n in ("r.html", "s.json", "f.json"))
    divergence = {"kl": 0.1, "error": 0.01, "changed": 0.5, "accuracy": None}
    row = {"tensor": "xq", "is_weight": False, "bits": 4, "divergence": divergence}
    losses.write_text(json.dumps({"samples": 8, "tensors": [row], "accuracy": None}))
    front.write_text(json.dumps({"points": [{"loss": 0.5, "costs": {"bops": 7}, "bits": {"xq": 4}}]}))
    result = anybit("report", file, "-o", page, "--sensitivity", losses, "--front", front, "--no-targets")
    assert result.returncode == 0, result.stderr
    text = page.read_text("utf-8")
    assert '"sqnr":20.0' in text
    assert '"front":[{"loss":0.5,"costs":[["bops",7]],"bits":[[4,1]]}]' in text
    assert 'id="tab-targets"' not in text


@pytest.mark.parametrize("option", ["--sensitivity", "--front"])
@pytest.mark.parametrize("content", ["", "[]", '{"samples": "many"}', "{", '{"points": [{}]}'])
def test_a_file_of_something_else_is_refused(file, option, content):
    other = file.with_name("other.json")
    other.write_text(content)
    result = anybit("report", file, "-o", file.with_name("r.html"), option, other)
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert not file.with_name("r.html").exists()
