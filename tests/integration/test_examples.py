"""The hand-over examples, as a user runs them; they need torch and hls4ml, and are run by `make test-torch`."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec

import pytest

from tests.models import PROJECT

EXAMPLES = PROJECT / "examples"

needs_frameworks = pytest.mark.skipif(
    find_spec("brevitas") is None or find_spec("hls4ml") is None, reason="needs brevitas and hls4ml: make test-torch"
)


@needs_frameworks
@pytest.mark.parametrize(("name", "tool"), [("brevitas_to_hls4ml", "hls4ml"), ("brevitas_to_finn", "FINN")])
def test_nothing_is_lost_on_the_way(name, tool, tmp_path):
    command = [sys.executable, str(EXAMPLES / f"{name}.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    before = re.search(r"^Brevitas +(\S+% of 360)", done.stdout, re.MULTILINE)
    after = re.search(rf"^{tool} +(\S+% of 360) test images; 0 of 3600 scores differ", done.stdout, re.MULTILINE)
    assert before
    assert after
    assert before[1] == after[1]
