"""What the help of the command line loads: no test of time, but of what takes it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable

from tests.models import DIGITS

PROGRAM = """
import sys
sys.argv = ["anybit", *{arguments!r}]
from anybit.cli.app import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("loaded:", len(sys.modules), *sorted(set(sys.modules) & {heavy!r}))
"""
HEAVY = {"numpy", "onnx", "onnx_ir", "onnxruntime", "onnxscript", "rich", "sympy"}


def _loaded(arguments: list[str], heavy: Iterable[str]) -> tuple[int, list[str]]:
    """How many modules a command loads, and which of the heavy ones."""
    program = PROGRAM.format(arguments=arguments, heavy=set(heavy))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    _, modules, *found = done.stdout.splitlines()[-1].split()
    return int(modules), found


def test_help_loads_no_library_that_takes_time():
    for arguments in (["--help"], ["quantize", "--help"]):
        modules, heavy = _loaded(arguments, HEAVY)
        assert not heavy
        assert modules < 400


def test_info_loads_no_runtime_and_traces_no_body_of_an_operator():
    model = DIGITS / "model.onnx"
    assert _loaded(["info", str(model)], {"onnxruntime", "onnxscript", "onnx.reference", "rich", "pooch"})[1] == []
