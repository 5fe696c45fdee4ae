"""The kernels of onnx's own reference implementation, which has most operators."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir

from anybit.errors import UnsupportedError
from anybit.graph.walk import label
from anybit.ops.standard.kernel import Kernel

if TYPE_CHECKING:
    from onnx.reference import ReferenceEvaluator

# onnx's reference has these from a later version on, with the meaning that they had before.
_SINCE = {"QuantizeLinear": 19, "DequantizeLinear": 19}

_LEFT_OUT = frozenset(("ImageDecoder",))
_HINT = "run it with engine='onnxruntime', or convert the model to an opset that has the operator"


def reference_kernel(node: ir.Node, opset: int) -> Kernel:
    """The kernel of a node without subgraphs.

    Raises:
        UnsupportedError: onnx has no reference for the operator at this version.
    """
    if node.op_type in _LEFT_OUT:
        raise UnsupportedError(
            "no model makes anybit decode images", node=label(node), got=node.op_type, hint="feed the decoded image"
        )
    try:
        return _kernel(_canonical(node), opset, len(node.inputs), len(node.outputs))
    except UnsupportedError as error:
        problem, got = error.diagnosis.problem, error.diagnosis.got
        raise UnsupportedError(problem, node=label(node), got=got, hint=_HINT) from error


def _canonical(node: ir.Node) -> bytes:
    """The node with its tensors named by position, as the key under which its reference is kept."""
    proto = ir.to_proto(node)
    del proto.input[:], proto.output[:], proto.metadata_props[:]
    proto.name = proto.doc_string = ""
    proto.input.extend("" if v is None else f"i{k}" for k, v in enumerate(node.inputs))
    proto.output.extend(f"o{k}" for k in range(len(node.outputs)))
    return proto.SerializeToString(deterministic=True)


@lru_cache(maxsize=1024)
def _kernel(node: bytes, opset: int, n_inputs: int, n_outputs: int) -> Kernel:
    from onnx.reference import ReferenceEvaluator
    from onnx.reference.op_run import RuntimeContextError

    proto = onnx.NodeProto.FromString(node)
    names = [f"i{k}" for k in range(n_inputs)]
    outputs = [f"o{k}" for k in range(n_outputs)]
    imports = [onnx.helper.make_opsetid("", max(opset, _SINCE.get(proto.op_type, 1)))]
    function = onnx.helper.make_function("anybit", proto.op_type, names, outputs, [proto], imports)
    try:
        evaluator = ReferenceEvaluator(function)
    except RuntimeContextError:
        return _typed_kernel(proto, imports, names, outputs)
    except (NotImplementedError, RuntimeError, TypeError) as error:
        raise UnsupportedError(
            "the reference engine has no such standard operator",
            node=proto.op_type,
            got=f"opset {opset}: {' '.join(str(error).split())}",
            hint=_HINT,
        ) from error

    def run(inputs: Sequence[Any]) -> tuple[Any, ...]:
        feeds: dict[str, Any] = dict(zip(names, inputs, strict=True))
        with np.errstate(all="ignore"):
            return tuple(evaluator.run(None, feeds, attributes={}))

    return run


def _typed_kernel(
    proto: onnx.NodeProto, imports: Sequence[onnx.OperatorSetIdProto], names: Sequence[str], outputs: Sequence[str]
) -> Kernel:
    """For operators that onnx defines by a function which depends on the types of the inputs."""
    from onnx.reference import ReferenceEvaluator

    @lru_cache(maxsize=16)
    def evaluator(dtypes: tuple[Any, ...]) -> ReferenceEvaluator:
        kept = [
            (n, onnx.helper.np_dtype_to_tensor_dtype(d)) for n, d in zip(names, dtypes, strict=True) if d is not None
        ]
        inputs = [onnx.helper.make_tensor_value_info(n, t, None) for n, t in kept]
        results = [onnx.ValueInfoProto(name=o) for o in outputs]
        graph = onnx.helper.make_graph([proto], "anybit", inputs, results)
        return ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=imports))

    def run(inputs: Sequence[Any]) -> tuple[Any, ...]:
        arrays = [None if x is None else np.asarray(x) for x in inputs]
        feeds: dict[str, Any] = {n: a for n, a in zip(names, arrays, strict=True) if a is not None}
        with np.errstate(all="ignore"):
            return tuple(evaluator(tuple(None if a is None else a.dtype for a in arrays)).run(None, feeds))

    return run
