"""FEATURES: one-feature models for every target: shapes, operators and places that no generator of one target has."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.models import model
from tests.targets.hls4ml.nets import Net, flipped, then

Make = Callable[[], onnx.ModelProto]


def _image(channels: int = 3, *size: int) -> Net:
    return Net(channels, *(size or (6, 6))).quant()


def _body(net: Net, c_in: int, c_out: int = 4) -> Net:
    """A convolution of one pixel and a quantiser behind a feature."""
    return net.conv(c_in, c_out, kernel=(1, 1)).quant(0.5)


def _conv(c_in: int = 3, c_out: int = 4, size: tuple[int, ...] = (6, 6), **given: object) -> Make:
    return lambda: _body(_image(c_in, *size).conv(c_in, c_out, **given).quant(0.5), c_out, 3).proto()


def _pool(op_type: str, *, size: tuple[int, ...] = (6, 6), behind: bool = True, **given: object) -> Make:
    def make() -> onnx.ModelProto:
        net = _image(3, *size).conv(3, 4, kernel=(1, 1)).quant(0.5).op(op_type, **given)
        return (_body(net.quant(0.5), 4, 3) if behind else net).proto()

    return make


def _dense(n_in: int = 6, n_out: int = 4) -> Net:
    return Net(n_in).quant().dense(n_in, n_out)


def _end(net: Net, n_in: int = 4) -> Net:
    return net.quant(0.5).dense(n_in, 3)


def _convolutions() -> dict[str, Make]:
    rng = np.random.default_rng(5)
    by_channel = rng.uniform(0.05, 0.2, 4).astype(np.float32).reshape(4, 1, 1, 1)
    return {
        "conv, pads of one side": _conv(pads=[2, 0, 0, 0]),
        "conv, four pads": _conv(pads=[0, 1, 2, 3]),
        "conv, dilated along one axis": _conv(dilations=[2, 1]),
        "conv, dilated, padded, strided": _conv(size=(9, 9), dilations=[2, 2], pads=[2, 2, 2, 2], strides=[2, 2]),
        "conv, stride beyond the kernel": _conv(kernel=(2, 2), strides=[3, 3], size=(8, 8)),
        "conv, strides of two kinds": _conv(strides=[1, 2], pads=[1, 1, 1, 1], size=(6, 8)),
        "conv 1x1, stride 3": _conv(kernel=(1, 1), strides=[3, 3]),
        "conv, kernel beyond the image": _conv(kernel=(5, 5), size=(3, 3), pads=[1, 1, 1, 1]),
        "conv, kernel of the image": _conv(kernel=(6, 6)),
        "conv, pads of the kernel's size": _conv(pads=[3, 3, 3, 3], size=(4, 4)),
        "conv, image of one row, padded kernel": _conv(size=(1, 8), pads=[1, 1, 1, 1]),
        "conv, image of one pixel, padded kernel": _conv(size=(1, 1), pads=[1, 1, 1, 1]),
        "conv, image of one row, padded to two": _conv(size=(1, 8), kernel=(2, 3), pads=[1, 1, 1, 1]),
        "conv 1x1, padded": _conv(kernel=(1, 1), pads=[1, 0, 1, 2]),
        "conv 1x1, padded, depthwise": _conv(4, 4, kernel=(1, 1), group=4, pads=[1, 1, 1, 1]),
        "conv of one dimension, one tap, padded": lambda: (
            Net(3, 8).quant().conv(3, 4, kernel=(1,), pads=[1, 1]).quant(0.5).conv(4, 2, kernel=(2,)).proto()
        ),
        "conv, even kernel": _conv(kernel=(4, 4), pads=[1, 1, 2, 2]),
        "conv, kernel of one row": _conv(kernel=(1, 3), pads=[0, 1, 0, 1]),
        "conv, kernel of one column": _conv(kernel=(3, 1)),
        "conv, image of one row": _conv(kernel=(1, 3), size=(1, 8)),
        "conv, image of one column": _conv(kernel=(3, 1), size=(8, 1)),
        "conv, oblong image": _conv(size=(4, 9)),
        "conv, one channel in": _conv(1, 4),
        "conv, one channel out": _conv(3, 1),
        "conv, one channel in and out": _conv(1, 1),
        "conv, channels 5 and 7": _conv(5, 7),
        "conv, dilated depthwise": _conv(4, 4, group=4, dilations=[2, 2], pads=[2, 2, 2, 2]),
        "conv, strided depthwise": _conv(4, 4, group=4, strides=[2, 2], pads=[1, 1, 1, 1], size=(7, 7)),
        "conv, depthwise of two": _conv(4, 8, group=4),
        "conv, depthwise of one row": _conv(4, 4, group=4, kernel=(1, 3)),
        "conv, depthwise scales by channel": _conv(4, 4, scale=by_channel, group=4),
        "conv, scales by channel": _conv(3, 4, scale=by_channel),
        "conv, two groups": _conv(4, 6, group=2),
        "conv, bias": _conv(bias=True),
        "conv, bias and norm": lambda: _body(_image().conv(3, 4, bias=True).norm(4).quant(0.5), 4).proto(),
        "conv, falling norm": lambda: _body(_image().conv(3, 4).norm(4, negative=True).quant(0.5), 4).proto(),
        "conv, falling norm, Relu": lambda: _body(
            _image().conv(3, 4).norm(4, negative=True).op("Relu").quant(0.5, signed=0), 4
        ).proto(),
        "conv, same upper, no pads needed": _conv(kernel=(1, 1), auto_pad="SAME_UPPER"),
        "conv, valid": _conv(auto_pad="VALID"),
        "conv, bipolar weights": _conv(scale=1.0, bits=0),
        "conv, bipolar all, padded": lambda: (
            Net(3, 6, 6).bipolar().conv(3, 4, 1.0, 0, pads=[1, 1, 1, 1]).bipolar().conv(4, 3, 1.0, 0).bipolar().proto()
        ),
        "conv, bipolar all": lambda: (
            Net(3, 6, 6).bipolar().conv(3, 4, 1.0, 0).bipolar().conv(4, 3, 1.0, 0).quant(bits=2).proto()
        ),
        "conv, wide fan-in": lambda: _image(40, 5, 5).conv(40, 3).quant(4.0).conv(3, 2).proto(),
        "conv of one dimension, strided": lambda: (
            Net(3, 9).quant().conv(3, 4, kernel=(3,), strides=[2]).quant(0.5).conv(4, 2, kernel=(2,)).proto()
        ),
        "conv of one dimension, dilated": lambda: Net(3, 9).quant().conv(3, 4, kernel=(3,), dilations=[2]).proto(),
        "conv of one dimension, depthwise": lambda: (
            Net(4, 9).quant().conv(4, 4, kernel=(3,), group=4).quant(0.5).conv(4, 2, kernel=(1,)).proto()
        ),
        "conv of three dimensions": lambda: Net(2, 4, 4, 4).quant().conv(2, 3, kernel=(2, 2, 2)).proto(),
        "transposed conv": _transposed,
        "conv, zero point of the input, padded": lambda: _body(
            Net(3, 6, 6).quant(0.25, 5.0, signed=0).conv(3, 4, pads=[1, 1, 1, 1]).quant(0.5), 4
        ).proto(),
        "conv, a channel of zeros": lambda: _zeros(True),
        "conv, Clip before the quantiser": lambda: _body(
            _clipped(_image().conv(3, 4), 0, 6).quant(signed=0), 4
        ).proto(),
        "conv, real": lambda: _body(Net(3, 6, 6).conv(3, 4).op("Relu").quant(0.5, signed=0), 4).proto(),
    }


def _transposed() -> onnx.ModelProto:
    net = _image(3, 4, 4)
    return net.op("ConvTranspose", net.weights((3, 4, 2, 2)), kernel_shape=[2, 2], strides=[2, 2]).quant(0.5).proto()


def _zeros(one: bool) -> onnx.ModelProto:
    net = _image().conv(3, 4)
    name = next(n for n, a in net.initializers.items() if a.shape == (4, 3, 3, 3))
    net.initializers[name] = net.initializers[name] * (np.arange(4).reshape(4, 1, 1, 1) != 2 if one else 0)
    return _body(net.quant(0.5), 4).proto()


def _clipped(net: Net, lo: float, hi: float) -> Net:
    return net.op("Clip", net.const(lo), net.const(hi))


def _pools() -> dict[str, Make]:
    two = {"kernel_shape": [2, 2], "strides": [2, 2]}
    return {
        "MaxPool, padded, overlapping": _pool("MaxPool", kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1]),
        "MaxPool, padded, strided": _pool("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        "MaxPool, pads of one side": _pool(
            "MaxPool", kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 1, 1], size=(5, 5)
        ),
        "MaxPool, image left over": _pool("MaxPool", size=(7, 7), **two),
        "MaxPool, oblong": _pool("MaxPool", kernel_shape=[2, 3], strides=[2, 3]),
        "MaxPool, oblong strides": _pool("MaxPool", kernel_shape=[3, 2], strides=[1, 2]),
        "MaxPool, gaps": _pool("MaxPool", kernel_shape=[2, 2], strides=[3, 3], size=(8, 8)),
        "MaxPool, ceil mode": _pool("MaxPool", size=(5, 5), ceil_mode=1, **two),
        "MaxPool, dilated": _pool("MaxPool", kernel_shape=[2, 2], strides=[1, 1], dilations=[2, 2]),
        "MaxPool, whole image": _pool("MaxPool", kernel_shape=[6, 6], strides=[6, 6]),
        "MaxPool of the input": lambda: _body(_image().op("MaxPool", **two), 3).proto(),
        "MaxPool of real numbers": lambda: _body(Net(3, 6, 6).op("MaxPool", **two).quant(), 3).proto(),
        "MaxPool of sums": lambda: _body(_image().conv(3, 4).op("MaxPool", **two).quant(0.5), 4).proto(),
        "MaxPool, same upper": _pool("MaxPool", size=(5, 5), auto_pad="SAME_UPPER", **two),
        "MaxPool, no strides": _pool("MaxPool", kernel_shape=[2, 2]),
        "MaxPool at the end": _pool("MaxPool", behind=False, **two),
        "AveragePool": _pool("AveragePool", **two),
        "AveragePool, overlapping": _pool("AveragePool", kernel_shape=[3, 3], strides=[1, 1]),
        "AveragePool, whole image": _pool("AveragePool", kernel_shape=[6, 6]),
        "AveragePool, padded and counted": _pool("AveragePool", pads=[1, 1, 1, 1], count_include_pad=1, **two),
        "AveragePool, padded": _pool("AveragePool", pads=[1, 1, 1, 1], **two),
        "AveragePool at the end": _pool("AveragePool", behind=False, **two),
        "AveragePool of one dimension": lambda: (
            Net(3, 8)
            .quant()
            .conv(3, 4, kernel=(3,))
            .quant(0.5)
            .op("AveragePool", kernel_shape=[2], strides=[2])
            .proto()
        ),
        "GlobalAveragePool": _pool("GlobalAveragePool"),
        "GlobalAveragePool, Flatten, dense": lambda: _head("GlobalAveragePool", quantised=True),
        "GlobalAveragePool, no quantiser": lambda: _head("GlobalAveragePool", quantised=False),
        "GlobalMaxPool": lambda: _head("GlobalMaxPool", quantised=True),
        "ReduceMean at the end": lambda: _image().conv(3, 4).quant(0.5).op("ReduceMean", axes=[2, 3]).proto(),
        "ReduceMax": lambda: _image().conv(3, 4).quant(0.5).op("ReduceMax", axes=[2, 3], keepdims=0).proto(),
        "ReduceSum": _summed,
    }


def _summed() -> onnx.ModelProto:
    net = _image().conv(3, 4).quant(0.5)
    return net.op("ReduceSum", net.const([2, 3], np.int64), keepdims=0).quant(2.0).dense(4, 3).proto()


def _head(op_type: str, *, quantised: bool) -> onnx.ModelProto:
    net = _image().conv(3, 4).quant(0.5).op(op_type)
    net = (net.quant(0.25) if quantised else net).op("Flatten")
    return net.dense(4, 3).proto()


def _products() -> dict[str, Make]:
    return {
        "Gemm, plain": lambda: _gemm(transB=0).proto(),
        "Gemm, transB": lambda: _gemm(transB=1).proto(),
        "Gemm, no bias": lambda: _gemm(transB=1, bias=False).proto(),
        "Gemm, alpha and beta": lambda: _gemm(transB=1, alpha=0.5, beta=0.25).proto(),
        "Gemm, alpha below 0": lambda: _gemm(transB=1, alpha=-1.0).proto(),
        "Gemm, beta 0": lambda: _gemm(transB=1, beta=0.0).proto(),
        "Gemm, transA": _transposed_operand,
        "weights on the left": _left,
        "product of matrices": lambda: Net(5, 6).quant().dense(6, 4).quant(0.5).dense(4, 3).proto(),
        "product of computed tensors": _computed,
        "transposed weights": _transposed_weights,
        "one feature in": lambda: Net(1).quant().dense(1, 4).quant(0.5).dense(4, 3).proto(),
        "one feature out": lambda: _dense(6, 1).quant(0.5).dense(1, 3).proto(),
        "one output": lambda: _dense(6, 4).quant(0.5).dense(4, 1).proto(),
        "wide fan-in": lambda: Net(700).quant(0.25, bits=8).dense(700, 3, bits=8).quant(16.0).dense(3, 2).proto(),
        "sums beyond 24 bits": lambda: _end(Net(2000).quant(1.0, bits=8, signed=0).dense(2000, 4, 1.0, bits=8)).proto(),
        "bytes by weights of 8 bits": lambda: (
            Net(6).quant(0.0625, bits=8, signed=0).dense(6, 4, 0.03125, bits=8).quant(0.25, bits=8).dense(4, 3).proto()
        ),
        "weights of zeros": _zero_dense,
        "narrow weights": lambda: _end(Net(6).quant().dense(6, 4, narrow=1)).proto(),
        "weights of 2 bits with zero point": lambda: _end(_dense_zero_point()).proto(),
        "unsigned weights": lambda: _end(Net(6).quant().dense(6, 4, signed=0)).proto(),
        "real weights at the end": lambda: _real_end().proto(),
        "real weights at the start": lambda: _real_start().proto(),
        "quantised bias": lambda: _bias(0.03125).proto(),
        "quantised bias, another scale": lambda: _bias(0.3).proto(),
        "quantised weights that are folded": lambda: _end(_folded()).proto(),
        "bipolar weights, 4-bit input": lambda: _end(Net(6).quant().dense(6, 4, 1.0, 0)).proto(),
        "bipolar weights of scale 1/8": lambda: _end(Net(6).quant().dense(6, 4, 0.125, 0)).proto(),
        "bipolar input, 4-bit weights": lambda: _end(Net(6).bipolar().dense(6, 4)).proto(),
        "bipolar, odd fan-in": lambda: Net(7).bipolar().dense(7, 5, 1.0, 0).bipolar().dense(5, 3, 1.0, 0).proto(),
        "bipolar, bias between": lambda: (
            then(Net(6).bipolar().dense(6, 4, 1.0, 0), "Add", [0.5, -1, 2, 0]).bipolar().dense(4, 3, 1.0, 0).proto()
        ),
        "bipolar, norm between": lambda: (
            Net(6).bipolar().dense(6, 4, 1.0, 0).norm(4, negative=True).bipolar().dense(4, 3, 1.0, 0).proto()
        ),
        "ternary all": lambda: (
            Net(6)
            .quant(0.5, bits=2, narrow=1)
            .dense(6, 4, 0.25, 2, narrow=1)
            .quant(0.5, bits=2, narrow=1)
            .dense(4, 3, 0.25, 2, narrow=1)
            .proto()
        ),
        "batch of 4": lambda: _end(_dense()).proto(batch=4),
        "a symbolic batch": _symbolic,
        **{f"opset {n}": lambda n=n: _end(_dense().op("Relu")).proto(opset=n) for n in (9, 11, 17, 21)},
    }


def _dense_zero_point() -> Net:
    net = Net(6).quant()
    before, net.at = net.at, net.const(net.random.normal(size=(6, 4)))
    net.quant(0.5, 1.0, bits=2)
    made, net.at = net.at, before
    return net.op("MatMul", made)


def _gemm(*, bias: bool = True, **given: float) -> Net:
    net = Net(6).quant()
    operands = [net.weights((4, 6) if given.get("transB") else (6, 4))]
    operands += [net.const([0.5, 1, -2, 0])] if bias else []
    return _end(net.op("Gemm", *operands, **given))


def _transposed_operand() -> onnx.ModelProto:
    net = Net(1).quant()
    return net.op("Gemm", net.weights((1, 4)), transA=1).quant(0.5).proto()


def _left() -> onnx.ModelProto:
    net = Net(6).quant()
    at = net.op("Reshape", net.const([6, 1], np.int64)).at
    net.at = net.weights((4, 6))
    return net.op("MatMul", at).quant(0.5).proto()


def _computed() -> onnx.ModelProto:
    net = Net(5, 6).quant()
    left = net.at
    net.op("Transpose", perm=[0, 2, 1])
    right, net.at = net.at, left
    return net.op("MatMul", right).quant(0.5).proto()


def _transposed_weights() -> onnx.ModelProto:
    net = Net(6).quant()
    at, net.at = net.at, net.weights((4, 6))
    weights = net.op("Transpose", perm=[1, 0]).at
    net.at = at
    return _end(net.op("MatMul", weights)).proto()


def _zero_dense() -> onnx.ModelProto:
    net = _dense()
    name = next(n for n, a in net.initializers.items() if a.shape == (6, 4))
    net.initializers[name] = np.zeros((6, 4), np.float32)
    return _end(net).proto()


def _real_end() -> Net:
    net = _end(_dense()).quant(0.5)
    return net.op("MatMul", net.const(net.random.normal(size=(3, 2))))


def _real_start() -> Net:
    net = Net(6)
    return _end(net.op("MatMul", net.const(net.random.normal(size=(6, 4)))).op("Relu").quant(signed=0).dense(4, 4))


def _bias(scale: float) -> Net:
    net = _dense()
    return _end(net.add(net.weights((4,), scale)))


def _folded() -> Net:
    net = Net(6).quant()
    return net.op("MatMul", net.const(np.rint(net.random.normal(size=(6, 4)) * 2) / 4))


def _symbolic() -> onnx.ModelProto:
    proto = _end(_dense()).proto()
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    return proto


def _quantizers() -> dict[str, Make]:
    channels = np.float32([0.25, 0.5, 0.125, 1])
    odd = np.float32([0.3, 0.2, 0.11, 0.7])
    found: dict[str, Make] = {
        "norm before the first quantiser": lambda: _body(Net(3, 6, 6).norm(3).quant(), 3).proto(),
        "falling norm before the first quantiser": lambda: _body(
            Net(3, 6, 6).norm(3, negative=True).quant(), 3
        ).proto(),
        "norm behind a quantiser": lambda: _body(_image().norm(3), 3).proto(),
        "norm behind a quantiser, quantised again": lambda: _body(
            _image().norm(3, negative=True).quant(0.5), 3
        ).proto(),
        "two quantisers, finer second": lambda: _dense().quant(0.5).quant(0.125, bits=6).dense(4, 3).proto(),
        "two quantisers, coarser second": lambda: _dense().quant(0.125, bits=6).quant(0.5, bits=3).dense(4, 3).proto(),
        "two quantisers, unequal ratios": lambda: _dense().quant(0.3).quant(0.2, bits=5).dense(4, 3).proto(),
        "two quantisers of the input": lambda: Net(6).quant(0.125, bits=6).quant(0.5, bits=3).dense(6, 4).proto(),
        "quantiser at the end": lambda: _dense().quant(0.5).proto(),
        "quantiser at the end, odd scale": lambda: _dense().quant(0.3).proto(),
        "quantiser by channel of powers of two": lambda: _dense().quant(channels).dense(4, 3).proto(),
        "quantiser by channel": lambda: _dense().quant(odd).dense(4, 3).proto(),
        "quantiser by channel at the end": lambda: _dense().quant(odd).proto(),
        "image quantiser by channel": lambda: _body(_image().conv(3, 4).quant(odd.reshape(1, 4, 1, 1)), 4).proto(),
        "scalar quantiser of shape (1, 1, 1, 1)": lambda: _body(
            _image().conv(3, 4).quant(np.full((1, 1, 1, 1), 0.5, np.float32)), 4
        ).proto(),
        "zero point": lambda: _dense().quant(0.5, 3.0, signed=0).dense(4, 3).proto(),
        "zero point by channel": lambda: _dense().quant(0.5, np.float32([0, 1, 2, 3]), signed=0).dense(4, 3).proto(),
        "zero point that is no integer": lambda: _dense().quant(0.5, 0.5).dense(4, 3).proto(),
        "signed quantiser behind Relu": lambda: _dense().op("Relu").quant(0.5).dense(4, 3).proto(),
        "unsigned quantiser, no Relu": lambda: _dense().quant(0.5, signed=0).dense(4, 3).proto(),
        "unsigned narrow quantiser behind Relu": lambda: (
            _dense().op("Relu").quant(0.5, signed=0, narrow=1).dense(4, 3).proto()
        ),
        "quantiser of 2 bits": lambda: _dense().quant(0.5, bits=2).dense(4, 3).proto(),
        "unsigned quantiser of 1 bit": lambda: _dense().op("Relu").quant(0.5, bits=1, signed=0).dense(4, 3).proto(),
        "quantiser of 9 bits": lambda: _dense().quant(0.01, bits=9).dense(4, 3).proto(),
        "quantiser of 12 bits": lambda: Net(6).quant(0.001, bits=12).dense(6, 4).proto(),
        "bipolar behind Relu": lambda: then(_dense().op("Relu"), "Sub", 0.5).bipolar().dense(4, 3).proto(),
        "bipolar at the end": lambda: _dense().bipolar().proto(),
        "bipolar of scale 1/2": lambda: _dense().bipolar(0.5).dense(4, 3).proto(),
        "a constant that is quantised": _constant,
        "Trunc behind an average": _truncated,
        "thresholds": _thresholds,
    }
    for mode in ("FLOOR", "CEIL", "ROUND_TO_ZERO", "HALF_UP", "HALF_DOWN", "UP", "DOWN"):
        found[f"rounding {mode} behind a product"] = lambda m=mode: (
            _dense().quant(0.5, rounding_mode=m).dense(4, 3).proto()
        )
    return found


def _constant() -> onnx.ModelProto:
    net = _dense().quant(0.5)
    return net.add(net.weights((1, 4), 0.5)).dense(4, 3).proto()


def _truncated() -> onnx.ModelProto:
    net = _image().conv(3, 4).op("Relu").quant(0.5, signed=0).op("AveragePool", kernel_shape=[4, 4])
    operands = [net.const(v) for v in (0.03125, 0.0, 8.0, 4.0)]
    net.op("Trunc", *operands, domain="qonnx.custom_op.general", rounding_mode="FLOOR", signed=0)
    return net.op("Flatten").dense(4, 3).proto()


def _thresholds() -> onnx.ModelProto:
    net = _dense()
    rows = net.const([[-1.5, 0, 0.25], [0, 0, 2], [1, 2, 3], [-0.5, 0.5, 9]])
    return net.op("MultiThreshold", rows, domain="qonnx.custom_op.general", out_dtype="UINT2").dense(4, 3).proto()


def _functions() -> dict[str, Make]:
    found: dict[str, Make] = {}
    for op_type, given in (
        ("LeakyRelu", {"alpha": 0.25}),
        ("Elu", {}),
        ("Sigmoid", {}),
        ("Tanh", {}),
        ("Softplus", {}),
        ("Erf", {}),
        ("HardSigmoid", {}),
        ("HardSwish", {}),
        ("Softmax", {"axis": 1}),
        ("Exp", {}),
        ("Abs", {}),
        ("Neg", {}),
        ("Sign", {}),
        ("Floor", {}),
        ("Ceil", {}),
        ("Round", {}),
        ("Sqrt", {}),
        ("Identity", {}),
        ("Selu", {}),
        ("ThresholdedRelu", {"alpha": 0.5}),
    ):
        found[f"{op_type} before a quantiser"] = lambda o=op_type, g=given: (
            _dense().op(o, **g).quant(0.25).dense(4, 3).proto(opset=14)
        )
        if op_type in ("LeakyRelu", "Sigmoid", "Tanh", "Softmax", "Neg", "Abs", "Sign", "Identity"):
            found[f"{op_type} at the end"] = lambda o=op_type, g=given: _dense().op(o, **g).proto(opset=14)
    found |= {
        "Relu at the end": lambda: _dense().op("Relu").proto(),
        "PRelu before a quantiser": lambda: (
            then(_dense(), "PRelu", [0.25, 0.5, 0.125, 0]).quant(0.5).dense(4, 3).proto()
        ),
        "PRelu of one slope": lambda: then(_dense(), "PRelu", [0.25]).quant(0.5).dense(4, 3).proto(),
        "HardTanh before a quantiser": lambda: _end(_clipped(_dense(), -1, 1)).proto(),
        "Clip at the end": lambda: _clipped(_dense(), -1, 1).proto(),
        "Clip of the input": lambda: _clipped(Net(6), -1, 1).quant(0.125).dense(6, 4).proto(),
        "Clip of one bound": lambda: _upper().proto(),
        "Relu, Clip": lambda: _end(_clipped(_dense().op("Relu"), 0, 1.5)).proto(),
        "Relu of levels": lambda: _dense().quant(0.5).op("Relu").dense(4, 3).proto(),
        "Relu of levels, quantised again": lambda: (
            _dense().quant(0.5).op("Relu").quant(0.25, signed=0).dense(4, 3).proto()
        ),
        "Relu of the input": lambda: Net(6).op("Relu").quant(0.25, signed=0).dense(6, 4).proto(),
        "ArgMax at the end": lambda: _dense().op("ArgMax", axis=1).proto(),
        "Max with a constant": lambda: _end(then(_dense(), "Max", [0.5])).proto(),
        "Min with a constant": lambda: _end(then(_dense(), "Min", [0.5])).proto(),
        "Pow": lambda: _end(then(_dense(), "Pow", 2.0)).proto(),
        "SiLU": lambda: _silu().proto(),
        "Softmax, quantised": lambda: _dense().op("Softmax", axis=1).quant(0.0625, signed=0).proto(),
        "TopK at the end": _topk,
    }
    return found


def _upper() -> Net:
    net = _dense()
    return _end(net.op("Clip", "", net.const(0.5)))


def _silu() -> Net:
    net = _dense()
    at = net.at
    return _end(net.op("Sigmoid").add(at, "Mul"))


def _topk() -> onnx.ModelProto:
    net = _dense()
    k = net.const([2], np.int64)
    net.nodes.append(helper.make_node("TopK", [net.at, k], ["best", "places"], name="topk"))
    return net.proto("best")


def _arithmetic() -> dict[str, Make]:
    four = [0.25, -0.5, 1, 2]
    return {
        "Add of one number": lambda: _end(then(_dense(), "Add", 0.3)).proto(),
        "Add by channel": lambda: _end(then(_dense(), "Add", [0.3, -0.2, 1, 0])).proto(),
        "Add of (1, C)": lambda: _end(then(_dense(), "Add", [[0.3, -0.2, 1, 0]])).proto(),
        "Add of a constant first": lambda: _end(flipped(_dense(), "Add", four)).proto(),
        "Sub from a constant": lambda: _end(flipped(_dense(), "Sub", four)).proto(),
        "Mul by channel": lambda: _end(then(_dense(), "Mul", four)).proto(),
        "Mul by a negative number": lambda: _end(then(_dense(), "Mul", -0.7)).proto(),
        "Mul by zero in one channel": lambda: _end(then(_dense(), "Mul", [1, 0, 2, 0.5])).proto(),
        "Mul by zero": lambda: _end(then(_dense(), "Mul", 0.0)).proto(),
        "Div by channel": lambda: _end(then(_dense(), "Div", [3, -0.7, 1, 2])).proto(),
        "Div of a constant": lambda: _end(flipped(_dense(), "Div", 2.0)).proto(),
        "Add, Mul, Add": lambda: _end(then(then(then(_dense(), "Add", four), "Mul", four), "Add", 0.5)).proto(),
        "Add at the end": lambda: then(_dense(), "Add", [0.3, -0.2, 1, 0]).proto(),
        "Add of levels and a constant": lambda: then(_dense().quant(0.5), "Add", 0.5).quant(0.5).dense(4, 3).proto(),
        "Mul of levels by a constant": lambda: then(_dense().quant(0.5), "Mul", 0.3).dense(4, 3).proto(),
        "Mul of levels by channel": lambda: then(_dense().quant(0.5), "Mul", four).dense(4, 3).proto(),
        "arithmetic of the input": lambda: then(then(Net(6), "Mul", 2), "Sub", 1).quant().dense(6, 4).proto(),
        "arithmetic of the input by channel": lambda: _body(
            then(
                then(Net(3, 6, 6), "Sub", np.float32([0.4, 0.5, 0.3]).reshape(3, 1, 1)),
                "Div",
                np.float32([0.2, 0.25, 0.3]).reshape(3, 1, 1),
            ).quant(),
            3,
        ).proto(),
        "image, Add by channel": lambda: _body(
            then(_image().conv(3, 4), "Add", np.float32(four).reshape(1, 4, 1, 1)).quant(0.5), 4
        ).proto(),
        "image, Mul of shape (C, 1, 1)": lambda: _body(
            then(_image().conv(3, 4), "Mul", np.float32(four).reshape(4, 1, 1)).quant(0.5), 4
        ).proto(),
        "image, Add by pixel": lambda: _body(
            then(_image().conv(3, 4), "Add", np.linspace(-1, 1, 16).reshape(1, 1, 4, 4)).quant(0.5), 4
        ).proto(),
        "Add of a tensor to itself": lambda: _twice("Add").proto(),
        "Mul of a tensor with itself": lambda: _twice("Mul").proto(),
    }


def _twice(op_type: str) -> Net:
    net = _dense()
    return _end(net.add(net.at, op_type))


def _forked(first: Callable[[Net], Net], second: Callable[[Net], Net], net: Net, op_type: str, **given: int) -> Net:
    at = net.at
    left = first(net).at
    net.at = at
    right, net.at = second(net).at, left
    return net.op(op_type, right, **given)


def _branches() -> dict[str, Make]:
    def one(net: Net, scale: float = 0.25, **given: object) -> Net:
        return net.conv(4, 4, kernel=(1, 1), **given).quant(scale)

    def start(*size: int) -> Net:
        return _image(3, *size).conv(3, 4, kernel=(1, 1)).quant(0.5)

    def same(net: Net) -> Net:
        return net

    def strided(net: Net) -> Net:
        return one(net, strides=[2, 2])

    def joined(axis: int, first: int = 4, second: int = 4) -> Make:
        def make() -> onnx.ModelProto:
            def left(n: Net) -> Net:
                return n.conv(4, first, kernel=(1, 1)).quant(0.5)

            def right(n: Net) -> Net:
                return n.conv(4, second, kernel=(1, 1)).quant(0.5)

            net = _forked(left, right, start(), "Concat", axis=axis)
            return _body(net, first + second if axis in (1, -3) else 4).proto()

        return make

    return {
        "residual, strided": lambda: _body(
            _forked(
                strided, lambda n: n.conv(4, 4, strides=[2, 2], pads=[1, 1, 1, 1]).quant(0.25), start(), "Add"
            ).quant(0.5),
            4,
        ).proto(),
        "residual of the identity": lambda: _body(
            _forked(lambda n: one(n, 0.5), same, start(), "Add").quant(0.5), 4
        ).proto(),
        "residual, Relu": lambda: _body(_forked(one, one, start(), "Add").op("Relu").quant(0.5, signed=0), 4).proto(),
        "residual, unequal scales": lambda: _body(
            _forked(lambda n: one(n, 0.25), lambda n: one(n, 0.5), start(), "Add").quant(0.5), 4
        ).proto(),
        "residual, scales that are no multiples": lambda: _body(
            _forked(lambda n: one(n, 0.3), lambda n: one(n, 0.2), start(), "Add").quant(0.5), 4
        ).proto(),
        "residual, unequal widths": lambda: _body(
            _forked(one, lambda n: n.conv(4, 4, kernel=(1, 1)).quant(0.25, bits=3), start(), "Add").quant(0.5), 4
        ).proto(),
        "residual of sums": lambda: _body(
            _forked(lambda n: n.conv(4, 4, kernel=(1, 1)), lambda n: n.conv(4, 4, kernel=(1, 1)), start(), "Add").quant(
                0.5
            ),
            4,
        ).proto(),
        "residual at the end": lambda: _forked(one, one, start(), "Add").proto(),
        "residual of the input": lambda: _body(
            _forked(lambda n: n.conv(3, 3, kernel=(1, 1)).quant(), same, _image(), "Add").quant(0.5), 3
        ).proto(),
        "difference of branches": lambda: _body(_forked(one, one, start(), "Sub").quant(0.5), 4).proto(),
        "product of branches": lambda: _body(_forked(one, one, start(), "Mul").quant(0.5), 4).proto(),
        "maximum of branches": lambda: _body(_forked(one, one, start(), "Max").quant(0.5), 4).proto(),
        "three branches": lambda: _three(start(), one).proto(),
        "residual of vectors": lambda: _end(
            _forked(lambda n: n.dense(4, 4).quant(0.5), lambda n: n.dense(4, 4).quant(0.5), _dense().quant(0.5), "Add")
        ).proto(),
        "two residuals": lambda: _two_residuals(start(), one).proto(),
        "squeeze and excite": lambda: _excited(start()).proto(),
        "concat along channels": joined(1),
        "concat of 3 and 5 channels": joined(1, 3, 5),
        "concat along a negative axis": joined(-3),
        "concat along rows": joined(2),
        "concat along columns": joined(3),
        "concat of three": lambda: _concat_three(start(), one).proto(),
        "concat of vectors": lambda: _end(
            _forked(
                lambda n: n.dense(4, 3).quant(0.5),
                lambda n: n.dense(4, 5).quant(0.5),
                _dense().quant(0.5),
                "Concat",
                axis=1,
            ),
            8,
        ).proto(),
        "concat, unequal scales": lambda: _end(
            _forked(
                lambda n: n.dense(4, 3).quant(0.5),
                lambda n: n.dense(4, 5).quant(0.25),
                _dense().quant(0.5),
                "Concat",
                axis=1,
            ),
            8,
        ).proto(),
        "concat of sums": lambda: _end(
            _forked(lambda n: n.dense(4, 3), lambda n: n.dense(4, 5), _dense().quant(0.5), "Concat", axis=1), 8
        ).proto(),
        "concat at the end": lambda: _forked(
            lambda n: n.dense(4, 3), lambda n: n.dense(4, 5), _dense().quant(0.5), "Concat", axis=1
        ).proto(),
        "dense net of the input": lambda: _body(
            _forked(lambda n: n.conv(3, 4, kernel=(1, 1)).quant(), same, _image(), "Concat", axis=1), 7
        ).proto(),
        "residual of the input, 3 by 3": lambda: _body(
            _forked(lambda n: n.conv(3, 3, pads=[1, 1, 1, 1]).quant(), same, _image(), "Add").quant(0.5), 3
        ).proto(),
        "two convolutions of the input": lambda: _body(
            _forked(lambda n: n.conv(3, 4).quant(), lambda n: n.conv(3, 4).quant(), _image(), "Add").quant(0.5), 4
        ).proto(),
        "dense net": lambda: _body(_forked(lambda n: one(n, 0.5), same, start(), "Concat", axis=1), 8).proto(),
        "input read by two layers": lambda: _end(
            _forked(lambda n: n.dense(6, 4).quant(0.5), lambda n: n.dense(6, 4).quant(0.5), Net(6).quant(), "Add")
        ).proto(),
        "input quantised twice": lambda: _end(
            _forked(
                lambda n: n.quant(0.25).dense(6, 4).quant(0.5),
                lambda n: n.quant(0.5).dense(6, 4).quant(0.5),
                Net(6),
                "Add",
            )
        ).proto(),
        "output in the middle": lambda: _middle("levels"),
        "output in the middle, of sums": lambda: _middle("sums"),
        "two outputs": _two_outputs,
        "two inputs": lambda: _two_inputs("Add"),
        "two inputs, joined": lambda: _two_inputs("Concat"),
        "an output that is named twice": _renamed,
    }


def _three(net: Net, one: Callable[..., Net]) -> Net:
    at = net.at
    left = one(net).at
    net.at = at
    middle = one(net).at
    net.at = at
    return _body(one(net).add(left).add(middle).quant(0.5), 4)


def _two_residuals(net: Net, one: Callable[..., Net]) -> Net:
    for _ in range(2):
        at = net.at
        net = one(net, 0.5).add(at).quant(0.5)
    return _body(net, 4)


def _excited(net: Net) -> Net:
    at = net.at
    net.op("GlobalAveragePool").quant(0.25).conv(4, 4, kernel=(1, 1)).quant(0.25)
    return _body(net.add(at, "Mul").quant(0.5), 4)


def _concat_three(net: Net, one: Callable[..., Net]) -> Net:
    at = net.at
    left = one(net, 0.5).at
    net.at = at
    middle = one(net, 0.5).at
    net.at = at
    return _body(one(net, 0.5).op("Concat", left, middle, axis=1), 12)


def _middle(what: str) -> onnx.ModelProto:
    net = _dense()
    net = net.quant(0.5) if what == "levels" else net
    middle = net.at
    net = net if what == "levels" else net.quant(0.5)
    return net.dense(4, 3).proto(middle, net.at)


def _two_outputs() -> onnx.ModelProto:
    net = _dense().quant(0.5)
    at = net.at
    first = net.dense(4, 3).at
    net.at = at
    return net.dense(4, 2).proto(first, net.at)


def _two_inputs(op_type: str) -> onnx.ModelProto:
    net = Net(6)
    left = net.quant().dense(6, 4).quant(0.5).at
    net.at = "z"
    net.quant().dense(6, 4).quant(0.5)
    net.op(op_type, left, **({"axis": 1} if op_type == "Concat" else {}))
    net.dense(8 if op_type == "Concat" else 4, 3)
    return model(net.nodes, net.initializers, inputs={"x": [1, 6], "z": [1, 6]}, outputs=[net.at], opset=13)


def _renamed() -> onnx.ModelProto:
    net = _dense().quant(0.5).dense(4, 3)
    first = net.at
    return net.op("Identity").proto(first, net.at)


def _layouts() -> dict[str, Make]:
    def pixels(net: Net) -> Net:
        return net.conv(3, 4, kernel=(1, 1)).quant(0.5)

    def reshaped(net: Net, *shape: int) -> Net:
        return net.op("Reshape", net.const(shape, np.int64))

    return {
        "NHWC input": lambda: _body(Net(6, 6, 3).op("Transpose", perm=[0, 3, 1, 2]).quant(), 3).proto(),
        "NHWC input, quantised first": lambda: _body(
            Net(6, 6, 3).quant().op("Transpose", perm=[0, 3, 1, 2]), 3
        ).proto(),
        "NHWC output": lambda: pixels(_image()).op("Transpose", perm=[0, 2, 3, 1]).proto(),
        "transposed in the middle": lambda: _body(
            pixels(_image(3, 4, 6)).op("Transpose", perm=[0, 1, 3, 2]), 4
        ).proto(),
        "transposed there and back": lambda: _body(
            pixels(_image()).op("Transpose", perm=[0, 2, 3, 1]).quant(0.5).op("Transpose", perm=[0, 3, 1, 2]), 4
        ).proto(),
        "Flatten, dense": lambda: pixels(_image(3, 2, 2)).op("Flatten").dense(16, 3).proto(),
        "Flatten, quantiser, dense": lambda: (
            _image(3, 2, 2).conv(3, 4, kernel=(1, 1)).op("Flatten").quant(0.5).dense(16, 3).proto()
        ),
        "Flatten of the input": lambda: Net(3, 4, 4).op("Flatten").quant().dense(48, 4).quant(0.5).dense(4, 3).proto(),
        "Flatten of the quantised input": lambda: (
            _image(3, 4, 4).op("Flatten").dense(48, 4).quant(0.5).dense(4, 3).proto()
        ),
        "Transpose, Flatten, dense": lambda: (
            pixels(_image(3, 2, 2)).op("Transpose", perm=[0, 2, 3, 1]).op("Flatten").dense(16, 3).proto()
        ),
        "Flatten, Relu, quantiser, dense": lambda: (
            _image(3, 4, 4).conv(3, 4).op("Flatten").op("Relu").quant(0.5, signed=0).dense(16, 3).proto()
        ),
        "Flatten, Add by element, quantiser": lambda: (
            then(_image(3, 4, 4).conv(3, 4).op("Flatten"), "Add", np.linspace(-1, 1, 16))
            .quant(0.5)
            .dense(16, 3)
            .proto()
        ),
        "Flatten, norm, quantiser": lambda: (
            _image(3, 4, 4).conv(3, 4).op("Flatten").norm(16).quant(0.5).dense(16, 3).proto()
        ),
        "Flatten at the end": lambda: pixels(_image(3, 2, 2)).op("Flatten").proto(),
        "Flatten of sums at the end": lambda: _image(3, 4, 4).conv(3, 4).op("Flatten").proto(),
        "Reshape to an image": lambda: _body(reshaped(Net(48).quant(), 1, 3, 4, 4), 3).proto(),
        "Reshape in the middle": lambda: _body(reshaped(_dense(6, 16).quant(0.5), 1, 4, 2, 2), 4).proto(),
        "Reshape with -1": lambda: reshaped(pixels(_image(3, 2, 2)), 1, -1).dense(16, 3).proto(),
        "Squeeze, Unsqueeze": _squeezed,
        "Unsqueeze between layers": _unsqueezed,
        "Pad of zeros": lambda: _padded(0.0),
        "Pad of ones": lambda: _padded(1.0),
        "Pad by edges": lambda: _padded(0.0, mode="edge"),
        "Pad by reflection": lambda: _padded(0.0, mode="reflect"),
        "Slice of channels": lambda: _sliced(1),
        "Slice of rows": lambda: _sliced(2),
        "Split of channels": _split,
        "Gather of channels": _gathered,
        "Slice of vectors, odd scale, FLOOR": lambda: (
            _slice(_dense(6, 8).quant(0.3, rounding_mode="FLOOR"), 7, 1, 1, -2).dense(3, 3).proto()
        ),
        "Split of vectors": _split_vectors,
        "Gather of vectors, twice the same": lambda: (
            _gather(_dense(6, 5).op("Relu").quant(0.5, signed=0), 4, 4, 0).dense(3, 3).proto()
        ),
        "Slice of one channel": lambda: _slice(pixels(_image()), 2, 3, 1).conv(1, 3).quant(0.5).proto(),
        "Resize": lambda: _body(_resized(pixels(_image()), 2), 4).proto(),
        "Upsample to an oblong": lambda: _body(_resized(pixels(_image()), 2, 3), 4).proto(),
        "pixel shuffle": lambda: _image().conv(3, 8, kernel=(1, 1)).quant(0.5).op("DepthToSpace", blocksize=2).proto(),
        "space to depth": lambda: pixels(_image()).op("SpaceToDepth", blocksize=2).conv(16, 2, kernel=(1, 1)).proto(),
        "Tile": _tiled,
        "Expand": _expanded,
        "Cast to float": lambda: _end(_dense().op("Cast", to=TensorProto.FLOAT)).proto(),
        "Dropout": lambda: _end(_dense().op("Dropout")).proto(),
    }


def _squeezed() -> onnx.ModelProto:
    net = _image(3, 1, 1).conv(3, 4, kernel=(1, 1)).quant(0.5)
    return net.op("Squeeze", net.const([2, 3], np.int64)).dense(4, 3).proto()


def _unsqueezed() -> onnx.ModelProto:
    net = _dense().quant(0.5)
    return _body(net.op("Unsqueeze", net.const([2, 3], np.int64)), 4).proto()


def _padded(number: float, **given: str) -> onnx.ModelProto:
    net = _image().conv(3, 4, kernel=(1, 1)).quant(0.5)
    net.op("Pad", net.const([0, 0, 1, 1, 0, 0, 1, 1], np.int64), net.const(number), **given)
    return net.conv(4, 3).quant(0.5).proto()


def _sliced(axis: int) -> onnx.ModelProto:
    net = _image().conv(3, 4, kernel=(1, 1)).quant(0.5)
    net.op("Slice", *(net.const([n], np.int64) for n in (1, 3, axis)))
    return _body(net, 2 if axis == 1 else 4).proto()


def _split() -> onnx.ModelProto:
    net = _image().conv(3, 4, kernel=(1, 1)).quant(0.5)
    net.nodes.append(helper.make_node("Split", [net.at, net.const([2, 2], np.int64)], ["a", "b"], axis=1, name="split"))
    net.at = "a"
    left = net.conv(2, 4, kernel=(1, 1)).quant(0.5).at
    net.at = "b"
    return _body(net.conv(2, 4, kernel=(1, 1)).quant(0.5).add(left).quant(0.5), 4).proto()


def _slice(net: Net, *numbers: int) -> Net:
    return net.op("Slice", *(net.const([n], np.int64) for n in numbers))


def _split_vectors() -> onnx.ModelProto:
    net = _dense(6, 5).quant(0.5)
    net.nodes.append(helper.make_node("Split", [net.at, net.const([2, 3], np.int64)], ["a", "b"], axis=1, name="split"))
    net.at = "a"
    left = net.dense(2, 4).quant(0.5).at
    net.at = "b"
    return net.dense(3, 4).quant(0.5).add(left).quant(0.5).dense(4, 3).proto()


def _gather(net: Net, *channels: int) -> Net:
    return net.op("Gather", net.const(channels, np.int64), axis=1)


def _gathered() -> onnx.ModelProto:
    net = _image().conv(3, 4, kernel=(1, 1)).quant(0.5)
    return _body(net.op("Gather", net.const([3, 0, 1], np.int64), axis=1), 3).proto()


def _resized(net: Net, rows: int, columns: int | None = None) -> Net:
    scales = net.const([1, 1, rows, columns or rows])
    return net.op(
        "Resize", "", scales, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    )


def _tiled() -> onnx.ModelProto:
    net = _dense().quant(0.5)
    return net.op("Tile", net.const([1, 2], np.int64)).dense(8, 3).proto()


def _expanded() -> onnx.ModelProto:
    net = _image(3, 1, 1).conv(3, 4, kernel=(1, 1)).quant(0.5)
    return _body(net.op("Expand", net.const([1, 4, 2, 2], np.int64)), 4).proto()


def _combined() -> dict[str, Make]:
    two = {"kernel_shape": [2, 2], "strides": [2, 2]}

    def start(*size: int, channels: int = 4) -> Net:
        return _image(3, *size).conv(3, channels, kernel=(1, 1)).quant(0.5)

    def one(net: Net, scale: float = 0.5) -> Net:
        return net.conv(4, 4, pads=[1, 1, 1, 1]).quant(scale)

    def same(net: Net) -> Net:
        return net

    def added(net: Net) -> Net:
        return _forked(one, one, net, "Add")

    return {
        "Relu, MaxPool, quantiser": lambda: _body(
            _image().conv(3, 4).op("Relu").op("MaxPool", **two).quant(signed=0), 4
        ).proto(),
        "norm, MaxPool, Relu": lambda: _body(
            _image().conv(3, 4).norm(4).op("MaxPool", **two).op("Relu").quant(signed=0), 4
        ).proto(),
        "AveragePool, Relu, quantiser": lambda: _body(
            start().op("AveragePool", **two).op("Relu").quant(signed=0), 4
        ).proto(),
        "MaxPool of one row": lambda: _body(
            _image(3, 1, 8).conv(3, 4, kernel=(1, 3)).quant(0.5).op("MaxPool", kernel_shape=[1, 2], strides=[1, 2]), 4
        ).proto(),
        "MaxPool of one dimension": lambda: (
            Net(3, 10)
            .quant()
            .conv(3, 4, kernel=(3,))
            .quant(0.5)
            .op("MaxPool", kernel_shape=[2], strides=[2])
            .conv(4, 3, kernel=(2,))
            .quant(0.5)
            .proto()
        ),
        "MaxPool, bipolar": lambda: (
            Net(3, 6, 6)
            .quant()
            .conv(3, 4)
            .bipolar()
            .op("MaxPool", **two)
            .conv(4, 3, 1.0, 0, kernel=(1, 1))
            .quant()
            .proto()
        ),
        "MaxPool, bytes": lambda: _body(
            Net(3, 6, 6)
            .quant(0.01, bits=8)
            .conv(3, 4, bits=8)
            .op("Relu")
            .quant(0.02, bits=8, signed=0)
            .op("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
            4,
        ).proto(),
        "two pools": lambda: _body(one(start(8, 8).op("MaxPool", **two)).op("MaxPool", **two), 4).proto(),
        "residual, norm, Relu": lambda: _body(added(start()).norm(4).op("Relu").quant(signed=0), 4).proto(),
        "residual, falling norm": lambda: _body(added(start()).norm(4, negative=True).quant(), 4).proto(),
        "residual, LeakyRelu": lambda: _body(added(start()).op("LeakyRelu", alpha=0.125).quant(), 4).proto(),
        "residual, Clip": lambda: _body(_clipped(added(start()), 0, 3).quant(signed=0), 4).proto(),
        "residual, MaxPool": lambda: _body(added(start()).quant(0.5).op("MaxPool", **two), 4).proto(),
        "residual of depthwise": lambda: _body(
            _forked(lambda n: n.conv(4, 4, group=4, pads=[1, 1, 1, 1]).quant(0.5), same, start(), "Add").quant(0.5), 4
        ).proto(),
        "residual over two layers": lambda: _body(
            _forked(lambda n: one(one(n)), same, start(), "Add").quant(0.5), 4
        ).proto(),
        "residual, flattened": lambda: added(start(2, 2)).quant(0.5).op("Flatten").dense(16, 3).proto(),
        "residual, GlobalAveragePool": lambda: (
            added(start()).quant(0.5).op("GlobalAveragePool").quant(0.25).op("Flatten").dense(4, 3).proto()
        ),
        "pooled branches": lambda: _body(
            _forked(
                lambda n: one(n.op("MaxPool", **two)),
                lambda n: one(n.op("AveragePool", **two).quant(0.5)),
                start(),
                "Concat",
                axis=1,
            ),
            8,
        ).proto(),
        "pooled branch beside a layer": lambda: _inception(start(), one).proto(),
        "a fork of three": lambda: _body(
            _forked(one, lambda n: _forked(one, one, n, "Concat", axis=1), start(), "Concat", axis=1), 12
        ).proto(),
        "two outputs of images": lambda: _two_images(start()),
        "bipolar residual": lambda: _body(
            _forked(lambda n: n.conv(4, 4, kernel=(1, 1)).bipolar(), same, _image().conv(3, 4).bipolar(), "Add").quant(
                0.5
            ),
            4,
        ).proto(),
        "bipolar depthwise": lambda: _body(Net(4, 6, 6).quant().conv(4, 4, 1.0, 0, group=4).quant(), 4).proto(),
        "ternary conv": lambda: (
            Net(3, 6, 6)
            .quant(0.5, bits=2, narrow=1)
            .conv(3, 4, 0.25, 2, narrow=1)
            .quant(0.5, bits=2, narrow=1)
            .conv(4, 3, 0.25, 2, narrow=1)
            .quant(0.5, bits=2, narrow=1)
            .proto()
        ),
        "image quantiser by channel of powers of two": lambda: _body(
            _image().conv(3, 4).quant(np.float32([0.25, 0.5, 0.125, 1]).reshape(1, 4, 1, 1)), 4
        ).proto(),
        "depthwise, quantised by channel": lambda: _body(
            start().conv(4, 4, group=4).quant(np.float32([0.25, 0.5, 0.125, 1]).reshape(1, 4, 1, 1)), 4
        ).proto(),
        "depthwise, MaxPool": lambda: _body(
            start().conv(4, 4, group=4, pads=[1, 1, 1, 1]).quant().op("MaxPool", **two), 4
        ).proto(),
        "depthwise of one pixel": lambda: _body(start().conv(4, 4, kernel=(1, 1), group=4).quant(), 4).proto(),
        "depthwise with bias, Relu": lambda: _body(
            start().conv(4, 4, group=4, bias=True).op("Relu").quant(signed=0), 4
        ).proto(),
        "batch of 4 images": lambda: _body(_image().conv(3, 4).quant(), 4).proto(batch=4),
        **{
            f"image of opset {n}": lambda n=n: _body(
                _image().conv(3, 4).norm(4).op("Relu").quant(signed=0).op("MaxPool", **two), 4
            ).proto(opset=n)
            for n in (9, 11, 17, 21)
        },
        "image of one pixel": lambda: _body(_image(3, 1, 1).conv(3, 4, kernel=(1, 1)).quant(), 4).proto(),
        "dense behind a pixel": lambda: (
            _image(3, 4, 4).conv(3, 4, kernel=(4, 4)).quant().op("Flatten").dense(4, 3).quant().dense(3, 2).proto()
        ),
        "dense behind an image, pooled": lambda: (
            _image(3, 6, 6)
            .conv(3, 4)
            .quant()
            .op("MaxPool", **two)
            .op("Flatten")
            .dense(16, 5)
            .quant(0.5)
            .dense(5, 2)
            .proto()
        ),
        "residual of vectors, unequal widths": lambda: _end(
            _forked(
                lambda n: n.dense(4, 4).quant(0.5),
                lambda n: n.dense(4, 4).quant(0.5, bits=3),
                _dense().quant(0.5),
                "Add",
            )
        ).proto(),
        "residual of the input, vectors": lambda: _end(
            _forked(lambda n: n.dense(6, 6).quant(), same, Net(6).quant(), "Add").quant(0.5), 6
        ).proto(),
        "concat of the input, vectors": lambda: _end(
            _forked(lambda n: n.dense(6, 4).quant(), same, Net(6).quant(), "Concat", axis=1), 10
        ).proto(),
        "sum of three vectors": lambda: _end(_sum_of_three()).proto(),
        "upsampled sum": lambda: _body(
            _forked(lambda n: _resized(n.op("MaxPool", **two), 2), same, start(), "Add").quant(0.5), 4
        ).proto(),
    }


def _inception(net: Net, one: Callable[[Net], Net]) -> Net:
    at = net.at
    left = one(net).at
    net.at = at
    net.op("MaxPool", kernel_shape=[3, 3], strides=[1, 1]).conv(4, 4, kernel=(1, 1), pads=[1, 1, 1, 1]).quant(0.5)
    return _body(net.op("Concat", left, axis=1), 8)


def _two_images(net: Net) -> onnx.ModelProto:
    at = net.at
    first = net.conv(4, 3, kernel=(1, 1)).quant().at
    net.at = at
    return net.conv(4, 2).quant().proto(first, net.at)


def _sum_of_three() -> Net:
    net = _dense().quant(0.5)
    at, made = net.at, []
    for _ in range(3):
        net.at = at
        made.append(net.dense(4, 4).quant(0.5).at)
    return net.add(made[0]).quant(0.5).add(made[1])


FEATURES: Mapping[str, Make] = {
    **_convolutions(),
    **_pools(),
    **_products(),
    **_quantizers(),
    **_functions(),
    **_arithmetic(),
    **_branches(),
    **_layouts(),
    **_combined(),
}
"""By name."""
