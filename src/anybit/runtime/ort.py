"""ONNX Runtime as an engine: the model lowered to standard operators, options under which it stays exact."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from threading import Lock
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
from onnx_ir.passes.common import RemoveUnusedNodesPass

from anybit.errors import InputError, ModelFileError, UnsupportedError
from anybit.ops.expand import Expander
from anybit.ops.nodes import label, operator_of
from anybit.ops.operator import Array
from anybit.ops.zero_sign import tensors_of_told_zeros
from anybit.passes.fold_constants import FoldConstants
from anybit.passes.fold_transpose import FoldTranspose
from anybit.passes.gemm_to_matmul import GemmToMatMul
from anybit.passes.infer_shapes import InferShapes
from anybit.runtime.affine_tails import fold_affine_tails
from anybit.runtime.block_weights import use_block_weights
from anybit.runtime.byte_quantizers import use_byte_quantizers
from anybit.runtime.finiteness import stays_finite
from anybit.runtime.integer_layers import with_integer_layers
from anybit.runtime.integer_matmul import has_large_product, use_integer_matmul
from anybit.runtime.known_opset import of_known_opset
from anybit.runtime.plain_products import use_plain_products
from anybit.runtime.positive_zeros import keep_positive_zeros
from anybit.runtime.powers_of_two import move_powers_of_two
from anybit.runtime.unfit import refuse_unfit

_NEWEST_IR_VERSION = 11
_FATAL = (b"Einsum", b"Scan")  # operators whose kernels divide by numbers of elements
WEIGHTS_FILE = "weights"  # in the folder of a lowered model
_LARGE = 1024  # initializers above this many bytes are handed over beside the graph
IN_MEMORY = 1 << 24  # in memory up to this many bytes in all, in a temporary file above
_PAGE = 4096  # ONNX Runtime maps weights that begin on a page
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


@dataclass(frozen=True)
class Lowered:
    """A model ready for ONNX Runtime, with nothing left of the graph it came from.

    Attributes:
        proto: Serialised model; its large weights are external.
        weights: Large weights by name, where they are handed over in memory.
        folder: Folder of the file that holds them otherwise.
        integer: Whether it holds integer products, and is right for finite inputs only.
    """

    proto: bytes
    weights: Mapping[str, Array]
    folder: TemporaryDirectory[str] | None
    integer: bool


class OrtBackend:
    """A model lowered to standard operators, in an ONNX Runtime session.

    Weights are quantised once, at build. Fusion of QuantizeLinear and DequantizeLinear into other operators is off:
    it changes results (float8 nets entirely, int2 weights plainly).

    Args:
        lowered: Model, see `lower`.
        outputs: Names of the tensors that `run` returns.
        threads: Threads inside an operator; None leaves the choice to ONNX Runtime.

    Raises:
        UnsupportedError: ONNX Runtime refuses the lowered model.
    """

    def __init__(self, lowered: Lowered, outputs: Sequence[str], *, threads: int | None) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _QUIET
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.add_session_config_entry("session.disable_quant_qdq", "1")
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


def lower(model: ir.Model, *, integer: bool, layers: bool) -> Lowered:
    """The model in standard operators that ONNX Runtime has kernels for.

    Args:
        model: Normalised model without model-local functions, types inferred; it is changed on the way.
        integer: Whether products may become integer ones, which are right for finite inputs only.
        layers: Whether whole layers may, convolutions among them, which takes longer to find out, and whether the rest
            may take the forms that are fastest.

    Raises:
        UnsupportedError: An operator has no ONNX body, or cannot be brought to a known opset.
    """
    refuse_unfit(model)
    FoldConstants()(model)
    known = of_known_opset(model)
    if known is not model:
        model = known
        FoldConstants()(model)
        InferShapes()(model)
    use_plain_products(model)
    FoldTranspose()(model)
    finite = integer and stays_finite(model)
    model, integer = _with_integer_products(model, layers=layers) if finite else (model, False)
    if layers:
        use_block_weights(model)
    FoldConstants(keep_quantizers=False)(model)
    if layers:
        move_powers_of_two(model)
        fold_affine_tails(model)
        integer |= finite and use_byte_quantizers(model)
    expander, told = Expander(model.graph), tensors_of_told_zeros(model)
    for node in list(model.graph.all_nodes()):
        operator = operator_of(node, model.opset_imports)
        if operator is not None:
            expander.expand(node, operator, zero_signs=node.outputs[0] in told)
        elif node.domain not in ("", "ai.onnx.ml", "com.microsoft"):
            raise UnsupportedError(
                "ONNX Runtime does not run this operator",
                node=label(node),
                got=f"{node.domain}::{node.op_type}",
                hint="register it as an anybit.Operator",
            )
    keep_positive_zeros(model)
    RemoveUnusedNodesPass()(model)
    _drop_repeated_names(model.graph)
    model.ir_version = min(max(model.ir_version, 8), _NEWEST_IR_VERSION)
    return _packed(model, integer=integer)


def _with_integer_products(model: ir.Model, *, layers: bool) -> tuple[ir.Model, bool]:
    """The model with integer layers, or else with integer matrix products, and whether it has any of them."""
    written = with_integer_layers(model) if layers else None
    if written is not None:
        return written, True
    if layers:
        GemmToMatMul()(model)
        FoldTranspose()(model)
    return model, use_integer_matmul(model)


def _drop_repeated_names(graph: ir.Graph) -> None:
    """ONNX Runtime refuses a second node of the same name."""
    seen: set[str] = set()
    for node in graph.all_nodes():
        if node.name in seen:
            node.name = None
        elif node.name:
            seen.add(node.name)


def _packed(model: ir.Model, *, integer: bool) -> Lowered:
    large = {
        name: value
        for name, value in model.graph.initializers.items()
        if value.const_value is not None
        and not value.is_graph_input()  # its default stays in the graph, where a caller may override it
        and value.const_value.nbytes > _LARGE
        and value.const_value.dtype.itemsize >= 1
        and value.const_value.dtype.numpy().kind in "fiub"
    }
    total = sum(v.const_value.nbytes for v in large.values() if v.const_value is not None)
    if total <= IN_MEMORY:
        weights = {name: _array(value) for name, value in large.items()}
        for name, value in large.items():
            value.const_value = _external(value, name, WEIGHTS_FILE, 0)
        return Lowered(_serialized(model), weights, None, integer)
    # ONNX Runtime maps the file, and keeps of each weight only the form that its kernels take.
    try:
        folder = TemporaryDirectory(ignore_cleanup_errors=True)
        with (Path(folder.name) / WEIGHTS_FILE).open("wb") as file:
            for name, value in large.items():
                file.write(bytes(-file.tell() % _PAGE))
                offset = file.tell()
                file.write(_array(value).data)
                value.const_value = _external(value, name, WEIGHTS_FILE, offset)
    except OSError as error:
        got = error.strerror or error
        raise ModelFileError("cannot write the weights for ONNX Runtime", node=gettempdir(), got=got) from error
    return Lowered(_serialized(model), {}, folder, integer)


def _serialized(model: ir.Model) -> bytes:
    try:
        return ir.to_proto(model).SerializeToString()
    except (ir.serde.SerdeError, ValueError, TypeError) as error:
        raise UnsupportedError("the lowered model cannot be serialised", got=" ".join(str(error).split())) from error


def _array(value: ir.Value) -> Array:
    tensor = value.const_value
    if tensor is None:
        raise UnsupportedError("a weight has no value", node=f"initializer '{value.name}'")
    return np.ascontiguousarray(tensor.numpy())


def _external(value: ir.Value, name: str, location: str, offset: int) -> ir.ExternalTensor:
    array = value.const_value
    if array is None:
        raise UnsupportedError("a weight has no value", node=f"initializer '{name}'")
    shape = ir.Shape(array.shape.numpy())
    return ir.ExternalTensor(location, offset, array.nbytes, array.dtype, shape=shape, name=name)


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
