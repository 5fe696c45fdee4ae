"""ONNX Runtime as an engine: options under which a lowered model stays exact."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime

from anybit.engines.onnxruntime.lower import Lowered, lower
from anybit.engines.onnxruntime.rewrites.integer_matmul import has_large_product
from anybit.errors import InputError, UnsupportedError

_FATAL = (b"Einsum", b"Scan")  # operators whose kernels divide by numbers of elements
_QUIET = 4  # its errors are raised; logged as well they would be said twice
# They fold Relu and Clip into a QuantizeLinear behind them, which is wrong for float8, and two pairs of QuantizeLinear
# and DequantizeLinear into one, which loses the saturation and rounding of the other. The last one puts Relu into Clip,
# and fails if that is of other types than float32 and float16.
_HARMFUL_OPTIMIZERS = [
    "ReluQuantRewrite",
    "ClipQuantRewrite",
    "DoubleQDQPairsRemover",
    "QDQPropagationTransformer",
    "EnsureUniqueDQForNodeUnit",
    "FuseReluClip",
]


class OrtBackend:
    """A model lowered to standard operators, in an ONNX Runtime session.

    Weights are quantised once, at build. Fusion of QuantizeLinear and DequantizeLinear into other operators is off:
    it changes results (float8 nets entirely, int2 weights plainly).

    Args:
        lowered: Model, see `lower`.
        outputs: Names of the tensors that `run` returns.
        threads: Threads inside an operator; None leaves the choice to ONNX Runtime.
        alone: Whether nothing else runs between two runs: its threads then wait for the next one by spinning.

    Raises:
        UnsupportedError: ONNX Runtime refuses the lowered model.
    """

    def __init__(self, lowered: Lowered, outputs: Sequence[str], *, threads: int | None, alone: bool = True) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _QUIET
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        if not alone:
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if threads is not None:
            options.intra_op_num_threads = threads
        self._outputs = list(outputs)
        self._session = _session(lowered, options)
        self._run = self._session.run
        self._needs_elements = any(name in lowered.proto for name in _FATAL)

    def run(self, feeds: Mapping[str, Any]) -> Sequence[Any]:
        """The outputs for these inputs."""
        if self._needs_elements and any(np.size(value) == 0 for value in feeds.values()):
            names = " or ".join(name.decode() for name in _FATAL)
            raise InputError(
                f"ONNX Runtime's {names} would end the process on tensors without elements",
                hint='use engine="reference"',
            )
        try:
            return self._run(self._outputs, feeds)
        except Exception as error:  # its errors have no common base of their own
            raise InputError("ONNX Runtime failed", got=" ".join(str(error).split())) from error


class GuardedBackend:
    """The integer form of a model for finite inputs; its float form, made when it is first needed, for all others.

    Args:
        fast: The model with integer products.
        exact: What makes the model without.
    """

    def __init__(self, fast: OrtBackend, exact: Callable[[], OrtBackend]) -> None:
        self._fast = fast
        self._execute = fast.run
        self._exact = exact
        self._made: OrtBackend | None = None
        self._lock = Lock()

    def run(self, feeds: Mapping[str, Any]) -> Sequence[Any]:
        """The outputs for these inputs."""
        for value in feeds.values():
            if not _is_finite(value):
                return self._float_form().run(feeds)
        return self._execute(feeds)

    def _float_form(self) -> OrtBackend:
        with self._lock:
            if self._made is None:
                self._made = self._exact()
        return self._made


def _is_finite(value: Any) -> bool:
    """Whether all elements are finite. A search for a zero byte: a reduction would cost more than a small layer."""
    try:
        return 0 not in np.isfinite(value).tobytes()
    except TypeError:  # text
        return True


@dataclass(frozen=True)
class Ready:
    """What the backend of a model is made of.

    Attributes:
        lowered: The model for ONNX Runtime.
        exact: What lowers it without integer products, where it has some.
    """

    lowered: Lowered
    exact: Callable[[], Lowered] | None


def ready(model: ir.Model, *, layers: bool) -> Ready:
    """The model lowered; see `lower` for the arguments and errors."""
    spare = model.clone() if layers or has_large_product(model) else None
    lowered = lower(model, integer=spare is not None, layers=layers)
    if spare is None or not lowered.integer:
        return Ready(lowered, None)
    return Ready(lowered, lambda: lower(spare.clone(), integer=False, layers=False))


def backend(made: Ready, outputs: Sequence[str], *, threads: int | None) -> OrtBackend | GuardedBackend:
    """The backend of a model that is ready; see `OrtBackend` for the arguments and errors."""
    fast, exact = OrtBackend(made.lowered, outputs, threads=threads), made.exact
    if exact is None:
        return fast
    return GuardedBackend(fast, lambda: OrtBackend(exact(), outputs, threads=threads))


def _session(lowered: Lowered, options: Any) -> onnxruntime.InferenceSession:
    if lowered.weights:
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in lowered.weights.values()]
        options.add_external_initializers(list(lowered.weights), values)
    if lowered.folder is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", lowered.folder.name)
    try:
        return onnxruntime.InferenceSession(
            lowered.proto, options, ["CPUExecutionProvider"], disabled_optimizers=list(_HARMFUL_OPTIMIZERS)
        )
    except Exception as error:  # its errors have no common base of their own
        raise UnsupportedError(
            "ONNX Runtime refuses the lowered model", got=" ".join(str(error).split()), hint='use engine="reference"'
        ) from error
    finally:
        if lowered.folder is not None:
            lowered.folder.cleanup()
