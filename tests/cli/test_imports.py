"""What the help of the command line loads: no test of time, but of what takes it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable

import onnx
import pytest
from onnx import helper

from tests.models import DIGITS, model

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
    heavy = {"onnxruntime", "onnxscript", "onnx.reference", "rich", "pooch", "ssl", "sympy.core", "mpmath"}
    assert _loaded(["info", str(DIGITS / "model.onnx")], heavy)[1] == []


def test_what_is_loaded_late_is_whole_when_it_is_used():
    """Arithmetic of dimensions, which onnx-ir leaves to sympy, and a submodule that is imported by itself."""
    program = """
import sys
from anybit.cli.late_imports import import_late
import_late()
import onnx_ir as ir
assert "sympy.core" not in sys.modules
assert str((ir.SymbolicDim("N") + 2) * 3) == "3*N + 6"
import sympy.polys
assert sympy.Integer(6).gcd(4) == 2
import_late()
assert sum(type(f).__name__ == "_Late" for f in sys.meta_path) == 1
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("domain", ["", "com.microsoft", "qonnx.custom_op.channels_last"])
def test_what_a_script_imports_after_anybit_has_read_a_model_still_loads(domain, tmp_path):
    proto = model([helper.make_node("Neg", ["x"], ["y"])], {}, inputs={"x": ["N", 2]}, outputs=["y"])
    if domain:
        proto.opset_import.append(helper.make_opsetid(domain, 1))
    onnx.save(proto, tmp_path / "model.onnx")
    program = f"import anybit; anybit.cost({str(tmp_path / 'model.onnx')!r}); import onnx.reference.ops, onnxscript"
    subprocess.run([sys.executable, "-c", program], check=True)
