"""The hand-over examples, as a user runs them; they need torch and hls4ml, and are run by `make test-torch`."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.models import PROJECT

EXAMPLES = PROJECT / "examples"

needs_frameworks = pytest.mark.skipif(
    find_spec("brevitas") is None or find_spec("hls4ml") is None, reason="needs brevitas and hls4ml: make test-torch"
)


needs_sklearn = pytest.mark.skipif(
    find_spec("sklearn") is None, reason="needs scikit-learn: pip install 'anybit[train]'"
)


def run_example(name: str, folder: Path) -> str:
    """What an example prints."""
    command = [sys.executable, str(EXAMPLES / f"{name}.py")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def percent(tool: str, printed: str) -> float:
    """The accuracy on the line of a tool."""
    found = re.search(rf"^{tool} +(\S+)% of 360", printed, re.MULTILINE)
    assert found
    return float(found[1])


@pytest.mark.slow
@needs_sklearn
def test_a_float_net_becomes_small_files_of_four_bits(tmp_path):
    printed = run_example("quantize_to_files", tmp_path)
    assert percent("QDQ", printed) > percent("float", printed) - 3
    assert percent("FINN", printed) > percent("float", printed) - 5
    assert "0 of 3600 scores differ" in printed
    found = re.findall(r"^(\S+) +.*images, (\S+) bytes", printed, re.MULTILINE)
    sizes = {tool: int(size.replace(",", "")) for tool, size in found}
    assert sizes["QDQ"] < 0.6 * sizes["float"]


@needs_frameworks
def test_a_float_net_is_exact_in_hls4ml(tmp_path):
    printed = run_example("quantize_to_hls4ml", tmp_path)
    assert percent("hls4ml", printed) == percent("4 bits", printed) > percent("float", printed) - 5
    assert "0 of 3600 scores differ" in printed


@needs_frameworks
@pytest.mark.parametrize(("name", "tool"), [("brevitas_to_hls4ml", "hls4ml"), ("brevitas_to_finn", "FINN")])
def test_nothing_is_lost_on_the_way(name, tool, tmp_path):
    printed = run_example(name, tmp_path)
    before = re.search(r"^Brevitas +(\S+% of 360)", printed, re.MULTILINE)
    after = re.search(rf"^{tool} +(\S+% of 360) test images; 0 of 3600 scores differ", printed, re.MULTILINE)
    assert before
    assert after
    assert before[1] == after[1]
