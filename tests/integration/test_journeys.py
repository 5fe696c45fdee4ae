"""What a researcher, an FPGA engineer and a deployment engineer do first, where nothing but the wheel is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.models import PROJECT

pytestmark = pytest.mark.slow

_TIMEOUT = 600
_FLOAT_MODEL = """
import numpy as np
import onnx
from onnx import helper, numpy_helper

data = np.load("test.npz")
rng = np.random.default_rng(0)
sizes = (data["pixels"].reshape(len(data["pixels"]), -1).shape[1], 32, 10)
values = {f"w{i}": rng.normal(0, m**-0.5, (m, n)) for i, (m, n) in enumerate(zip(sizes, sizes[1:]))}
nodes = [
    helper.make_node("MatMul", ["x", "w0"], ["h"]),
    helper.make_node("Relu", ["h"], ["r"]),
    helper.make_node("MatMul", ["r", "w1"], ["y"]),
]
graph = helper.make_graph(
    nodes,
    "float",
    [helper.make_tensor_value_info("x", 1, ["N", sizes[0]])],
    [helper.make_tensor_value_info("y", 1, ["N", 10])],
    [numpy_helper.from_array(a.astype(np.float32), n) for n, a in values.items()],
)
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "float.onnx")
np.savez("calibration.npz", x=data["pixels"].reshape(len(data["pixels"]), -1)[:64].astype(np.float32) / 16)
"""
_IN_STOCK = """
import numpy as np
import onnxruntime
import anybit

x = np.load("calibration.npz")["x"]
stock = onnxruntime.InferenceSession("anywhere.onnx").run(None, {"x": x})[0]
print(np.abs(stock - anybit.run("quantised.onnx", x)["y"]).max() < 1e-6)
"""


class Shell:
    """Commands in a folder, with the programs of one environment alone."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self.folder = programs, folder

    def __call__(self, program: str, *arguments: str) -> str:
        """What a command prints; the test fails if the command does."""
        ended = self.ended(program, *arguments)
        assert not ended.returncode, f"{program} {' '.join(arguments)}\n{ended.stdout}\n{ended.stderr[-3000:]}"
        return ended.stdout

    def ended(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command, once it has ended, however it did."""
        return subprocess.run(
            [str(self._programs / program), *arguments],
            cwd=self.folder,
            env={"PATH": f"{self._programs}{os.pathsep}/usr/bin", "HOME": str(self.folder), "COLUMNS": "100"},
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT,
        )

    def size(self, name: str) -> int:
        """Bytes of a file."""
        return (self.folder / name).stat().st_size


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment into which the wheel was installed."""
    folder = tmp_path_factory.mktemp("wheel")
    python = folder / "venv" / "bin" / "python"
    for command in (
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(PROJECT)],
        [sys.executable, "-m", "venv", str(folder / "venv")],
        [str(python), "-m", "pip", "install", "--quiet", "--constraint", "constraints.txt", str(folder / "*.whl")],
    ):
        made = [str(p) for a in command for p in (folder.glob("*.whl") if a.endswith("*.whl") else [a])]
        ended = subprocess.run(made, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=_TIMEOUT)
        assert ended.returncode == 0, ended.stderr[-3000:]
    return python.parent


@pytest.fixture
def shell(programs: Path, tmp_path: Path) -> Shell:
    return Shell(programs, tmp_path)


def _fetched(shell: Shell, name: str) -> str:
    """Fetches a model that ships, and puts it and its test data into the folder."""
    path = Path(shell("anybit", "zoo", "fetch", name).strip())
    for file in (path, path.with_name("test.npz")):
        (shell.folder / file.name).write_bytes(file.read_bytes())
    return path.name


def test_a_researcher_looks_at_a_model(shell):
    model = _fetched(shell, "digits_resnet_mixed")
    assert "quantis" in shell("anybit", "info", model)
    shell("anybit", "check", model)
    shell("anybit", "clean", model, "-o", "clean.onnx")
    assert "exact" in shell("anybit", "verify", model, "clean.onnx")
    shell("anybit", "compare", model, "clean.onnx", "--samples", "4")
    assert json.loads(shell("anybit", "cost", model, "--json"))
    shell("anybit", "ranges", model)
    found = json.loads(shell("anybit", "evaluate", model, "--data", "test.npz", "--workers", "1", "--json"))
    claimed = json.loads(shell("anybit", "zoo", "info", "digits_resnet_mixed", "--json"))
    assert found["score"] == pytest.approx(claimed["claim"]["value"], abs=5e-4)
    shell("anybit", "report", model, "-o", "page.html")
    assert shell.size("page.html") > 100_000


def test_an_fpga_engineer_gets_projects(shell):
    model = _fetched(shell, "digits_cnn_4w4a")
    for tool, files in (
        ("finn", ("model.onnx", "build.py", "input.npy", "expected_output.npy")),
        ("hls4ml", ("model.onnx", "build.py", "hls4ml_config.yml", "input.npy", "expected_output.npy")),
        ("c", ("CMakeLists.txt",)),
    ):
        shell("anybit", "prepare", tool, model, "-o", tool)
        assert {*files} <= {p.name for p in (shell.folder / tool).iterdir()}
    for script in sorted(shell.folder.glob("*/build.py")):
        compile(script.read_text(), str(script), "exec")


def test_a_deployment_engineer_makes_a_float_model_small(shell):
    _fetched(shell, "digits_mlp_2w2a")
    shell("python", "-c", _FLOAT_MODEL)
    shell(
        "anybit", "quantize", "float.onnx", "--calibration", "calibration.npz",
        "--weights", "4", "--activations", "8", "-o", "quantised.onnx",
    )  # fmt: skip
    shell("anybit", "convert", "quantised.onnx", "--to", "qonnx", "--pack", "-o", "packed.onnx")
    assert shell.size("packed.onnx") < shell.size("float.onnx") / 2
    shell("anybit", "convert", "quantised.onnx", "--to", "qcdq", "--standard", "-o", "anywhere.onnx")
    assert "exact" in shell("anybit", "verify", "quantised.onnx", "anywhere.onnx")
    assert shell("python", "-c", _IN_STOCK).strip() == "True"
    shell("anybit", "bench", "quantised.onnx", "--rounds", "1", "--batch-size", "1", "--no-peers")


def test_what_is_wrong_is_one_line(shell):
    (shell.folder / "broken.onnx").write_bytes(b"no model")
    for name in ("broken.onnx", "absent.onnx"):
        ended = shell.ended("anybit", "info", name)
        assert (ended.returncode, ended.stdout) == (2, "")
        (line,) = ended.stderr.splitlines()
        assert name in line
