"""Killed at any change of a file, or with a full disk from there on: what is left is whole, the old or the new."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.models import PROJECT

DRIVER = Path(__file__).with_name("driver.py")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scenario", "step"),
    [
        *(("Clean", 1), ("Convert", 3), ("Save", 1), ("SaveInside", 1), ("SaveBeside", 1)),
        *(("Fetch", 3), ("Evaluate", 1), ("Site", 5)),
        *(pytest.param(name, 1, marks=pytest.mark.large) for name in ("Convert", "Fetch", "Site", "Add")),
    ],
)
def test_what_is_left_is_whole(faults, tmp_path, scenario, step):
    paths = [str(PROJECT), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"LD_PRELOAD": str(faults), "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    ended = subprocess.run(
        [sys.executable, str(DRIVER), scenario, str(tmp_path), str(step)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )
    assert ended.returncode == 0, ended.stderr
    kills, failures = map(int, ended.stdout.split())
    assert kills >= 4, "each of them changes more than that"
    assert failures >= kills
