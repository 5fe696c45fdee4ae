"""compile_node: one standard ONNX node as a numpy function, the arithmetic that anybit takes as the truth.

Multiply-accumulates, reductions and transcendental functions are computed in float64 and rounded once, to the
type that the node has; all else is computed by onnx's reference implementation in the node's own types.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import RuntimeContextError

from anybit.errors import UnsupportedError
from anybit.ops.operator import Array
from anybit.ops.standard.convolution import conv, conv_transpose
from anybit.ops.standard.linear import batch_normalization, gemm
from anybit.ops.standard.pooling import average_pool, global_average_pool, max_pool

# onnx's reference has these from a later version on, with the meaning that they had before.
_REFERENCE_SINCE = {"QuantizeLinear": 19, "DequantizeLinear": 19}

Kernel = Callable[[Sequence[Array | None]], tuple[Any, ...]]
_Own = Callable[..., Array]

_OWN: dict[str, _Own] = {
    "Conv": lambda a, x, w, b=None: conv(x, w, b, a),
    "ConvTranspose": lambda a, x, w, b=None: conv_transpose(x, w, b, a),
    "MatMul": lambda _, x, y: np.matmul(x, y),
    "Gemm": lambda a, x, y, c=None: gemm(x, y, c, a),
    "BatchNormalization": lambda a, x, s, b, m, v: batch_normalization(x, s, b, m, v, a),
    "MaxPool": lambda a, x: max_pool(x, a),
    "AveragePool": lambda a, x: average_pool(x, a),
    "GlobalAveragePool": lambda _, x: global_average_pool(x),
}

# Computed by onnx's reference, but on float64 copies. Operators whose meaning depends on the type of the division
# or of the rounding (QuantizeLinear, Cast and the like) must not be here.
_WIDENED = frozenset(
    """Acos Acosh Asin Asinh Atan Atanh Celu Cos Cosh Einsum Elu Erf Exp Gelu GlobalLpPool GroupNormalization GRU
    HardSigmoid HardSwish InstanceNormalization LayerNormalization Log LogSoftmax LpNormalization LpPool LRN LSTM Mean
    MeanVarianceNormalization Mish Pow Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMean ReduceProd
    ReduceSum ReduceSumSquare Resize RMSNormalization RNN Selu Sigmoid Sin Sinh Softmax Softplus Softsign Sqrt Sum Tan
    Tanh Upsample""".split()
)


def compile_node(node: ir.Node, opset: int) -> Kernel:
    """A function from the node's inputs (None where left out) to its outputs.

    Args:
        node: A node of the standard domain, without subgraphs.
        opset: Version of the standard domain that gives the node its meaning.

    Raises:
        UnsupportedError: There is no reference for the operator at this version.
    """
    generic = _reference_kernel(_canonical(node), opset, len(node.inputs), len(node.outputs))
    attributes = {name: a.value for name, a in node.attributes.items()}
    own = _OWN.get(node.op_type)
    if own is not None and _is_plain(node, attributes, opset):
        return _in_float64(own, attributes, generic)
    if node.op_type in _WIDENED:
        return lambda inputs: _narrowed(generic([_float64(x) for x in inputs]), inputs)
    return generic


def _is_plain(node: ir.Node, attributes: Mapping[str, Any], opset: int) -> bool:
    """Whether our kernel covers this form: one output, inference, inputs rather than old attributes."""
    if node.op_type == "BatchNormalization":
        return not attributes.get("training_mode", 0) and (opset < 14 or len(node.outputs) == 1)
    return len(node.outputs) == 1


def _in_float64(own: _Own, attributes: Mapping[str, Any], generic: Kernel) -> Kernel:
    def run(inputs: Sequence[Array | None]) -> tuple[Any, ...]:
        first = inputs[0]
        if first is None or not np.issubdtype(first.dtype, np.floating):
            return generic(inputs)
        return _narrowed((own(attributes, *(_float64(x) for x in inputs)),), inputs)

    return run


def _float64(x: Any) -> Any:
    narrow = isinstance(x, np.ndarray) and x.dtype in (np.float16, np.float32)
    return x.astype(np.float64) if narrow else x


def _narrowed(outputs: tuple[Any, ...], inputs: Sequence[Any]) -> tuple[Any, ...]:
    dtype = next((x.dtype for x in inputs if isinstance(x, np.ndarray) and x.dtype.kind == "f"), None)
    if dtype is None:
        return outputs
    with np.errstate(over="ignore"):
        return tuple(
            y.astype(dtype) if isinstance(y, np.ndarray | np.floating) and y.dtype == np.float64 else y for y in outputs
        )


def _canonical(node: ir.Node) -> bytes:
    """The node with its tensors named by position, as the key under which its reference is kept."""
    proto = ir.to_proto(node)
    del proto.input[:], proto.output[:], proto.metadata_props[:]
    proto.name = proto.doc_string = ""
    proto.input.extend("" if v is None else f"i{k}" for k, v in enumerate(node.inputs))
    proto.output.extend(f"o{k}" for k in range(len(node.outputs)))
    return proto.SerializeToString(deterministic=True)


@lru_cache(maxsize=1024)
def _reference_kernel(node: bytes, opset: int, n_inputs: int, n_outputs: int) -> Kernel:
    proto = onnx.NodeProto.FromString(node)
    names = [f"i{k}" for k in range(n_inputs)]
    outputs = [f"o{k}" for k in range(n_outputs)]
    imports = [onnx.helper.make_opsetid("", max(opset, _REFERENCE_SINCE.get(proto.op_type, 1)))]
    function = onnx.helper.make_function("anybit", proto.op_type, names, outputs, [proto], imports)
    try:
        evaluator = ReferenceEvaluator(function)
    except RuntimeContextError:
        return _typed_kernel(proto, imports, names, outputs)
    except (NotImplementedError, RuntimeError, TypeError) as error:
        raise UnsupportedError(
            "the reference engine has no such standard operator", node=proto.op_type, got=f"opset {opset}: {error}"
        ) from error

    def run(inputs: Sequence[Array | None]) -> tuple[Any, ...]:
        feeds: dict[str, Any] = dict(zip(names, inputs, strict=True))
        with np.errstate(all="ignore"):
            return tuple(evaluator.run(None, feeds, attributes={}))

    return run


def _typed_kernel(
    proto: onnx.NodeProto, imports: Sequence[onnx.OperatorSetIdProto], names: Sequence[str], outputs: Sequence[str]
) -> Kernel:
    """For operators that onnx defines by a function which depends on the types of the inputs."""

    @lru_cache(maxsize=16)
    def evaluator(dtypes: tuple[Any, ...]) -> ReferenceEvaluator:
        types = [onnx.helper.np_dtype_to_tensor_dtype(d) for d in dtypes]
        inputs = [onnx.helper.make_tensor_value_info(n, t, None) for n, t in zip(names, types, strict=True)]
        results = [onnx.ValueInfoProto(name=o) for o in outputs]
        graph = onnx.helper.make_graph([proto], "anybit", inputs, results)
        return ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=imports))

    def run(inputs: Sequence[Array | None]) -> tuple[Any, ...]:
        arrays = [np.asarray(x) for x in inputs if x is not None]
        if len(arrays) < len(names):
            raise UnsupportedError("the reference engine needs every input of this operator", node=proto.op_type)
        with np.errstate(all="ignore"):
            feeds: dict[str, Any] = dict(zip(names, arrays, strict=True))
            return tuple(evaluator(tuple(a.dtype for a in arrays)).run(None, feeds))

    return run
