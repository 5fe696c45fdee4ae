"""anybit bench, as a user calls it."""

from __future__ import annotations

import json
import re

import onnx
import pytest
import typer
from typer.testing import CliRunner

from anybit.cli.bench import bench
from anybit.errors import InputError, UsageError
from tests.models import DIGITS, mlp

application = typer.Typer()
application.command()(bench)


def call(*arguments: object):
    return CliRunner().invoke(application, [str(a) for a in arguments])


def test_speed_and_accuracy_as_json():
    result = call(
        DIGITS / "model.onnx",
        "--engine",
        "auto,reference",
        "--batch-size",
        "1,16",
        "--rounds",
        1,
        "--data",
        DIGITS / "test.npz",
        "--labels",
        "labels",
        "--top",
        3,
        "--json",
    )
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["speed"]["threads"] == 1
    assert {(t["contender"], t["batch_size"]) for t in report["speed"]["timings"]} >= {
        (name, size) for name in ("auto", "reference", "ONNX Runtime, QCDQ") for size in (1, 16)
    }
    assert report["accuracy"]["auto"]["correct"] == report["accuracy"]["reference"]["correct"] > 340
    assert report["accuracy"]["auto"]["correct_in_top"] > report["accuracy"]["auto"]["correct"]


def test_tables(tmp_path):
    onnx.save(mlp(), tmp_path / "m.onnx")
    result = call(tmp_path / "m.onnx", "--rounds", 1, "--batch-size", 2, "--no-peers")
    assert result.exit_code == 0, result.output
    assert "Speed in 1 thread: medians of 1 alternating rounds" in result.stdout
    assert re.search(r"^auto +2 ", result.stdout, re.MULTILINE)
    assert re.search(r"^onnxruntime +yes +16 +0 ", result.stdout, re.MULTILINE)
    assert "QCDQ" not in result.stdout


def test_accuracy_alone():
    result = call(DIGITS / "model.onnx", "--rounds", 0, "--engine", "auto", "--data", DIGITS / "test.npz")
    assert result.exit_code == 0, result.output
    assert "Speed" not in result.stdout
    assert re.search(r"^auto +360 +0\.98\d+ +35\d ", result.stdout, re.MULTILINE)


def test_engines_that_depart_are_findings(monkeypatch, tmp_path):
    from anybit.benchmarking import bench as measured

    monkeypatch.setattr(measured.PeerAgreement, "agrees", property(lambda a: a.contender != "reference"))
    onnx.save(mlp(), tmp_path / "m.onnx")
    path = tmp_path / "m.onnx"
    assert call(path, "--rounds", 1, "--engine", "auto,reference", "--no-peers").exit_code == 1
    assert call(path, "--rounds", 1, "--engine", "auto,onnxruntime", "--no-peers").exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("--batch-size", "a"),
        ("--batch-size", "0"),
        ("--threads", 0),
        ("--rounds", -1),
        ("--rounds", 0),
        ("--labels", "t"),
        ("--engine", "gpu"),
        ("--engine", ","),
        ("--rounds", 0, "--data", DIGITS / "test.npz", "--metric", "f1"),
    ],
)
def test_misuse_is_named(tmp_path, arguments):
    onnx.save(mlp(), tmp_path / "m.onnx")
    result = call(tmp_path / "m.onnx", "--no-peers", *arguments)
    assert isinstance(result.exception, UsageError)


def test_data_that_do_not_fit_are_named(tmp_path):
    onnx.save(mlp(), tmp_path / "m.onnx")
    result = call(tmp_path / "m.onnx", "--rounds", 0, "--data", DIGITS / "test.npz")
    assert isinstance(result.exception, InputError)
