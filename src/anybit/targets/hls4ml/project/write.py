"""write_hls4ml_project: a prepared model as a folder that hls4ml's user builds with one command."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

import numpy as np

from anybit.arrays import Array
from anybit.errors import UsageError
from anybit.io.save import save
from anybit.targets.hls4ml.handover import Hls4mlHandover
from anybit.targets.hls4ml.project.document import CONFIGURATION_FILE, MODEL_FILE, document, yaml
from anybit.targets.hls4ml.project.samples import draw
from anybit.targets.project import project_folder

_SCRIPT = "build_script.txt"


def write_hls4ml_project(handover: Hls4mlHandover, folder: str | os.PathLike[str], *, samples: int = 32) -> None:
    """Writes model.onnx, hls4ml_config.yml, build.py, input.npy and expected_output.npy into a folder.

    ``python build.py``, in an environment that has hls4ml, converts, compiles, compares and prints the figures. The
    folder appears when all of it is there; an earlier project is replaced where no file in it was changed or added.

    Args:
        handover: Of `prepare_hls4ml`.
        folder: New, empty, or an earlier project as it was written.
        samples: How many inputs to draw (see `draw`).

    Raises:
        UsageError: Something stands in the way of the model, or there are no samples to draw.
        ModelFileError: The folder holds something else, or cannot be written.
    """
    configuration = handover.configuration
    if not handover.ready or configuration is None:
        raise UsageError("something stands in the way of this model", expected="a hand-over that is ready")
    if samples < 1:
        raise UsageError("number of samples", got=samples, expected="at least 1")
    inputs, outputs = draw(handover, samples)
    with project_folder(folder) as temporary:
        save(handover.model, temporary / MODEL_FILE, external_data=False)
        (temporary / CONFIGURATION_FILE).write_text(yaml(document(configuration)) + "\n", "utf-8")
        script = resources.files("anybit.targets.hls4ml.project").joinpath(_SCRIPT).read_text("utf-8")
        (temporary / "build.py").write_text(script, "utf-8")
        _write_samples(temporary, inputs, outputs)


def _write_samples(folder: Path, inputs: Array, outputs: tuple[Array, ...]) -> None:
    np.save(folder / "input.npy", inputs, allow_pickle=False)
    for number, array in enumerate(outputs):
        suffix = f"_{number}" if len(outputs) > 1 else ""
        np.save(folder / f"expected_output{suffix}.npy", array, allow_pickle=False)
