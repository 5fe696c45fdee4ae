"""What a user would run a model with instead: ONNX Runtime as it comes, and the executor of the qonnx package."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
import onnx_ir as ir
import onnxruntime

from anybit.arrays import Array
from anybit.cleanup.set_batch import SetBatch
from anybit.errors import InvalidModelError, UnsupportedError
from anybit.formats.convert import translate
from anybit.formats.dialect import Dialect
from anybit.io.load import ModelSource, load
from anybit.io.save import to_proto

_QUIET = 4


class Peer(Protocol):
    """Runs a model some other way."""

    def run(self, inputs: Mapping[str, Array], /) -> Mapping[str, Any]:
        """The outputs by name."""
        ...


class PlainOnnxRuntime:
    """A standard model in ONNX Runtime with its default options.

    Args:
        model: Standard ONNX, or ONNX with functions.
        threads: Threads inside an operator.

    Raises:
        UnsupportedError: ONNX Runtime refuses it.
    """

    def __init__(self, model: ir.Model, *, threads: int | None) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _QUIET
        options.intra_op_num_threads = threads or 0
        try:
            self._session = onnxruntime.InferenceSession(
                to_proto(model).SerializeToString(), options, ["CPUExecutionProvider"]
            )
        except Exception as error:  # its errors have no common base of their own
            raise UnsupportedError("ONNX Runtime refuses the model", got=" ".join(str(error).split())) from error
        self._names = [o.name for o in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Any]:
        """The outputs by name."""
        try:
            return dict(zip(self._names, self._session.run(self._names, dict(inputs)), strict=True))
        except Exception as error:  # as above
            raise UnsupportedError("ONNX Runtime fails", got=" ".join(str(error).split())) from error


class QonnxExecutor:
    """`execute_onnx` of the qonnx package after its own clean-up, a sample at a time.

    Raises:
        UnsupportedError: The package is not installed, or does not take the model.
    """

    def __init__(self, model: ir.Model) -> None:
        if find_spec("qonnx") is None:
            raise UnsupportedError("not installed", hint="pip install qonnx")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                from qonnx.core.modelwrapper import ModelWrapper  # pyright: ignore[reportMissingImports]
                from qonnx.core.onnx_exec import execute_onnx  # pyright: ignore[reportMissingImports]
                from qonnx.util.cleanup import cleanup_model  # pyright: ignore[reportMissingImports]

                self._model: Any = cleanup_model(ModelWrapper(to_proto(_of_batch(model, 1))))
            except Exception as error:  # a tool of others: whatever stands in its way is the result
                raise UnsupportedError("qonnx does not take the model", got=type(error).__name__) from error
        self._execute: Any = execute_onnx
        self._inputs = {str(v.name): i.name for v, i in zip(model.graph.inputs, self._model.graph.input, strict=False)}

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Any]:
        """The outputs by name."""
        samples = len(next(iter(inputs.values())))
        try:
            named = {self._inputs[n]: a for n, a in inputs.items()}  # its clean-up gives names of its own
            parts = [self._execute(self._model, {n: a[i : i + 1] for n, a in named.items()}) for i in range(samples)]
        except Exception as error:  # as above
            raise UnsupportedError("qonnx fails", got=type(error).__name__) from error
        return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def peers(model: ModelSource, *, threads: int | None) -> dict[str, Callable[[], Peer]]:
    """What makes each peer, by name; making it may raise an `UnsupportedError`, whose text is why it takes no part."""
    loaded = load(model)
    return {
        "ONNX Runtime, float emulation": lambda: PlainOnnxRuntime(_with_functions(loaded), threads=threads),
        "ONNX Runtime, QCDQ": lambda: PlainOnnxRuntime(_as_qcdq(loaded), threads=threads),
        "qonnx": lambda: QonnxExecutor(loaded),
    }


def _with_functions(model: ir.Model) -> ir.Model:
    return translate(_of_batch(model, "N"), Dialect.QONNX, embed_functions=True).model


def _as_qcdq(model: ir.Model) -> ir.Model:
    result = translate(_of_batch(model, "N"), Dialect.QCDQ)
    if result.refusals:
        raise UnsupportedError("no QCDQ form", got=result.refusals[0])
    return result.model


def _of_batch(model: ir.Model, batch: int | str) -> ir.Model:
    copy = load(model)
    with contextlib.suppress(InvalidModelError):  # then it runs on its own batch only
        SetBatch(batch)(copy)
    return copy
