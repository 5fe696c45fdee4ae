"""The kernels under the sanitizers of addresses and of undefined behaviour: random plans, on every path."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.models import PROJECT

PROGRAM = """
import numpy as np
from anybit.engines.native.compile import compiled
from anybit.errors import AnybitError
from anybit.plan import execute, plan_of
from tests.plan.nets import random_net

ran = 0
for seed in range(40):
    try:
        plan = plan_of(random_net(seed))
    except AnybitError:
        continue
    rng = np.random.default_rng(seed)
    x = {p.name: (rng.normal(size=(7, *p.shape)) * 3).astype(np.float32) for p in plan.inputs}
    found = compiled(plan, threads=2).run(x)
    for name, array in execute(plan, x).items():
        np.testing.assert_array_equal(found[name], array)
    ran += 1
print(ran)
"""


def _library(name: str) -> str:
    command = [str(shutil.which("c++")), f"-print-file-name={name}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.large
@pytest.mark.parametrize("isa", ["scalar", "avx2"])
def test_random_plans_under_the_sanitizers(isa, tmp_path):
    kernels = pytest.importorskip("anybit_kernels")
    if isa not in kernels.isas():
        pytest.skip(f"the processor has no path {isa}")
    cmake = shutil.which("cmake", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if cmake is None or shutil.which("c++") is None:
        pytest.skip("no cmake or no C++ compiler")
    build, package = tmp_path / "build", tmp_path / "package" / "anybit_kernels"
    options = ["-DANYBIT_SANITIZE=ON", f"-DPython_EXECUTABLE={sys.executable}", "-DSKBUILD_PROJECT_VERSION=0.3.0"]
    configured = [cmake, "-S", str(PROJECT / "native"), "-B", str(build), *options]
    subprocess.run(configured, check=True, capture_output=True)
    subprocess.run([cmake, "--build", str(build)], check=True, capture_output=True)
    shutil.copytree(PROJECT / "native" / "src" / "anybit_kernels", package)
    shutil.copy(build / "_kernels.abi3.so", package)
    environment = os.environ | {
        "ANYBIT_ISA": isa,
        "ASAN_OPTIONS": "detect_leaks=0",  # what Python holds at its end is no leak of ours
        "LD_PRELOAD": f"{_library('libasan.so')} {_library('libstdc++.so.6')}",
        "PYTHONPATH": os.pathsep.join(map(str, (package.parent, PROJECT / "src", PROJECT))),
    }
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    ended = subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert int(ended.stdout) > 30
