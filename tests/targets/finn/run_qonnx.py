"""Runs models by the existing `qonnx` package, in its own environment: the pairs MODEL.onnx, MODEL.npz of a folder."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np


def main(folder: Path) -> None:
    """Writes MODEL.out.npz beside each model: the rows of each output, one sample at a time."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_datatypes import InferDataTypes
    from qonnx.transformation.infer_shapes import InferShapes

    for path in sorted(folder.glob("*.onnx")):
        model = ModelWrapper(str(path)).transform(InferShapes()).transform(InferDataTypes())
        rows = dict(np.load(path.with_suffix(".npz")))
        count = len(next(iter(rows.values())))
        results: dict[str, list[np.ndarray]] = {o.name: [] for o in model.graph.output}
        for index in range(count):
            outputs = execute_onnx(model, {name: array[index : index + 1] for name, array in rows.items()})
            for name, kept in results.items():
                kept.append(outputs[name])
        np.savez(path.with_suffix(".out.npz"), **{name: np.concatenate(kept) for name, kept in results.items()})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
