"""anybit report, as a user calls it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import typer
from typer.testing import CliRunner

import anybit
from anybit.cli.report import report
from tests.models import mlp, samples

pytest.importorskip("jinja2", reason="the extra 'report' is not installed")


@pytest.fixture
def file(tmp_path):
    onnx.save(mlp(), tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", x=samples(100, 6))
    np.savez(tmp_path / "bad.npz", x=samples(100, 5))
    return tmp_path / "m.onnx"


def command(*arguments):
    app = typer.Typer()
    app.command()(report)
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_a_page_is_written(file):
    page = file.with_name("r.html")
    result = command(file, "-o", page)
    assert result.exit_code == 0, result.output
    assert "r.html" in result.stdout
    assert page.read_text("utf-8").startswith("<!doctype html>")
    assert '"samples":0' in page.read_text("utf-8")


def test_data_is_run(file):
    page = file.with_name("r.html")
    assert command(file, "-o", page, "-i", file.with_name("x.npz")).exit_code == 0
    assert '"samples":100' in page.read_text("utf-8")


@pytest.mark.parametrize("arguments", [("absent.onnx",), ("m.onnx", "-i", "absent.npz"), ("m.onnx", "-i", "bad.npz")])
def test_an_old_page_stays_where_a_new_one_cannot_be_made(file, monkeypatch, arguments):
    monkeypatch.chdir(file.parent)
    page = file.with_name("r.html")
    page.write_text("old")
    assert isinstance(command(*arguments, "-o", page).exception, anybit.AnybitError)
    assert page.read_text() == "old"
    assert sorted(p.name for p in file.parent.iterdir()) == ["bad.npz", "m.onnx", "r.html", "x.npz"]


def test_a_folder_that_is_not_there_is_refused_by_name(file):
    result = command(file, "-o", file.parent / "absent" / "r.html")
    assert isinstance(result.exception, anybit.AnybitError)
    assert "absent" in str(result.exception)


def test_an_output_is_needed(file):
    assert command(file).exit_code == 2
