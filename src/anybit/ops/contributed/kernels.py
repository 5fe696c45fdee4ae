"""compile_contributed: one node of domain `com.microsoft` as a numpy function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.ops.contributed import DOMAIN
from anybit.ops.contributed.blocks import gather_block_quantized, matmul_nbits
from anybit.ops.contributed.elementwise import (
    qlinear_concat,
    qlinear_leaky_relu,
    qlinear_pair,
    qlinear_sigmoid,
    qlinear_where,
)
from anybit.ops.contributed.pooling import nhwc_max_pool, qlinear_average_pool, qlinear_global_average_pool
from anybit.ops.contributed.products import channels_last_conv, dynamic_matmul, matmul_to_float, qgemm
from anybit.ops.contributed.softmax import qlinear_softmax
from anybit.ops.standard.kernels import Kernel, compile_node

_STANDARD = frozenset(("DequantizeLinear", "QuantizeLinear"))
_STANDARD_OPSET = 21  # the first one with all types of integers that they take

_KERNELS: dict[str, Callable[[Sequence[Array | None], Mapping[str, Any]], Array]] = {
    "DynamicQuantizeMatMul": lambda inputs, _: dynamic_matmul(inputs),
    "GatherBlockQuantized": gather_block_quantized,
    "MatMulIntegerToFloat": lambda inputs, _: matmul_to_float(inputs),
    "MatMulNBits": matmul_nbits,
    "NhwcMaxPool": nhwc_max_pool,
    "QGemm": qgemm,
    "QLinearAdd": lambda inputs, _: qlinear_pair(inputs, "QLinearAdd"),
    "QLinearAveragePool": qlinear_average_pool,
    "QLinearConcat": qlinear_concat,
    "QLinearConv": channels_last_conv,
    "QLinearGlobalAveragePool": qlinear_global_average_pool,
    "QLinearLeakyRelu": qlinear_leaky_relu,
    "QLinearMul": lambda inputs, _: qlinear_pair(inputs, "QLinearMul"),
    "QLinearSigmoid": lambda inputs, _: qlinear_sigmoid(inputs),
    "QLinearSoftmax": qlinear_softmax,
    "QLinearWhere": lambda inputs, _: qlinear_where(inputs),
}


def compile_contributed(node: ir.Node) -> Kernel | None:
    """What computes the node's output from its inputs, None for one left out; None where it has no reference."""
    if node.domain != DOMAIN:
        return None
    if node.op_type in _STANDARD:
        places = [None if v is None else ir.Value(name=f"i{k}") for k, v in enumerate(node.inputs)]
        return compile_node(ir.node(node.op_type, places, dict(node.attributes)), _STANDARD_OPSET)
    kernel = _KERNELS.get(node.op_type)
    if kernel is None:
        return None
    attributes = {name: a.value for name, a in node.attributes.items()}

    def run(inputs: Sequence[Array | None]) -> tuple[Array, ...]:
        try:
            with np.errstate(all="ignore"):
                return (kernel(inputs, attributes),)
        except KeyError as error:
            raise ValueError(f"the attribute {error} is missing") from error

    return run
