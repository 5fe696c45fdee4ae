"""The project folder: what is in it, what refuses it, and that its script builds it in hls4ml's environment."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

import anybit
from anybit.errors import AnybitError, ModelFileError
from anybit.targets import IoType, write_hls4ml_project
from anybit.targets.hls4ml.prepare import prepare_hls4ml
from tests.environments import environment
from tests.models import PROJECT
from tests.targets.hls4ml.emulation import REQUIREMENTS
from tests.targets.hls4ml.nets import Net

SHIPPED = PROJECT / "src" / "anybit" / "zoo" / "models"
FILES = {".anybit-project", "build.py", "expected_output.npy", "hls4ml_config.yml", "input.npy", "model.onnx"}
_QUICK_COMPILER = (
    '#!/bin/sh\nfor a; do shift; [ "$a" = -O3 ] && a=-O0; set -- "$@" "$a"; done\nexec /usr/bin/g++ "$@"\n'
)


def _built(folder: Path, tools: Path) -> subprocess.CompletedProcess[str]:
    """What the script prints, with a g++ in front that optimises nothing."""
    tools.mkdir()
    (tools / "g++").write_text(_QUICK_COMPILER)
    (tools / "g++").chmod(0o755)
    variables = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    command = [str(environment("hls4ml", REQUIREMENTS)), str(folder / "build.py")]
    return subprocess.run(command, capture_output=True, text=True, env=variables, check=False, timeout=1200)


def test_a_folder_has_all_that_a_user_needs(tmp_path):
    handover = prepare_hls4ml(Net(6).quant().dense(6, 4).proto())
    write_hls4ml_project(handover, tmp_path / "made", samples=5)
    assert {p.name for p in (tmp_path / "made").iterdir()} == FILES
    x, y = (np.load(tmp_path / "made" / f"{n}.npy") for n in ("input", "expected_output"))
    assert x.shape == (5, 6)
    (expected,) = anybit.run(Net(6).quant().dense(6, 4).proto(), x).values()
    assert (y == expected).all()
    model = anybit.load(tmp_path / "made" / "model.onnx")
    config = (tmp_path / "made" / "hls4ml_config.yml").read_text()
    assert all(f"\n    {n.name}:" in config for n in model.graph if n.op_type in ("MatMul", "Add", "Relu"))
    assert "accum: fixed<" in config


def test_an_earlier_project_is_replaced_and_nothing_else_is(tmp_path):
    handover = prepare_hls4ml(Net(6).quant().dense(6, 4).proto())
    write_hls4ml_project(handover, tmp_path / "made")
    write_hls4ml_project(handover, tmp_path / "made")
    assert {p.name for p in (tmp_path / "made").iterdir()} == FILES
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    with pytest.raises(ModelFileError, match="no earlier project"):
        write_hls4ml_project(handover, tmp_path / "other")
    assert [p.name for p in (tmp_path / "other").iterdir()] == ["mine.txt"]
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelFileError, match="no earlier project"):
        write_hls4ml_project(handover, tmp_path / "file")


def test_what_is_not_ready_is_not_written(tmp_path):
    handover = prepare_hls4ml(Net(6).quant().dense(6, 4).op("Sigmoid").proto())
    with pytest.raises(AnybitError, match="stands in the way"):
        write_hls4ml_project(handover, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_samples_stay_within_the_range_that_was_stated(tmp_path):
    net = Net(6).quant(0.25).dense(6, 4)
    write_hls4ml_project(prepare_hls4ml(net.proto(), input_ranges={"x": (0, 0.5)}), tmp_path / "made")
    x = np.load(tmp_path / "made" / "input.npy")
    assert x.min() >= 0
    assert x.max() <= 0.5


def test_several_outputs_have_a_file_each(tmp_path):
    net = Net(6).quant().dense(6, 6)
    middle = net.at
    net.quant().dense(6, 4)
    write_hls4ml_project(prepare_hls4ml(net.proto(middle, net.at)), tmp_path / "made")
    shapes = [np.load(tmp_path / "made" / f"expected_output_{i}.npy").shape for i in range(2)]
    assert shapes == [(32, 6), (32, 4)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "io_type", "reuse"),
    [("digits_mlp_4w4a", IoType.PARALLEL, 8), ("digits_cnn_4w4a", IoType.STREAM, None)],
)
def test_the_script_builds_and_finds_no_difference(name: str, io_type: IoType, reuse: int | None, tmp_path: Path):
    handover = prepare_hls4ml(SHIPPED / name / "model.onnx", logits=True, io_type=io_type, reuse=reuse)
    write_hls4ml_project(handover, tmp_path / "made", samples=8)
    done = _built(tmp_path / "made", tmp_path / "tools")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "largest difference 0," in done.stdout
    assert handover.configuration is not None
    told = [str(layer.precision["accum"]) for layer in handover.configuration.layers if layer.proven]
    assert all(f"accum={t} " in done.stdout for t in told), done.stdout


@pytest.mark.slow
def test_the_script_notices_a_difference(tmp_path: Path):
    write_hls4ml_project(prepare_hls4ml(Net(6).quant().dense(6, 4).proto()), tmp_path / "made", samples=8)
    expected = np.load(tmp_path / "made" / "expected_output.npy")
    np.save(tmp_path / "made" / "expected_output.npy", expected + (np.arange(8) == 3)[:, None])
    done = _built(tmp_path / "made", tmp_path / "tools")
    assert done.returncode == 1
    assert "largest difference 1," in done.stdout
