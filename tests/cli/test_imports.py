"""What the help of the command line loads: no test of time, but of what takes it."""

from __future__ import annotations

import subprocess
import sys

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


def test_help_loads_no_library_that_takes_time():
    for arguments in (["--help"], ["quantize", "--help"]):
        program = PROGRAM.format(arguments=arguments, heavy=HEAVY)
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        _, modules, *heavy = done.stdout.splitlines()[-1].split()
        assert not heavy
        assert int(modules) < 400
