"""hgq2: layers of HGQ2: quantisers at the inputs and at the output of what are else layers of Keras."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from anybit.frontends.keras.calls import Builder, Call
from anybit.frontends.keras.convolution import required
from anybit.frontends.keras.functions import activate
from anybit.frontends.keras.graph import Graph, LayerTensor
from anybit.frontends.keras.hgq2_quantizers import quantize, snapped
from anybit.frontends.keras.merging import merge
from anybit.frontends.keras.normalization import check_axis
from anybit.frontends.keras.weights import Weight, compact, numpy_of


def weight(call: Call, role: str) -> Weight | None:
    """A parameter as the layer multiplies with it, folded normalisation included; None where the layer has none."""
    layer = call.layer
    result, quantizer = (layer.qkernel, layer.kq) if role == "kernel" else (layer.qbias, layer.bq)
    return None if result is None else snapped(call, role, quantizer, result)


def with_quantizers(inner: Builder) -> Builder:
    """A layer between the quantisers of its inputs and that of its output, as far as they are enabled."""

    def build(graph: Graph, call: Call) -> LayerTensor:
        layer = call.layer
        inputs = call.inputs
        if layer.enable_iq:
            own = list(layer.iq) if len(inputs) > 1 or hasattr(layer.iq, "quantizers") else [layer.iq]
            names = [f"{call.path}/iq{n if len(own) > 1 else ''}" for n in range(len(own))]
            triples = zip(inputs, own, names, strict=True)
            inputs = tuple(quantize(graph, call, t, quantizer, name) for t, quantizer, name in triples)
        output = inner(graph, replace(call, inputs=inputs))
        return quantize(graph, call, output, layer.oq, f"{call.path}/oq") if layer.enable_oq else output

    return build


def quantizer(graph: Graph, call: Call) -> LayerTensor:
    """Quantizer: the layer that is nothing else."""
    return quantize(graph, call, call.x, call.layer, f"{call.path}/quant")


def batch_normalization(graph: Graph, call: Call) -> LayerTensor:
    """QBatchNormalization: x * quantised(scale) + quantised(offset)."""
    check_axis(call)
    layer = call.layer
    scale, offset = layer._scaler_and_offset()  # noqa: SLF001  what the layer itself calls; there is no public name
    pairs = (("Mul", "scale", layer.kq, scale), ("Add", "offset", layer.bq, offset))
    tensor = call.x
    for op_type, role, own, parameter in pairs:
        flat = snapped(call, role, own, own(parameter))
        shape = compact(tensor.aligned(np.arange(flat.array.size))).shape
        value = graph.weight(layer, role, call.path, lambda given=flat, to=shape: given.reshaped(*to))
        tensor = replace(tensor, value=graph.node(op_type, [tensor.value, value], f"{call.path}/{op_type.lower()}"))
    return tensor


def einsum_dense(graph: Graph, call: Call) -> LayerTensor:
    """activation(einsum(equation, x, kernel) + bias); a plain product of the last axis is a MatMul."""
    x = graph.channels_last(call.x)
    kernel = graph.weight(call.layer, "kernel", call.path, lambda: required(weight, call, "kernel"))
    equation = str(call.layer.equation).replace(" ", "")
    if _is_product(equation):
        value = graph.node("MatMul", [x.value, kernel], f"{call.path}/product")
    else:
        value = graph.node("Einsum", [x.value, kernel], f"{call.path}/product", equation=equation)
    bias = weight(call, "bias")
    if bias is not None:
        offset = graph.weight(call.layer, "bias", call.path, lambda: bias)
        value = graph.node("Add", [value, offset], f"{call.path}/sum")
    return activate(graph, call, LayerTensor(value, call.shape), call.layer.activation)


def _is_product(equation: str) -> bool:
    """Whether it is ``...a,ab->...b``."""
    terms, result = equation.split("->")
    x, kernel = terms.split(",")
    return len(kernel) == 2 and x[-1] == kernel[0] and kernel[1] not in x and result == x[:-1] + kernel[1]


def einsum(graph: Graph, call: Call) -> LayerTensor:
    """QEinsum: products of the inputs, summed as the equation says."""
    values = [graph.channels_last(t).value for t in call.inputs]
    return LayerTensor(
        graph.node("Einsum", values, f"{call.path}/einsum", equation=str(call.layer.equation)), call.shape
    )


def average_power_of_two(graph: Graph, call: Call) -> LayerTensor:
    """QAveragePow2: the sum times the power of two next to 1 / number of inputs."""
    total = merge("Add", graph, call)
    scale = float(call.layer._scale)  # noqa: SLF001  there is no public name
    return graph.elementwise("Mul", total, f"{call.path}/average", scale)


def total(graph: Graph, call: Call) -> LayerTensor:
    """QSum, QMeanPow2: the sum along axes, times a power of two."""
    x = graph.channels_last(call.x)
    axes = np.asarray(sorted(int(a) % x.rank for a in call.layer.axes), np.int64)
    value = graph.node("ReduceSum", [x.value, axes], f"{call.path}/sum", keepdims=int(call.layer.keepdims))
    scale = float(call.layer.scale)
    tensor = LayerTensor(value, call.shape)
    return tensor if scale == 1 else graph.elementwise("Mul", tensor, f"{call.path}/scaled", scale)


def unary(graph: Graph, call: Call) -> LayerTensor:
    """QUnaryFunctionLUT: a function of each element; of scale * x + bias for the affine one."""
    tensor = call.x
    if type(call.layer).__name__ == "QAffinedUnaryFunctionLUT":
        tensor = graph.elementwise("Mul", tensor, f"{call.path}/scaled", numpy_of(call.layer.scale))
        tensor = graph.elementwise("Add", tensor, f"{call.path}/raised", numpy_of(call.layer.bias))
    return activate(graph, call, tensor, call.layer.activation)


def softmax(graph: Graph, call: Call) -> LayerTensor:
    """QSoftmax: exp(x - max) / sum, the exponential and the reciprocal as quantised tables."""
    layer = call.layer
    x = graph.channels_last(call.x)
    axes = np.asarray(sorted(int(a) % x.rank for a in layer.axes), np.int64)

    def reduced(op_type: str, tensor: LayerTensor, wish: str) -> LayerTensor:
        return replace(tensor, value=graph.node(op_type, [tensor.value, axes], f"{call.path}/{wish}", keepdims=1))

    def table(
        tensor: LayerTensor, own: Any, wish: str, functions: Sequence[Callable[[LayerTensor], LayerTensor]]
    ) -> LayerTensor:
        tensor = quantize(graph, call, tensor, own.iq, f"{call.path}/{wish}/iq") if own.enable_iq else tensor
        for function in functions:
            tensor = function(tensor)
        return quantize(graph, call, tensor, own.oq, f"{call.path}/{wish}/oq") if own.enable_oq else tensor

    scaler = float(layer.input_scaler) * (-1 if layer.stable else 1)
    if layer.stable:
        most = reduced("ReduceMax", x, "most")
        x = replace(x, value=graph.node("Sub", [most.value, x.value], f"{call.path}/below"))
    power = (
        lambda t: graph.elementwise("Mul", t, f"{call.path}/exponent", scaler),
        lambda t: graph.elementwise("Exp", t, f"{call.path}/exp"),
    )
    epsilon = float(sys.modules["keras"].config.epsilon())  # the layer reads it when it is called
    inverse = (
        lambda t: graph.elementwise("Add", t, f"{call.path}/positive", epsilon),
        lambda t: graph.elementwise("Reciprocal", t, f"{call.path}/reciprocal"),
    )
    share = table(x, layer.exp_table, "exp", power)
    divisor = table(reduced("ReduceSum", share, "sum"), layer.inv_table, "inv", inverse)
    return replace(share, value=graph.node("Mul", [share.value, divisor.value], f"{call.path}/softmax"))
