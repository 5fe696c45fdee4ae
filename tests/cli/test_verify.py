"""anybit verify: exit codes, the table, JSON, and the counter-example's file."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import typer
from typer.testing import CliRunner

from anybit.cli.verify import verify
from anybit.errors import ModelFileError
from tests.exact.test_equivalence import CHANGES, changed
from tests.models import mlp

_APP = typer.Typer()
_APP.command()(verify)


def run(*arguments: object):
    return CliRunner().invoke(_APP, [str(a) for a in arguments], catch_exceptions=False)


@pytest.fixture
def files(tmp_path):
    onnx.save(mlp(), tmp_path / "a.onnx")
    onnx.save(changed(mlp(), "w", CHANGES["negated"]), tmp_path / "b.onnx")
    return tmp_path


def test_equal_models(files):
    result = run(files / "a.onnx", files / "a.onnx", "-o", files / "counter.npz")
    assert result.exit_code == 0
    assert "exact by construction" in result.stdout
    assert not (files / "counter.npz").exists()


def test_different_models(files):
    result = run(files / "a.onnx", files / "b.onnx", "-o", files / "counter.npz", "--samples", 4)
    assert result.exit_code == 1
    assert "output 'y' differs by" in result.stdout
    assert np.load(files / "counter.npz")["x"].shape == (1, 6)


def test_json(files):
    report = json.loads(run(files / "a.onnx", files / "b.onnx", "--json", "--samples", 4).stdout)
    assert (report["exact"], report["verdict"], report["written"]) == (False, "different", None)
    assert report["counter_example"]["largest"] > 0
    assert [s["a"] for s in report["layers"]] == ["Quant 'xq_node'", "Quant 'y_node'"]


def test_an_unreadable_model(files):
    with pytest.raises(ModelFileError):
        run(files / "a.onnx", files / "absent.onnx")
