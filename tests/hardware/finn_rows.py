"""The rows of FINN: both forms; the dialect's project is built by the real tool where FINN_PYTHON names one."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import onnx_ir as ir

import anybit
from anybit.graph.constants import constant
from anybit.targets import FinnForm, write_finn_project
from anybit.targets.finn.dialect_rules import MAC, format_of, is_hardware
from anybit.targets.handover import Handover
from tests.hardware.row import Row, verdict
from tests.hardware.sources import Source

_LIMIT = 3600  # seconds


def rows(source: Source) -> Iterator[Row]:
    """A row for each form."""
    name = f"{source.group}/{source.name}"
    for form in FinnForm:
        handover = anybit.prepare_finn(source.load(), form=form, logits=True)
        equal = None if handover.comparison is None else handover.comparison.equal
        if not handover.ready:
            yield Row(name, "finn", form.value, verdict=verdict(handover.findings), equal=equal)
            continue
        ran = _built(handover) if form is FinnForm.DIALECT else "not run"
        yield Row(name, "finn", form.value, equal=equal, ran=ran, widths=_widths(handover.model))


def python() -> str | None:
    """A Python that has FINN."""
    return os.environ.get("FINN_PYTHON")


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs the project in a folder by the real tool, to its estimates."""
    environment = {**os.environ, "PYTHONPATH": os.environ.get("FINN_PYTHONPATH", "")}
    return subprocess.run(
        [str(python()), "-W", "ignore", "build.py"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=_LIMIT,
    )


def _built(handover: Handover) -> str:
    if python() is None:
        return "not run"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "project"
        write_finn_project(handover, folder)
        try:
            done = build(folder)
        except subprocess.TimeoutExpired:
            return "not run"
    if done.returncode == 0:
        return "right"
    return "WRONG" if "something else" in done.stdout + done.stderr else "FAILED"


def _widths(model: ir.Model) -> str:
    """Bits of the widest sums and of the widest weights of the integer layers."""
    products = [n for n in model.graph if n.op_type in MAC and is_hardware(n)]
    sums = [f.bits for n in products if (f := format_of(n.outputs[0])) is not None]
    weights = [f.bits for n in products if constant(n.inputs[1]) is not None and (f := format_of(n.inputs[1]))]
    return f"sums {max(sums)}, weights {max(weights)}" if sums and weights else ""
