"""Finiteness: whether a model makes finite numbers of finite numbers, so that bytes can stand for its activations."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.graph.constants import constant, has_default
from anybit.ops.operator import DOMAIN

# As long as none overflows float32.
_FINITE = frozenset(
    """Abs Add And ArgMax ArgMin AveragePool Cast CastLike Ceil Celu Clip Concat Constant ConstantOfShape Conv
    ConvTranspose Cos DepthToSpace DequantizeLinear Dropout Einsum Elu Equal Erf Expand Flatten Floor Gather
    GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual HardSigmoid HardSwish
    Hardmax Identity LeakyRelu Less LessOrEqual LogSoftmax MatMul Max MaxPool Mean Min Mish Mul Neg Not Or PRelu Pad
    QuantizeLinear ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceSum ReduceSumSquare Relu Reshape Resize
    Round Selu Shape Sigmoid Sign Sin Size Slice Softmax Softplus Softsign SpaceToDepth Split Squeeze Sub Sum Swish
    Tanh ThresholdedRelu Tile TopK Transpose Unsqueeze Where""".split()
)
# They divide by a deviation, to whose square they add epsilon first.
_NORMS = frozenset(
    "BatchNormalization GroupNormalization InstanceNormalization LayerNormalization RMSNormalization".split()
)


def stays_finite(model: ir.Model) -> bool:
    """Whether every operator makes finite numbers of finite numbers, as long as none overflows float32.

    Constants and defaults of inputs count as well: a mask of minus infinities makes NaN where it covers a whole row.
    """
    nodes = list(model.graph.all_nodes())
    constants = [constant(v) for v in dict.fromkeys(v for n in nodes for v in n.inputs)]
    defaults = [v.const_value.numpy() for v in model.graph.inputs if v.const_value is not None and has_default(v)]
    return all(map(_stays_finite, nodes)) and all(map(_is_finite, (*constants, *defaults)))


def _stays_finite(node: ir.Node) -> bool:
    if node.domain == DOMAIN:
        return True
    if node.domain != "":
        return False
    if node.op_type in _NORMS:
        epsilon = node.attributes.get("epsilon")
        return epsilon is None or epsilon.as_float() > 0
    divisor = constant(node.inputs[1]) if node.op_type == "Div" else None
    return node.op_type in _FINITE or (divisor is not None and bool(divisor.all()))


def _is_finite(array: Array | None) -> bool:
    if array is None or array.dtype.kind != "f":
        return True
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(array.sum()))  # no copy is made; a sum that overflows counts as infinite
