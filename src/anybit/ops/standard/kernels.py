"""compile_node: one standard ONNX node as a numpy function, the arithmetic that anybit takes as the truth.

Multiply-accumulates, reductions and transcendental functions are computed in float64 and rounded once, to the
type that the node has; all else is computed by onnx's reference implementation in the node's own types.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import RuntimeContextError

from anybit.errors import UnsupportedError
from anybit.ops.operator import Array
from anybit.ops.standard.convolution import conv, conv_transpose
from anybit.ops.standard.linear import batch_normalization, gemm, local_response_normalization, lp_normalization
from anybit.ops.standard.linear_quantization import quantize_linear
from anybit.ops.standard.pooling import average_pool, global_average_pool, global_max_pool, max_pool
from anybit.ops.standard.quantized_products import conv_integer, matmul_integer, qlinear_conv, qlinear_matmul

# onnx's reference has these from a later version on, with the meaning that they had before.
_REFERENCE_SINCE = {"QuantizeLinear": 19, "DequantizeLinear": 19}

# Before version 13 they see X as a matrix, whose rows are the axes before `axis`.
_FLATTENED = frozenset({"Hardmax", "LogSoftmax", "Softmax"})

# The activations that onnx's reference computes, whatever the node says.
_FIXED_ACTIVATIONS = {"GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"], "RNN": ["Tanh"]}

_FLOATS = frozenset(map(np.dtype, (np.float16, np.float32, np.float64, ml_dtypes.bfloat16)))

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
    "GlobalMaxPool": lambda _, x: global_max_pool(x),
    "LpNormalization": lambda a, x: lp_normalization(x, a),
    "LRN": lambda a, x: local_response_normalization(x, a),
}

# Of stored integers.
_PRODUCTS: dict[str, Callable[[Sequence[Array | None], Mapping[str, Any]], Array]] = {
    "ConvInteger": conv_integer,
    "MatMulInteger": lambda inputs, _: matmul_integer(inputs),
    "QLinearConv": qlinear_conv,
    "QLinearMatMul": lambda inputs, _: qlinear_matmul(inputs),
}

# Computed by onnx's reference, but on float64 copies. Operators whose meaning depends on the type of the division
# or of the rounding (QuantizeLinear, Cast and the like) must not be here.
_WIDENED = frozenset(
    """Acos Acosh Asin Asinh Atan Atanh Celu Cos Cosh Einsum Elu Erf Exp Gelu GlobalLpPool GroupNormalization GRU
    HardSigmoid HardSwish InstanceNormalization LayerNormalization Log LogSoftmax LpPool LSTM Mean
    Mish Pow Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMean ReduceProd
    ReduceSum ReduceSumSquare RMSNormalization RNN Selu Sigmoid Sin Sinh Softmax Softplus Softsign Sqrt Sum Tan
    Tanh""".split()
)


def compile_node(node: ir.Node, opset: int) -> Kernel:
    """A function from the node's inputs (None where left out) to its outputs.

    Args:
        node: A node of the standard domain, without subgraphs.
        opset: Version of the standard domain that gives the node its meaning.

    Raises:
        UnsupportedError: There is no reference for the operator at this version.
    """
    attributes = {name: a.value for name, a in node.attributes.items()}
    if node.op_type in ("Resize", "Upsample"):
        return _resize(node, opset)
    product = _PRODUCTS.get(node.op_type)
    if product is not None:
        return lambda inputs: (product(inputs, attributes),)
    _refuse_ignored(node, attributes)
    generic = _reference_kernel(_canonical(node), opset, len(node.inputs), len(node.outputs))
    if node.op_type == "QuantizeLinear":
        return lambda inputs: generic(inputs) if (y := quantize_linear(inputs, attributes)) is None else (y,)
    if node.op_type in ("Cast", "CastLike"):
        return lambda inputs: generic([_in_bytes(inputs[0]), *inputs[1:]])
    own = _OWN.get(node.op_type)
    if own is not None and _is_plain(node, attributes, opset):
        return _in_float64(own, attributes, generic)
    if node.op_type in _FLATTENED and opset < 13:
        return _flattened(node, int(attributes.get("axis", 1)))
    if node.op_type in _FIXED_ACTIVATIONS and len(node.inputs) > 4 and node.inputs[4] is not None:
        return _whole_sequences(node, generic)
    if node.op_type in _WIDENED:
        return lambda inputs: _narrowed(generic([_float64(x) for x in inputs]), inputs)
    return generic


def _refuse_ignored(node: ir.Node, attributes: Mapping[str, Any]) -> None:
    """Raises for what onnx's reference takes and then ignores."""
    ignored = ["Indices"] if node.op_type == "MaxPool" and len(node.outputs) > 1 else []
    if (fixed := _FIXED_ACTIVATIONS.get(node.op_type)) is not None:
        ignored = [name for name in ("clip", "input_forget") if attributes.get(name)]
        activations = list(attributes.get("activations") or fixed)
        if activations not in (fixed, fixed * 2):
            ignored.append("activations")
    if ignored:
        raise UnsupportedError("the reference engine does not do this", node=node.op_type, got=", ".join(ignored))


