"""write_finn_project: the folder, the steps that a model needs, and, where there is one, the real tool."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import anybit
from anybit.errors import ModelFileError, UsageError
from anybit.number_formats import parse_number_format
from anybit.targets import write_finn_project
from anybit.targets.finn.project.steps import steps_of
from tests.hardware.finn_rows import build, python
from tests.targets.finn.nets import NETS
from tests.targets.hls4ml.nets import Net

FILES = {".anybit-project", "model.onnx", "build.py", "input.npy", "expected_output.npy"}


def handover(make: Callable[[], Net]):
    net = make()
    found = anybit.prepare_finn(net.proto(*net.outputs), logits=True)
    assert found.ready, found.findings
    return found


def mlp() -> Net:
    return Net(6).quant().dense(6, 4).quant().dense(4, 3)


def test_a_folder_that_builds(tmp_path):
    made = handover(mlp)
    write_finn_project(made, tmp_path / "p", board="Pynq-Z2", target_fps=100, clock_ns=5.0, samples=3)
    assert {f.name for f in (tmp_path / "p").iterdir()} == FILES
    x, expected = (np.load(tmp_path / "p" / name) for name in ("input.npy", "expected_output.npy"))
    session = anybit.Session(tmp_path / "p/model.onnx", engine="reference")
    np.testing.assert_array_equal(np.concatenate([session.run(row[None])[session.outputs[0]] for row in x]), expected)
    script = (tmp_path / "p/build.py").read_text()
    compile(script, "build.py", "exec")
    assert "BOARD = 'Pynq-Z2'" in script
    assert "TARGET_FPS = 100\n" in script
    assert "CLOCK_NS = 5.0\n" in script
    assert "$" not in script


def test_an_earlier_project_is_replaced_and_nothing_else(tmp_path):
    made = handover(mlp)
    write_finn_project(made, tmp_path / "p")
    write_finn_project(made, tmp_path / "p", target_fps=7)
    assert "TARGET_FPS = 7\n" in (tmp_path / "p/build.py").read_text()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "build.py").write_text("mine")
    with pytest.raises(ModelFileError, match="no earlier project"):
        write_finn_project(made, tmp_path / "other")
    assert [f.name for f in (tmp_path / "other").iterdir()] == ["build.py"]
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ModelFileError, match="no earlier project"):
        write_finn_project(made, tmp_path / "file")
    with pytest.raises(ModelFileError):
        write_finn_project(made, tmp_path / "file" / "p")


@pytest.mark.parametrize(
    "options",
    [
        {"board": "x'; import os"},
        {"board": ""},
        {"target_fps": 0},
        {"clock_ns": 0.0},
        {"clock_ns": float("nan")},
        {"clock_ns": float("inf")},
        {"samples": 0},
    ],
)
def test_options_out_of_range_are_misuse(options, tmp_path):
    with pytest.raises(UsageError):
        write_finn_project(handover(mlp), tmp_path / "p", **options)
    assert not (tmp_path / "p").exists()


def test_what_is_not_ready_is_no_project(tmp_path):
    refused = anybit.prepare_finn(Net(6).quant().dense(6, 4).op("Softmax").proto())
    with pytest.raises(UsageError, match="in the way"):
        write_finn_project(refused, tmp_path / "p")
    hub = anybit.prepare_finn(mlp().proto(), form="qonnx")
    assert hub.ready
    with pytest.raises(UsageError, match="quantisers"):
        write_finn_project(hub, tmp_path / "p")


def test_several_outputs_are_not_compared(tmp_path):
    net = Net(6).quant().dense(6, 4)
    first = net.quant(0.5).at
    net.quant(0.25)
    net.outputs = (first, net.at)
    write_finn_project(handover(lambda: net), tmp_path / "p")
    assert {f.name for f in (tmp_path / "p").iterdir()} == {".anybit-project", "model.onnx", "build.py"}


@pytest.mark.parametrize("name", NETS)
def test_steps_are_those_that_the_model_needs(name: str):
    case = NETS[name]
    steps = steps_of(handover(case.make).model)
    assert case.needs <= {*steps.arrange, *steps.convert}
    assert not case.needs_not & {*steps.arrange, *steps.convert}
    assert steps.executable == case.executable


def test_an_input_of_integers_is_stated_in_the_file(tmp_path):
    found = anybit.prepare_finn(mlp().proto(), input_types={"x": parse_number_format("INT4")})
    write_finn_project(found, tmp_path / "p")
    x = np.load(tmp_path / "p/input.npy")
    assert set(np.unique(x)) <= set(range(-8, 8))


@pytest.mark.skipif(python() is None, reason="FINN_PYTHON names no Python that has FINN")
@pytest.mark.parametrize("name", NETS)
def test_finn_builds_it_and_computes_the_same(name: str, tmp_path: Path):
    write_finn_project(handover(NETS[name].make), tmp_path / "p", target_fps=1000)
    done = build(tmp_path / "p")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "estimated_throughput_fps" in done.stdout
