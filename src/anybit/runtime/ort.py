"""ONNX Runtime as an engine: the model lowered to standard operators, options under which it stays exact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
from onnx_ir.passes.common import RemoveUnusedNodesPass

from anybit.errors import InputError, UnsupportedError
from anybit.io.opset import convert_opset
from anybit.ops.expand import BODY_OPSET, Expander
from anybit.ops.nodes import label, operator_of
from anybit.passes.fold_constants import FoldConstants
from anybit.passes.infer_shapes import InferShapes

_OLDEST_OPSET = 15  # of the operators that bodies leave behind (CastLike)
_NEWEST_OPSET = 23  # beyond it ONNX Runtime lacks kernels, QuantizeLinear among them
_NEWEST_IR_VERSION = 11
_LARGE = 1024  # initializers above this many bytes are handed over in place, not serialised
_QUIET = 3
# They fold Relu and Clip into a QuantizeLinear behind them, which is wrong for float8.
_INEXACT_OPTIMIZERS = ["ReluQuantRewrite", "ClipQuantRewrite"]


class OrtBackend:
    """A model lowered to standard operators, in an ONNX Runtime session.

    Weights are quantised once, at build. Fusion of QuantizeLinear and DequantizeLinear into other operators is off:
    it changes results (float8 nets entirely, int2 weights plainly).

    Args:
        model: Normalised model without model-local functions; it is changed.
        outputs: Names of the tensors that `run` returns.
        threads: Threads inside an operator; None leaves the choice to ONNX Runtime.

    Raises:
        UnsupportedError: An operator has no ONNX body, or ONNX Runtime refuses the lowered model.
    """

    def __init__(self, model: ir.Model, outputs: Sequence[str], *, threads: int | None) -> None:
        lowered = lower(model)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _QUIET
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        if threads is not None:
            options.intra_op_num_threads = threads
        self._outputs = list(outputs)
        self._session = _session(lowered, options)
        self._run = self._session.run

    def run(self, feeds: Mapping[str, Any]) -> Sequence[Any]:
        """The outputs for these inputs."""
        try:
            return self._run(self._outputs, feeds)
        except Exception as error:  # its errors have no common base of their own
            raise InputError("ONNX Runtime failed", got=" ".join(str(error).split())) from error


def lower(model: ir.Model) -> ir.Model:
    """The model in standard operators that ONNX Runtime has kernels for; `model` itself is changed on the way.

    Raises:
        UnsupportedError: An operator has no ONNX body, or cannot be brought to a known opset.
    """
    FoldConstants(keep_quantizers=False)(model)
    ours = any(operator_of(n, model.opset_imports) is not None for n in model.graph.all_nodes())
    opset = model.opset_imports.get("", 1)
    if opset > _NEWEST_OPSET or (ours and opset < _OLDEST_OPSET):
        model = convert_opset(model, BODY_OPSET)
        FoldConstants(keep_quantizers=False)(model)
    if ours:
        InferShapes()(model)
    expander = Expander(model.graph)
    for node in list(model.graph.all_nodes()):
        operator = operator_of(node, model.opset_imports)
        if operator is not None:
            expander.expand(node, operator)
        elif node.domain not in ("", "ai.onnx.ml", "com.microsoft"):
            raise UnsupportedError(
                "ONNX Runtime does not run this operator",
                node=label(node),
                got=f"{node.domain}::{node.op_type}",
                hint="register it as an anybit.Operator",
            )
    RemoveUnusedNodesPass()(model)
    model.ir_version = min(max(model.ir_version, 8), _NEWEST_IR_VERSION)
    return model


def _session(model: ir.Model, options: Any) -> onnxruntime.InferenceSession:
    names: list[str] = []
    values: list[onnxruntime.OrtValue] = []
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if tensor is None or tensor.nbytes <= _LARGE or tensor.dtype.itemsize < 1 or tensor.dtype == ir.DataType.STRING:
            continue
        array = np.ascontiguousarray(tensor.numpy())
        if array.dtype.kind not in "fiub":
            continue
        names.append(name)
        values.append(onnxruntime.OrtValue.ortvalue_from_numpy(array))
        value.const_value = ir.ExternalTensor(
            "anybit",
            0,
            tensor.nbytes,
            tensor.dtype,
            shape=ir.Shape(tensor.shape.numpy()),
            name=name,
        )
    if names:
        options.add_external_initializers(names, values)
    try:
        return onnxruntime.InferenceSession(
            ir.to_proto(model).SerializeToString(),
            options,
            ["CPUExecutionProvider"],
            disabled_optimizers=list(_INEXACT_OPTIMIZERS),
        )
    except Exception as error:  # ONNX Runtime's errors have no common base but RuntimeError's own
        raise UnsupportedError(
            "ONNX Runtime refuses the lowered model", got=" ".join(str(error).split()), hint='use engine="reference"'
        ) from error
