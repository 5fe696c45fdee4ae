"""What anybit is measured against: the qonnx package, and ONNX Runtime without anything of ours around it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from anybit.engines.onnxruntime.backend import OrtBackend
from anybit.runtime.session import Session

Array = npt.NDArray[np.float32]
Run = Callable[[], Any]


class MissingPeerError(Exception):
    """The peer is not installed."""


class Qonnx:
    """The qonnx package's executor: its own clean-up once, then one `execute_onnx` a sample.

    Args:
        model: The model; a free batch becomes 1, as the package's clean-up has it.
        batch: Batch that the package's own pass makes the model for.

    Raises:
        MissingPeerError: The package is not installed.
    """

    def __init__(self, model: onnx.ModelProto, batch: int = 1) -> None:
        try:
            from qonnx.core.modelwrapper import ModelWrapper
            from qonnx.core.onnx_exec import execute_onnx
            from qonnx.transformation.change_batchsize import ChangeBatchSize
            from qonnx.transformation.infer_shapes import InferShapes
            from qonnx.util.cleanup import cleanup_model
        except ImportError as error:
            raise MissingPeerError("needs qonnx: pip install 'anybit[bench]'") from error
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._model = cleanup_model(ModelWrapper(model))
            if batch != 1:
                self._model = self._model.transform(ChangeBatchSize(batch)).transform(InferShapes())
        self._execute = execute_onnx
        self._input = self._model.graph.input[0].name
        self._output = self._model.graph.output[0].name

    def run(self, x: Array) -> Array:
        """The output for one batch."""
        return self._execute(self._model, {self._input: x})[self._output]


class QonnxCleanup:
    """The clean-up of the qonnx package.

    Raises:
        MissingPeerError: The package is not installed.
    """

    def __init__(self) -> None:
        try:
            from qonnx.core.modelwrapper import ModelWrapper
            from qonnx.util.cleanup import cleanup_model
        except ImportError as error:
            raise MissingPeerError("the qonnx package is not installed") from error
        self._wrap, self._clean = ModelWrapper, cleanup_model

    def run(self, model: onnx.ModelProto) -> object:
        """The cleaned model."""
        return self._clean(self._wrap(model))


def bare(session: Session, feeds: dict[str, Array]) -> Run:
    """A call of the very ONNX Runtime session that is inside `session`: the difference is Python of ours."""
    backend = getattr(session._backend, "_fast", session._backend)  # noqa: SLF001 - what is measured is around it
    if not isinstance(backend, OrtBackend):
        raise TypeError(f"engine {session.engine}: expected ONNX Runtime")
    run, names = backend._session.run, list(session.outputs)  # noqa: SLF001
    return lambda: run(names, feeds)


def plain_onnxruntime(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """ONNX Runtime as it comes, in one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


class OpenVino:
    """A standard ONNX model as OpenVINO runs it, in one thread and in float32 where it is not quantised.

    Raises:
        MissingPeerError: The package is not installed, or does not take the model.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        try:
            import openvino
        except ImportError as error:
            raise MissingPeerError("needs openvino") from error
        options = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        try:
            core = openvino.Core()
            self._compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", options)
        except RuntimeError as error:
            raise MissingPeerError("OpenVINO does not take the model") from error
        self._request = self._compiled.create_infer_request()

    def run(self, feeds: dict[str, Array]) -> object:
        """The outputs for one batch."""
        return self._request.infer(feeds)
