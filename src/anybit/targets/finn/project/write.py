"""write_finn_project: a prepared model as a folder that FINN's user builds with one command."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from importlib import resources
from string import Template

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.errors import UsageError
from anybit.formats.thresholds.write import remaining_quantizers
from anybit.io.save import save
from anybit.runtime.session import Session
from anybit.targets.finn.inputs import tie_inputs
from anybit.targets.finn.project.steps import Steps, steps_of
from anybit.targets.handover import Handover
from anybit.targets.project import project_folder

_SCRIPT, _BUILD, _MODEL = "build_script.txt", "build.py", "model.onnx"
_PART = "xc7z020clg400-1"
_BOARD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*\Z")


def write_finn_project(
    handover: Handover,
    folder: str | os.PathLike[str],
    *,
    board: str | None = None,
    target_fps: int | None = None,
    clock_ns: float = 10.0,
    samples: int = 4,
) -> None:
    """Writes model.onnx, build.py, input.npy and expected_output.npy into a folder.

    ``python build.py``, in an environment that has FINN, runs its builder to the estimates and compares what it
    computes behind each step with the expected output. A model of several inputs or outputs has no such files: FINN
    compares one of each. The folder appears when all of it is there; an earlier project is replaced where no file in it
    was changed or added.

    Args:
        handover: Of `prepare_finn`, in the dialect.
        folder: New, empty, or an earlier project as it was written.
        board: Name of a board that FINN knows, such as Pynq-Z2; None for an estimate on that board's device.
        target_fps: Images a second that the folding of the layers is to reach; None leaves every layer as small as
            it can be.
        clock_ns: Period of the clock.
        samples: How many inputs to draw, half of them on thresholds.

    Raises:
        UsageError: Something stands in the way of the model, or an option is out of range.
        ModelFileError: The folder holds something else, or cannot be written.
    """
    _refuse(handover, board=board, target_fps=target_fps, clock_ns=clock_ns, samples=samples)
    script = _script(steps_of(handover.model), board=board, target_fps=target_fps, clock_ns=clock_ns)
    arrays = _samples(handover.model, samples)
    with project_folder(folder) as temporary:
        save(handover.model, temporary / _MODEL, external_data=False)
        (temporary / _BUILD).write_text(script, "utf-8")
        for name, array in arrays.items():
            np.save(temporary / name, array, allow_pickle=False)


def _refuse(handover: Handover, *, board: str | None, target_fps: int | None, clock_ns: float, samples: int) -> None:
    if not handover.ready:
        raise UsageError("something stands in the way of this model", expected="a hand-over that is ready")
    if remaining_quantizers(handover.model):
        raise UsageError(
            "a project of a model with quantisers",
            expected="FINN's dialect; of the form qonnx, FINN's own steps build an .onnx file",
        )
    if board is not None and _BOARD.match(board) is None:
        raise UsageError("name of a board", got=repr(board), expected="letters, digits, - and _, such as Pynq-Z2")
    if target_fps is not None and target_fps < 1:
        raise UsageError("images a second", got=target_fps, expected="at least 1")
    if not 0 < clock_ns < float("inf"):
        raise UsageError("period of the clock in ns", got=clock_ns, expected="a positive number")
    if samples < 1:
        raise UsageError("number of samples", got=samples, expected="at least 1")


def _script(steps: Steps, *, board: str | None, target_fps: int | None, clock_ns: float) -> str:
    text = resources.files("anybit.targets.finn.project").joinpath(_SCRIPT).read_text("utf-8")
    return Template(text).substitute(
        board=repr(board),
        part=repr(_PART),
        clock=repr(float(clock_ns)),
        fps=repr(target_fps),
        arrange=_listed(steps.arrange),
        convert=_listed(steps.convert),
        executable=repr(steps.executable),
    )


def _listed(names: Sequence[str]) -> str:
    return "\n".join(("[", *(f'    "{name}",' for name in names), "]"))


def _samples(model: ir.Model, count: int) -> dict[str, Array]:
    """By file, inputs and what the model computes from them, sample by sample."""
    if len(model.graph.inputs) != 1 or len(model.graph.outputs) != 1:
        return {}
    ((name, x),) = tie_inputs(model, count).items()
    session = Session(model, engine="reference")
    outputs = [session.run({name: x[i : i + 1]})[session.outputs[0]] for i in range(count)]
    return {"input.npy": x, "expected_output.npy": np.concatenate(outputs)}
