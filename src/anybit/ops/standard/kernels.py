"""compile_node: one standard ONNX node as a numpy function, the arithmetic that anybit takes as the truth.

Multiply-accumulates, reductions and transcendental functions are computed in float64 and rounded once, to the
type that the node has; all else is computed in the node's own types. What is not in the tables here is computed by
onnx's reference implementation.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from threading import RLock
from typing import Any

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.graph.walk import label
from anybit.ops.standard.casts import make_cast, make_cast_like
from anybit.ops.standard.convolution import conv, conv_transpose
from anybit.ops.standard.dropout import make_dropout
from anybit.ops.standard.indexing import (
    make_gather_elements,
    make_one_hot,
    make_scatter_elements,
    make_scatter_nd,
    make_unique,
)
from anybit.ops.standard.kernel import Kernel, Maker, Spec, in_float64, is_float
from anybit.ops.standard.linear import (
    gemm,
    local_response_normalization,
    log_softmax,
    lp_normalization,
    make_batch_normalization,
    make_layer_normalization,
    mean,
    mean_variance_normalization,
)
from anybit.ops.standard.linear_quantization import dynamic_quantize_linear, make_quantize_linear
from anybit.ops.standard.onnx_reference import reference_kernel
from anybit.ops.standard.padding import make_pad
from anybit.ops.standard.pooling import (
    average_pool,
    global_average_pool,
    global_lp_pool,
    global_max_pool,
    lp_pool,
    make_max_pool,
)
from anybit.ops.standard.powers import make_pow
from anybit.ops.standard.quantized_products import conv_integer, matmul_integer, qlinear_conv, qlinear_matmul
from anybit.ops.standard.recurrent import recurrent
from anybit.ops.standard.reductions import make_reduction
from anybit.ops.standard.regions import make_max_roi_pool, make_non_max_suppression
from anybit.ops.standard.resize import make_resize, make_upsample
from anybit.ops.standard.sampling import make_affine_grid, make_grid_sample
from anybit.ops.standard.sequences import make_optional, make_sequence_insert
from anybit.ops.standard.shapes import make_flatten, make_squeeze, make_unsqueeze

__all__ = ["Kernel", "compile_node"]

# One floating-point output from floating-point inputs, all float64: f(attributes, *inputs).
_FLOAT: dict[str, Callable[..., Array]] = {
    "Conv": lambda a, x, w, b=None: conv(x, w, b, a),
    "ConvTranspose": lambda a, x, w, b=None: conv_transpose(x, w, b, a),
    "MatMul": lambda _, x, y: np.matmul(x, y),
    "Gemm": lambda a, x, y, c=None: gemm(x, y, c, a),
    "AveragePool": lambda a, x: average_pool(x, a),
    "LpPool": lambda a, x: lp_pool(x, a),
    "GlobalAveragePool": lambda _, x: global_average_pool(x),
    "GlobalLpPool": lambda a, x: global_lp_pool(x, a),
    "GlobalMaxPool": lambda _, x: global_max_pool(x),
    "LpNormalization": lambda a, x: lp_normalization(x, a),
    "MeanVarianceNormalization": lambda a, x: mean_variance_normalization(x, a),
    "LRN": lambda a, x: local_response_normalization(x, a),
    "LogSoftmax": lambda a, x: log_softmax(x, a),
    "Mean": lambda _, *terms: mean(terms),
}

# In the types of the inputs.
_TYPED: dict[str, Maker] = {
    "BatchNormalization": make_batch_normalization,
    "Cast": make_cast,
    "CastLike": make_cast_like,
    "ConvInteger": lambda spec: lambda inputs: (conv_integer(inputs, spec.attributes),),
    "Dropout": make_dropout,
    "DynamicQuantizeLinear": lambda _: lambda inputs: dynamic_quantize_linear(inputs[0]),
    "Flatten": make_flatten,
    "GatherElements": make_gather_elements,
    "LayerNormalization": make_layer_normalization,
    "MatMulInteger": lambda _: lambda inputs: (matmul_integer(inputs),),
    "MaxPool": make_max_pool,
    "MaxRoiPool": make_max_roi_pool,
    "NonMaxSuppression": make_non_max_suppression,
    "OneHot": make_one_hot,
    "Optional": make_optional,
    "Pad": make_pad,
    "Pow": make_pow,
    "QLinearConv": lambda spec: lambda inputs: (qlinear_conv(inputs, spec.attributes),),
    "QLinearMatMul": lambda _: lambda inputs: (qlinear_matmul(inputs),),
    "QuantizeLinear": make_quantize_linear,
    "Scatter": make_scatter_elements,
    "SequenceInsert": make_sequence_insert,
    "Squeeze": make_squeeze,
    "Unique": make_unique,
    "Unsqueeze": make_unsqueeze,
}

# On float64 copies of floating-point inputs, their results rounded once.
_WIDE: dict[str, Maker] = {
    "AffineGrid": make_affine_grid,
    "GridSample": make_grid_sample,
    "GRU": recurrent("GRU"),
    "LSTM": recurrent("LSTM"),
    "Resize": lambda spec: make_resize(spec) if spec.opset > 10 else make_upsample(spec),
    "RNN": recurrent("RNN"),
    "ScatterElements": make_scatter_elements,
    "ScatterND": make_scatter_nd,
    "Softsign": lambda _: lambda inputs: (inputs[0] / (1 + np.abs(inputs[0])),),
    "Upsample": make_upsample,
} | {
    f"Reduce{name}": make_reduction(name)
    for name in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
}

# Computed by onnx's reference, but on float64 copies. Operators whose meaning depends on the type of the division
# or of the rounding (QuantizeLinear, Cast and the like) must not be here.
_WIDENED = frozenset(
    """Acos Acosh Asin Asinh Atan Atanh Attention CausalConvWithState Celu Col2Im Cos
    Cosh CumProd CumSum DeformConv Det DFT Einsum Elu Erf Exp Gelu GroupNormalization HardSigmoid HardSwish
    InstanceNormalization LeakyRelu Log Mish
    NegativeLogLikelihoodLoss Reciprocal RMSNormalization RoiAlign RotaryEmbedding Selu Sigmoid Sin Sinh Softmax
    SoftmaxCrossEntropyLoss Softplus Sqrt STFT Sum SwiGLU Swish Tan Tanh""".split()
)

# Before version 13 they see X as a matrix, whose rows are the axes before `axis`.
_FLATTENED = frozenset({"Hardmax", "LogSoftmax", "Softmax"})

# Inputs that are scalars, which many files write as vectors of one element.
_SCALARS: dict[str, tuple[int, ...]] = {
    "BlackmanWindow": (0,),
    "Clip": (1, 2),
    "CumProd": (1,),
    "CumSum": (1,),
    "DFT": (1, 2),
    "Dropout": (1, 2),
    "HammingWindow": (0,),
    "HannWindow": (0,),
    "MelWeightMatrix": (0, 1, 2, 3, 4),
    "Range": (0, 1, 2),
    "SequenceAt": (1,),
    "SequenceErase": (1,),
    "STFT": (1, 3),
    "Trilu": (1,),
}

_FILTERS = RLock()  # those of warnings are one for all threads; kernels call kernels

# They change negative numbers alone.
_OF_NEGATIVES = frozenset(("PRelu", "Relu"))


def compile_node(node: ir.Node, opset: int) -> Kernel:
    """A function from the node's inputs (None where left out) to its outputs.

    Args:
        node: A node of the standard domain, without subgraphs.
        opset: Version of the standard domain that gives the node its meaning.

    Raises:
        UnsupportedError: There is no reference for the operator at this version.
    """
    kernel = _kernel(node, opset)
    scalars, outputs = _SCALARS.get(node.op_type, ()), len(node.outputs)

    def run(inputs: Sequence[Any]) -> tuple[Any, ...]:
        if scalars:
            inputs = [_scalar(x) if k in scalars else x for k, x in enumerate(inputs)]
        with _silent(inputs):
            return tuple(_array(y) for y in kernel(inputs)[:outputs])

    return run


@contextmanager
def _silent(inputs: Sequence[Any]) -> Generator[None]:
    """Keeps numpy from warning of infinities and NaN, which are results as others."""
    with np.errstate(all="ignore"):
        if all(np.size(x) for x in inputs if isinstance(x, np.ndarray)):
            yield
            return
        with _FILTERS, warnings.catch_warnings():  # of a mean over nothing it warns whatever the state is
            warnings.simplefilter("ignore", RuntimeWarning)
            yield


def _array(y: Any) -> Any:
    """Arrays also where numpy makes scalars, of objects where it makes text of one length; sequences as lists."""
    if isinstance(y, np.generic):
        y = np.asarray(y)
    return y.astype(object) if isinstance(y, np.ndarray) and y.dtype.kind == "U" else y


def _scalar(x: Any) -> Any:
    return x.reshape(()) if isinstance(x, np.ndarray) and x.size == 1 else x


def _kernel(node: ir.Node, opset: int) -> Kernel:
    name = node.op_type
    attributes = {key: a.value for key, a in node.attributes.items()}
    spec = Spec(label(node), attributes, opset, len(node.outputs), lambda: reference_kernel(node, opset))
    if (typed := _TYPED.get(name)) is not None:
        return typed(spec)
    if (wide := _WIDE.get(name)) is not None:
        return in_float64(wide(spec))
    if name in _FLATTENED and opset < 13:
        return _flattened(node, int(attributes.get("axis", 1)))
    if name == "RoiAlign" and opset < 16:
        return compile_node(_renewed(node, {"coordinate_transformation_mode": "output_half_pixel"}), 16)
    if name == "TfIdfVectorizer":
        return _within_rows(node, spec)
    if name in _FLOAT and spec.outputs == 1:
        return _of_floats(_FLOAT[name], spec)
    if name in _OF_NEGATIVES:
        generic = spec.generic()
        return lambda inputs: _with_own_zeros(generic(inputs), inputs)
    return in_float64(spec.generic()) if name in _WIDENED else spec.generic()


def _with_own_zeros(outputs: tuple[Any, ...], inputs: Sequence[Any]) -> tuple[Any, ...]:
    """-0, which is not negative, stays -0, as in ONNX Runtime; onnx's reference makes +0 of it."""
    x = inputs[0]
    return outputs if x is None else (np.where(x == 0, x, outputs[0]),)


