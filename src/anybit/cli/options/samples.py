"""samples: the arrays of a file that a model's inputs are, whatever else the file holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from anybit.cli.terminal.output import say

if TYPE_CHECKING:
    import numpy.typing as npt

    from anybit.io.load import ModelSource


def read_samples(path: Path, model: ModelSource) -> dict[str, npt.NDArray[Any]] | npt.NDArray[Any]:
    """The arrays of a file that the inputs of a model take; labels beside them are left out, which a line says.

    Raises:
        InputError: The file cannot be read, or nothing tells which of its arrays are the inputs.
        ModelFileError: The model is none at all.
    """
    from anybit.engines.prepare import input_info
    from anybit.evaluation.datasets import array_by_input
    from anybit.io.files.arrays import read_arrays
    from anybit.io.load import read as read_model

    arrays = read_arrays(path)
    read = read_model(model).model
    if read is None or not isinstance(arrays, dict):
        return arrays
    infos = [input_info(v) for v in read.graph.inputs if v.dtype is not None]
    if set(arrays) <= {i.name for i in infos}:
        return arrays
    keys = array_by_input(infos, arrays)
    renamed = [f"{key!r} as {name!r}" for name, key in keys.items() if name != key]
    others = [repr(key) for key in arrays if key not in keys.values()]
    fed = f"; fed: {', '.join(renamed)}" if renamed else ""
    say(f"anybit: of {path}, left out: {', '.join(others) or 'nothing'}{fed}", error=True)
    return {name: arrays[key] for name, key in keys.items()}