def _whole_sequences(node: ir.Node, generic: Kernel) -> Kernel:
    """A recurrent operator with lengths that are all those of the input: onnx's reference ignores the lengths."""

    def run(inputs: Sequence[Array | None]) -> tuple[Any, ...]:
        x, lengths = inputs[0], inputs[4]
        time_axis = 1 if "layout" in node.attributes and node.attributes["layout"].as_int() else 0
        if x is not None and lengths is not None and (lengths != x.shape[time_axis]).any():
            raise UnsupportedError("the reference engine does not do this", node=node.op_type, got="sequence_lens")
        return _narrowed(generic([_float64(v) for v in inputs]), inputs)

    return run


def _is_plain(node: ir.Node, attributes: Mapping[str, Any], opset: int) -> bool:
    """Whether our kernel covers this form: one output, inference, inputs rather than old attributes."""
    if node.op_type == "BatchNormalization":
        return not attributes.get("training_mode", 0) and (opset < 14 or len(node.outputs) == 1)
    return len(node.outputs) == 1


def _in_float64(own: _Own, attributes: Mapping[str, Any], generic: Kernel) -> Kernel:
    def run(inputs: Sequence[Array | None]) -> tuple[Any, ...]:
        first = inputs[0]
        if (
            own is _OWN["MaxPool"] and first is not None and first.dtype.kind in "iu"
        ):  # int8 and uint8: exact in float64
            return (
                np.maximum(own(attributes, first.astype(np.float64)), np.iinfo(first.dtype).min).astype(first.dtype),
            )
        if first is None or first.dtype not in _FLOATS:
            return generic(inputs)
        with np.errstate(all="ignore"):  # infinities and NaN are answered, not warned of
            return _narrowed((own(attributes, *(_float64(x) for x in inputs)),), inputs)

    return run


def _flattened(node: ir.Node, axis: int) -> Kernel:
    kernel = compile_node(ir.node(node.op_type, [ir.Value(name="x")], {"axis": 1}), 13)

    def run(inputs: Sequence[Array | None]) -> tuple[Any, ...]:
        x = np.asarray(inputs[0])
        before = axis if axis >= 0 else x.ndim + axis
        (y,) = kernel([x.reshape(math.prod(x.shape[:before]), math.prod(x.shape[before:]))])
        return (y.reshape(x.shape),)

    return run


def _resize(node: ir.Node, opset: int) -> Kernel:
    """Resize; Upsample and Resize 10 are its asymmetric form, without a region of interest."""
    attributes = {name: a.value for name, a in node.attributes.items()}
    fixed = attributes.pop("scales", None)  # Upsample 7
    if opset >= 11 and node.op_type == "Resize":
        generic = _reference_kernel(_canonical(node), opset, len(node.inputs), 1)
        return lambda inputs: _narrowed(generic(_resize_inputs(inputs, attributes.get("axes"))), inputs)
    attributes |= {"coordinate_transformation_mode": "asymmetric"}
    larger, smaller = (
        compile_node(ir.node("Resize", [ir.Value(name="i")] * 3, attributes | {"nearest_mode": mode}), 13)
        for mode in ("floor", "ceil")
    )

    def run(inputs: Sequence[Array | None]) -> tuple[Any, ...]:
        scales = np.asarray(inputs[1] if fixed is None else fixed, np.float32)
        return (smaller if (scales < 1).any() else larger)([inputs[0], None, scales])

    return run


def _resize_inputs(inputs: Sequence[Array | None], axes: Sequence[int] | None) -> list[Array | None]:
    """X in float64, and scales from which onnx, which multiplies in float64, gets the sizes of float32 products."""
    x, *rest = inputs
    if x is None or len(rest) < 2 or rest[1] is None or not rest[1].size:
        return [_float64(x), *rest]
    sides = np.array(x.shape if axes is None else [x.shape[a] for a in axes])
    scales = rest[1].astype(np.float64)
    sizes = np.floor(rest[1].astype(np.float32) * sides.astype(np.float32))
    adjusted = np.where(sizes == np.floor(scales * sides), scales, np.nextafter(sizes / sides, np.inf))
    return [_float64(x), rest[0], adjusted, *rest[2:]]


def _float64(x: Any) -> Any:
    return x.astype(np.float64) if isinstance(x, np.ndarray) and x.dtype in _FLOATS else x


def _in_bytes(x: Any) -> Any:
    """A tensor of one of the types that numpy lacks in a type that it has, exactly: it casts from it to all others."""
    if not isinstance(x, np.ndarray) or x.dtype.kind != "V":
        return x
    return x.astype(np.int16 if ir.DataType.from_numpy(x.dtype).is_integer() else np.float32)


def _narrowed(outputs: tuple[Any, ...], inputs: Sequence[Any]) -> tuple[Any, ...]:
    dtype = next((x.dtype for x in inputs if isinstance(x, np.ndarray) and x.dtype in _FLOATS), None)
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
