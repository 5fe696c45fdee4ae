"""Models of ONNX Runtime's own quantiser (QDQ, bytes) in a session of ours and in stock ONNX Runtime, in turns."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from dataclasses import astuple
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import quantization as ort_quantization
from report import Row, at_most

from anybit.benchmarking.timing import alternate
from anybit.engines.sampling import random_inputs
from anybit.runtime.session import Session

_CALIBRATION, _BATCH = 50, 64
_GOAL = 1.0
_WIDTHS = (64, 128, 64, 10)
_CHANNELS = (1, 16, 32)
_SIDE = 8
_CLASSES = 10


def rows() -> Iterator[Row]:
    """A perceptron and a convolutional net for digits, with one scale of weights and with one for each channel."""
    for name, model in (("MLP", _perceptron()), ("CNN", _convolutional())):
        for per_channel in (False, True):
            with tempfile.TemporaryDirectory() as folder:
                path = _quantised(model, Path(folder), per_channel=per_channel)
                yield _row(f"QDQ of digits, {name}, scales by {'channel' if per_channel else 'tensor'}", path)


def _row(name: str, path: Path) -> Row:
    ours = Session(path, threads=1)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    stock = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    feeds = random_inputs(path, _BATCH)
    times = alternate({"ours": lambda: ours.run(feeds), "stock": lambda: stock.run(None, feeds)}, rounds=201)
    return at_most(name, f"stock ONNX Runtime, batch {_BATCH}", times["ours"] / _BATCH, times["stock"] / _BATCH, _GOAL)


def _quantised(model: onnx.ModelProto, folder: Path, *, per_channel: bool) -> Path:
    (source,) = model.graph.input
    shape = [d.dim_value or 1 for d in source.type.tensor_type.shape.dim]
    rng = np.random.default_rng(0)
    samples = iter([{source.name: rng.random(shape, np.float32)} for _ in range(_CALIBRATION)])

    class Reader(ort_quantization.CalibrationDataReader):
        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(samples, None)

    onnx.save(model, folder / "float.onnx")
    logging.disable(logging.WARNING)  # of models that were not pre-processed
    try:
        ort_quantization.quantize_static(
            folder / "float.onnx",
            folder / "bytes.onnx",
            Reader(),
            quant_format=ort_quantization.QuantFormat.QDQ,
            activation_type=ort_quantization.QuantType.QUInt8,
            weight_type=ort_quantization.QuantType.QInt8,
            per_channel=per_channel,
        )
    finally:
        logging.disable(logging.NOTSET)
    return folder / "bytes.onnx"


def _perceptron() -> onnx.ModelProto:
    nodes: list[onnx.NodeProto] = []
    values: dict[str, np.ndarray] = {}
    rng, x = np.random.default_rng(0), "x"
    for layer, (rows_, columns) in enumerate(pairwise(_WIDTHS)):
        values[f"w{layer}"] = rng.normal(0, rows_**-0.5, (rows_, columns))
        values[f"b{layer}"] = rng.normal(0, 0.1, columns)
        nodes.append(helper.make_node("Gemm", [x, f"w{layer}", f"b{layer}"], [f"h{layer}"]))
        nodes.append(helper.make_node("Relu", [f"h{layer}"], [f"r{layer}"]))
        x = f"r{layer}"
    return _model(nodes[:-1], values, ["N", _WIDTHS[0]], nodes[-2].output[0])


def _convolutional() -> onnx.ModelProto:
    nodes: list[onnx.NodeProto] = []
    values: dict[str, np.ndarray] = {}
    rng, x = np.random.default_rng(0), "x"
    for layer, (inputs, outputs) in enumerate(pairwise(_CHANNELS)):
        values[f"w{layer}"] = rng.normal(0, (9 * inputs) ** -0.5, (outputs, inputs, 3, 3))
        values[f"b{layer}"] = rng.normal(0, 0.1, outputs)
        window: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2]}
        nodes += [
            helper.make_node("Conv", [x, f"w{layer}", f"b{layer}"], [f"h{layer}"], pads=[1] * 4),
            helper.make_node("Relu", [f"h{layer}"], [f"r{layer}"]),
            helper.make_node("MaxPool", [f"r{layer}"], [f"p{layer}"], **window),
        ]
        x = f"p{layer}"
    features = _CHANNELS[-1] * (_SIDE // 4) ** 2
    values |= {"w": rng.normal(0, features**-0.5, (features, _CLASSES)), "b": rng.normal(0, 0.1, _CLASSES)}
    nodes += [helper.make_node("Flatten", [x], ["f"]), helper.make_node("Gemm", ["f", "w", "b"], ["y"])]
    return _model(nodes, values, ["N", 1, _SIDE, _SIDE], "y")


def _model(
    nodes: list[onnx.NodeProto], values: dict[str, np.ndarray], shape: list[str | int], output: str
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", _CLASSES])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


if __name__ == "__main__":
    for row in rows():
        print(*astuple(row), sep="  ")