def _of_floats(function: Callable[..., Array], spec: Spec) -> Kernel:
    wide = in_float64(lambda inputs: (function(spec.attributes, *inputs),))
    return lambda inputs: wide(inputs) if is_float(inputs[0]) else spec.generic()(inputs)


def _renewed(node: ir.Node, attributes: Mapping[str, Any]) -> ir.Node:
    """A node of a later version that means the same."""
    values = [None if v is None else ir.Value(name=f"i{k}") for k, v in enumerate(node.inputs)]
    kept: dict[str, Any] = dict(node.attributes)
    return ir.node(node.op_type, values, kept | dict(attributes), name=label(node), num_outputs=len(node.outputs))


def _within_rows(node: ir.Node, spec: Spec) -> Kernel:
    """TfIdfVectorizer, whose n-grams skip no more items than a row has; onnx's reference counts on to the limit."""
    most = spec.integer("max_skip_count", 0)

    def run(inputs: Sequence[Any]) -> tuple[Any, ...]:
        longest = np.shape(inputs[0])[-1] if np.ndim(inputs[0]) else 1
        limited = node if most <= longest else _renewed(node, {"max_skip_count": longest})
        return reference_kernel(limited, spec.opset)(inputs)

    return run


def _flattened(node: ir.Node, axis: int) -> Kernel:
    kernel = compile_node(_renewed(node, {"axis": 1}), 13)

    def run(inputs: Sequence[Any]) -> tuple[Any, ...]:
        x = np.asarray(inputs[0])
        before = axis if axis >= 0 else x.ndim + axis
        (y,) = kernel([x.reshape(math.prod(x.shape[:before]), math.prod(x.shape[before:]))])
        return (y.reshape(x.shape),)

    return run
