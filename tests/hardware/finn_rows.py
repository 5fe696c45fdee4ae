"""The rows of FINN, in both forms, which the real tool builds where FINN_PYTHON names a Python that has it."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir

import anybit
from anybit.graph.constants import constant, new_initializer
from anybit.ops.calls import is_call
from anybit.ops.evaluate import known_value
from anybit.ops.quant import QUANT
from anybit.targets import FinnForm, write_finn_project
from anybit.targets.finn.dialect_rules import MAC, format_of, is_hardware
from anybit.targets.finn.inputs import tie_inputs
from anybit.targets.handover import Handover
from tests.hardware.row import Row, verdict
from tests.hardware.sources import Source

_LIMIT = 3600  # seconds
_SAMPLES = 4
_FLATTENING = frozenset(("Flatten", "Reshape"))


def rows(source: Source) -> Iterator[Row]:
    """A row for each form."""
    name = f"{source.group}/{source.name}"
    for form in FinnForm:
        handover = anybit.prepare_finn(source.load(), form=form, logits=True)
        equal = None if handover.comparison is None else handover.comparison.equal
        if not handover.ready:
            yield Row(name, "finn", form.value, verdict=verdict(handover.findings), equal=equal)
            continue
        ran = _built(handover) if form is FinnForm.DIALECT else _taken(handover)
        yield Row(name, "finn", form.value, equal=equal, ran=ran, widths=_widths(handover.model))


def python() -> str | None:
    """A Python that has FINN."""
    return os.environ.get("FINN_PYTHON")


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs the project in a folder by the real tool, to its estimates."""
    return _by_finn(["build.py"], folder)


def _by_finn(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.environ.get("FINN_PYTHONPATH", "")}
    return subprocess.run(
        [str(python()), "-W", "ignore", *arguments],
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


def _taken(handover: Handover) -> str:
    """What FINN's own reading and its default steps make of a QONNX file; ties go up there, and in what is expected."""
    values = handover.model.graph.inputs
    if python() is None or len(values) != 1 or len(handover.model.graph.outputs) != 1:
        return "not run"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ((fed, x),) = tie_inputs(handover.model, _SAMPLES).items()
        session = anybit.Session(ties_up(handover.model), engine="reference")
        y = np.concatenate([session.run({fed: row[None]})[session.outputs[0]] for row in x])
        anybit.save(handover.model, folder / "model.onnx")
        np.savez(folder / "samples.npz", x=x, y=y)
        flattens = any(n.op_type in _FLATTENING for n in handover.model.graph)  # its layers cannot be executed in main
        compared = ["step_streamline"] if flattens else ["step_streamline", "step_convert_to_hw"]
        script = Path(__file__).with_name("run_finn_qonnx.py")
        try:
            done = _by_finn([str(script), name, *compared], folder)
        except subprocess.TimeoutExpired:
            return "not run"
    return {0: "right", 2: "WRONG"}.get(done.returncode, "FAILED")


def ties_up(model: ir.Model) -> ir.Model:
    """The model in which every activation that lies half-way between two levels gets the upper one, as in FINN."""
    upper = model.clone()
    for node in list(upper.graph):
        x, scale = (node.inputs[0], constant(node.inputs[1])) if is_call(node, QUANT) else (None, None)
        if x is None or scale is None or known_value(x, upper.opset_imports) is not None:
            continue
        half = new_initializer(upper.graph, f"{node.outputs[0].name}_half", scale / 2)  # floor(x / s + 1 / 2)
        node.prepend(added := ir.node("Add", [x, half]))
        node.replace_input_with(0, added.outputs[0])
        node.attributes["rounding_mode"] = ir.AttrString("rounding_mode", "FLOOR")
    return upper


def _widths(model: ir.Model) -> str:
    """Bits of the widest sums and of the widest weights of the integer layers."""
    products = [n for n in model.graph if n.op_type in MAC and is_hardware(n)]
    sums = [f.bits for n in products if (f := format_of(n.outputs[0])) is not None]
    weights = [f.bits for n in products if constant(n.inputs[1]) is not None and (f := format_of(n.inputs[1]))]
    return f"sums {max(sums)}, weights {max(weights)}" if sums and weights else ""
