"""ONNX Runtime's contributed operators on bytes: all integers of the type that they make."""

from __future__ import annotations

from anybit.analysis.values.rules.integer_products import qlinear_conv
from anybit.analysis.values.tensor_values import TensorValues, integers, of_dtype
from anybit.analysis.values.transfer import NodeContext, NotFollowed, Rules
from anybit.number_formats import IntFormat


def any_byte(site: NodeContext) -> TensorValues:
    """All integers of the type of the output."""
    dtype = site.dtype()
    if dtype.kind not in "iu":
        raise NotFollowed(f"the output is {dtype}")
    widest = of_dtype(dtype)
    return integers(widest.lo, widest.hi, IntFormat(dtype.itemsize * 8, signed=dtype.kind == "i"))


def convolution(site: NodeContext) -> TensorValues:
    """QLinearConv, whose sums are followed where the channels are axis 1."""
    return any_byte(site) if site.attribute("channels_last", 0) else qlinear_conv(site)


RULES: Rules = {
    "NhwcMaxPool": any_byte,
    "QGemm": any_byte,
    "QLinearAdd": any_byte,
    "QLinearAveragePool": any_byte,
    "QLinearConcat": any_byte,
    "QLinearConv": convolution,
    "QLinearGlobalAveragePool": any_byte,
    "QLinearLeakyRelu": any_byte,
    "QLinearMul": any_byte,
    "QLinearSigmoid": any_byte,
    "QLinearSoftmax": any_byte,
    "QLinearWhere": any_byte,
}
