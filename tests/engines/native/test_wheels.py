"""Both wheels, in an environment that has nothing else: the shipped models run by the kernels, and without them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.models import PROJECT

PROGRAM = """
import sys
import numpy as np
import anybit
from anybit.engines.sampling import random_inputs
path = sys.argv[1]
session = anybit.Session(path)
x = random_inputs(path, 3)
np.testing.assert_array_equal(session.run(x)["logits"], anybit.run(path, x, engine="reference")["logits"])
print(session.engine.value)
"""


def _run(*command: str | Path) -> str:
    ended = subprocess.run([str(c) for c in command], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout.strip()


@pytest.mark.large
def test_both_wheels_run_in_an_empty_environment(tmp_path):
    if shutil.which("c++") is None:
        pytest.skip("no C++ compiler")
    wheels, python = tmp_path / "wheels", tmp_path / "venv" / "bin" / "python"
    _run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", wheels, ".", "./native")
    (kernels,) = wheels.glob("anybit_kernels-*.whl")
    assert "-cp311-abi3-" in kernels.name
    _run(sys.executable, "-m", "venv", tmp_path / "venv")
    (own,) = set(wheels.glob("anybit-*.whl"))
    model = PROJECT / "src" / "anybit" / "zoo" / "models" / "digits_cnn_2w2a" / "model.onnx"
    _run(python, "-m", "pip", "install", "--quiet", "--constraint", "constraints.txt", own)
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    assert _run(python, program, model) == "onnxruntime"
    _run(python, "-m", "pip", "install", "--quiet", "--no-deps", kernels)
    assert _run(python, program, model) == "native"
