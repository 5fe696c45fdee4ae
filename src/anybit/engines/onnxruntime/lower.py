"""lower: a model in standard operators that ONNX Runtime has kernels for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from anybit.arrays import Array
from anybit.cleanup.fold_constants import FoldConstants
from anybit.cleanup.fold_transpose import FoldTranspose
from anybit.cleanup.infer_shapes import InferShapes
from anybit.engines.finiteness import stays_finite
from anybit.engines.onnxruntime.known_opset import of_known_opset
from anybit.engines.onnxruntime.rewrites.affine_tails import fold_affine_tails
from anybit.engines.onnxruntime.rewrites.block_weights import use_block_weights
from anybit.engines.onnxruntime.rewrites.byte_quantizers import use_byte_quantizers
from anybit.engines.onnxruntime.rewrites.integer_layers import with_integer_layers
from anybit.engines.onnxruntime.rewrites.integer_matmul import use_integer_matmul
from anybit.engines.onnxruntime.rewrites.plain_products import use_plain_products
from anybit.engines.onnxruntime.rewrites.positive_zeros import keep_positive_zeros
from anybit.engines.onnxruntime.rewrites.powers_of_two import move_powers_of_two
from anybit.engines.onnxruntime.unfit import refuse_unfit
from anybit.errors import ModelFileError, UnsupportedError
from anybit.graph.walk import all_nodes, label
from anybit.ops.calls import operator_of
from anybit.ops.expand import Expander
from anybit.ops.zero_sign import tensors_of_told_zeros
from anybit.passes.lowering.gemm_to_matmul import GemmToMatMul

_NEWEST_IR_VERSION = 11
WEIGHTS_FILE = "weights"  # in the folder of a lowered model
_LARGE = 1024  # initializers above this many bytes are handed over beside the graph
IN_MEMORY = 1 << 24  # in memory up to this many bytes in all, in a temporary file above
_PAGE = 4096  # ONNX Runtime maps weights that begin on a page


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
    for node in list(all_nodes(model.graph)):
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
    for node in all_nodes(graph):
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
