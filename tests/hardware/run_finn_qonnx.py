"""Takes model.onnx of a folder through the steps of FINN's builder up to its partition, by FINN's own reading.

In the folder are model.onnx and samples.npz with x and y, what the model computes where ties go up. The exit code is 1
if a step fails, 2 if FINN computes something else behind a step after which it can execute the model.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

_TOLERANCE = 1e-5  # of the largest number
_LAST = "step_create_dataflow_partition"


def main(folder: Path, compared: tuple[str, ...]) -> None:
    """Runs the steps, and compares behind those that are named."""
    os.environ["FINN_BUILD_DIR"] = str(folder / "build")
    (folder / "build").mkdir()
    from finn.builder import build_dataflow_config as config
    from finn.builder.build_dataflow_steps import build_dataflow_step_lookup
    from finn.core.onnx_exec import execute_onnx
    from qonnx.core.modelwrapper import ModelWrapper

    samples, model = np.load(folder / "samples.npz"), ModelWrapper(str(folder / "model.onnx"))
    expected = samples["y"].reshape(len(samples["x"]), -1)
    settings = config.DataflowBuildConfig(
        output_dir=str(folder / "output"),
        synth_clk_period_ns=10.0,
        fpga_part="xc7z020clg400-1",
        generate_outputs=[config.DataflowOutputType.ESTIMATE_REPORTS],
    )
    listed = config.estimate_only_dataflow_steps
    for step in listed[: listed.index(_LAST) + 1]:
        model = build_dataflow_step_lookup[step](model, settings)
        if step not in compared:
            continue
        source, target = model.graph.input[0].name, model.graph.output[0].name
        shape = model.get_tensor_shape(source)
        found = [execute_onnx(model, {source: x.reshape(shape)})[target].reshape(-1) for x in samples["x"]]
        if not np.abs(np.stack(found) - expected).max() <= _TOLERANCE * np.abs(expected).max():
            sys.exit(2)


if __name__ == "__main__":
    main(Path(sys.argv[1]), tuple(sys.argv[2:]))
