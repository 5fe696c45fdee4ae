"""hls4ml's C++ emulation of a model that `anybit prepare hls4ml` prepared: guest_hls4ml.py FILE BATCH PRECISION.

The project goes beside the file, into a folder that whoever wrote the file removes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import hls4ml
import numpy as np
import onnx
from guest import serve
from qonnx.core.modelwrapper import ModelWrapper


def main() -> None:
    """Converts, compiles, and takes turns at predicting."""
    path, batch, precision = sys.argv[1:]
    wrapped = ModelWrapper(onnx.load(path))
    config = hls4ml.utils.config_from_onnx_model(
        wrapped, granularity="name", backend="Vitis", default_precision=precision
    )
    model = hls4ml.converters.convert_from_onnx_model(
        wrapped,
        output_dir=str(Path(path).with_name("project")),
        backend="Vitis",
        io_type="io_parallel",
        hls_config=config,
    )
    model.compile()
    shape = wrapped.get_tensor_shape(wrapped.graph.input[0].name)
    x = np.random.default_rng(0).random((int(batch), *shape[1:]), np.float32)
    serve(lambda: model.predict(x))


if __name__ == "__main__":
    main()
