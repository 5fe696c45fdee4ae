"""One-feature models: each has one thing that hls4ml takes, needs rewritten, or gets wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tests.targets.hls4ml.nets import Net


@dataclass(frozen=True)
class Feature:
    """A model, and what comes of it.

    Attributes:
        name: What it is about.
        make: Builds it.
        tolerance: Of the outputs, relative to the largest; 0 where all scales are powers of two.
        refused: Rule of the checker that refuses it; None if hls4ml is to compute it.
        step: Grid on which half of the inputs lie.
    """

    name: str
    make: Callable[[], Net]
    tolerance: float = 0.0
    refused: str | None = None
    step: float = 0.125


def _features() -> list[Feature]:
    found: list[Feature] = []

    def feature(name: str, make: Callable[[], Net], **given) -> None:
        found.append(Feature(name, make, **given))

    close = 1e-3
    for bits in range(1, 9):
        feature(f"signed {bits} bits", lambda b=bits: Net(6).quant(0.25, bits=b).dense(6, 4))
        feature(f"unsigned {bits} bits", lambda b=bits: Net(6).quant(0.25, bits=b, signed=0).dense(6, 4))
        feature(f"weights of {bits} bits", lambda b=bits: Net(6).quant().dense(6, 4, bits=b))
    for bits in (2, 3, 8):
        feature(f"narrow {bits} bits", lambda b=bits: Net(6).quant(bits=b, narrow=1).dense(6, 4, narrow=1))
    feature("quantiser alone", lambda: Net(6).quant())
    feature("quantiser of 16 bits", lambda: Net(6).quant(2.0**-12, bits=16).dense(6, 4))
    feature("narrow unsigned", lambda: Net(6).quant(bits=3, signed=0, narrow=1).dense(6, 4), refused="narrow")
    for mode in ("ROUND", "FLOOR", "round", "HALF_EVEN", "CEIL", "UP", "DOWN", "ROUND_TO_ZERO", "HALF_UP", "HALF_DOWN"):
        taken = mode in ("ROUND", "FLOOR", "round", "HALF_EVEN")
        for signed in (0, 1):
            fine = taken or (not signed and mode in ("DOWN", "ROUND_TO_ZERO"))
            feature(
                f"rounding {mode} signed {signed}",
                lambda m=mode, s=signed: Net(6).quant(rounding_mode=m, signed=s).dense(6, 4),
                refused=None if fine else "rounding",
            )
        feature(f"weights rounding {mode}", lambda m=mode: Net(6).quant().dense(6, 4, rounding_mode=m))
    for shape in ((), (1,), (1, 1)):
        feature(f"scale of shape {shape}", lambda s=shape: Net(6).quant(np.full(s, 0.5, np.float32)).dense(6, 4))
        feature(
            f"odd scale of shape {shape}",
            lambda s=shape: Net(6).quant(np.full(s, 0.3, np.float32)).dense(6, 4),
            tolerance=close,
            step=0.1,
        )
        feature(
            f"weight scale of shape {shape}", lambda s=shape: Net(6).quant().dense(6, 4, np.full(s, 0.5, np.float32))
        )
    for shape in ((4,), (1, 4)):
        odd = np.linspace(0.05, 0.2, 4, dtype=np.float32).reshape(shape)
        two = np.float32([0.5, 0.25, 0.125, 1]).reshape(shape)
        feature(f"odd weight scale of shape {shape}", lambda o=odd: Net(6).quant().dense(6, 4, o), tolerance=close)
        feature(f"weight scale of powers of two {shape}", lambda t=two: Net(6).quant().dense(6, 4, t))
        feature(
            f"odd weight scale of shape {shape}, square", lambda o=odd: Net(4).quant().dense(4, 4, o), tolerance=close
        )
        feature(f"activation scale of shape {shape}, at the end", lambda o=odd: Net(4).quant(o), tolerance=close)
        feature(
            f"activation scale of shape {shape}, product", lambda o=odd: Net(4).quant(o).dense(4, 3), tolerance=close
        )
        feature(f"activation scale of powers of two {shape}", lambda t=two: Net(4).quant(t).dense(4, 3))
    rows = np.linspace(0.05, 0.2, 6, dtype=np.float32).reshape(6, 1)
    feature("weight scale by row", lambda: Net(6).quant().dense(6, 4, rows), tolerance=close)
    for zeropt in (1.0, 8.0, -3.0, 0.5):
        for scale in (0.25, 0.3):
            feature(
                f"zero point {zeropt:g} scale {scale}",
                lambda z=zeropt, s=scale: Net(6).quant(s, z, signed=0).dense(6, 4),
                tolerance=0 if scale == 0.25 else close,
                step=0.125 if scale == 0.25 else 0.1,
            )
    feature("zero point at the end", lambda: Net(6).quant(0.25, 3.0, signed=0))
    feature("zero point of each channel", lambda: Net(4).quant(0.25, np.float32([1, 2, 3, -1])).dense(4, 3))
    feature("float weights", _float_weights, tolerance=close)
    feature("no quantiser", lambda: Net(6).dense(6, 4).op("Relu").dense(4, 3), tolerance=close)
    feature("bias", lambda: _with(Net(6).quant().dense(6, 4), "Add", [0.3, -0.2, 1, 0]), tolerance=close)
    feature("bias of powers of two", lambda: _with(Net(6).quant().dense(6, 4), "Add", [0.25, -0.5, 1, 0]))
    feature("bias of shape (1, C)", lambda: _with(Net(6).quant().dense(6, 4), "Add", [[0.25, -0.5, 1, 0]]))
    feature("scalar bias", lambda: _with(Net(6).quant().dense(6, 4), "Add", 0.5))
    feature("bias first", lambda: _first(Net(6).quant().dense(6, 4), "Add", [0.25, -0.5, 1, 0]))
    feature("subtraction", lambda: _with(Net(6).quant().dense(6, 4), "Sub", [0.25, -0.5, 1, 0]))
    feature("subtraction from a constant", lambda: _first(Net(6).quant().dense(6, 4), "Sub", [0.25, -0.5, 1, 0]))
    feature("multiplication", lambda: _with(Net(6).quant().dense(6, 4), "Mul", [0.25, -0.5, 1, 2]))
    feature("division", lambda: _with(Net(6).quant().dense(6, 4), "Div", [0.25, -0.5, 1, 2]))
    feature("division of a constant", lambda: _first(Net(6).quant(bits=3).dense(6, 4), "Div", 2.0), refused="operator")
    feature("quantised bias", _quantised_bias)
    feature("gemm", _gemm)
    feature("arithmetic before a product", lambda: _with(Net(6).quant(), "Add", 0.5).dense(6, 4))
    feature("factor before a product", lambda: _with(Net(6).quant(), "Mul", [1, 2, 0.5, 1, 1, 4]).dense(6, 4))
    feature("input arithmetic", lambda: _with(_with(Net(6), "Mul", 2), "Sub", 1).quant().dense(6, 4))
    feature(
        "input arithmetic and no quantiser",
        lambda: _with(_with(Net(6), "Mul", 2), "Sub", 1).dense(6, 4),
        tolerance=close,
    )
    for op_type in ("Relu", "LeakyRelu", "Identity", "Dropout"):
        feature(f"{op_type}", lambda o=op_type: Net(6).quant().dense(6, 4).op(o).quant().dense(4, 3))
        feature(f"{op_type}, no quantiser", lambda o=op_type: Net(6).quant().dense(6, 4).op(o).dense(4, 3))
    feature("LeakyRelu of 1/8", lambda: Net(6).quant().dense(6, 4).op("LeakyRelu", alpha=0.125).quant())
    for op_type in ("Elu", "Selu", "Sigmoid", "Tanh", "Softplus", "Softsign", "Softmax"):
        feature(f"{op_type}", lambda o=op_type: Net(6).quant().dense(6, 4).op(o), refused="table")
    for op_type in ("Abs", "Erf", "HardSigmoid", "Floor", "Sign"):
        feature(f"{op_type}", lambda o=op_type: Net(6).quant().dense(6, 4).op(o), refused="operator")
    feature("PRelu", lambda: _with(Net(6).quant().dense(6, 4), "PRelu", [0.25, 0.5, 0.125, 0]), refused="operator")
    feature("clip", lambda: _clip(Net(6).quant().dense(6, 4), 0, 1).quant(0.0625, bits=6).dense(4, 3))
    feature("clip beyond the quantiser", lambda: _clip(Net(6).quant().dense(6, 4), -4, 4).quant().dense(4, 3))
    feature("norm", lambda: Net(6).quant().dense(6, 4).norm(4).op("Relu").quant(signed=0).dense(4, 3), tolerance=0.2)
    feature("norm at the end", lambda: Net(6).quant().dense(6, 4).norm(4, negative=True), tolerance=close)
    return found + _forks() + _binary() + _convolutions()


def _forks() -> list[Feature]:
    def fork(first: Callable[[Net], Net], second: Callable[[Net], Net], net: Net, op_type: str = "Add") -> Net:
        at = net.at
        left = first(net).at
        net.at = at
        return second(net).add(left, op_type)

    def same(net: Net) -> Net:
        return net

    found = []
    for scale, tolerance in ((0.25, 0.0), (0.3, 1e-3)):
        step = 0.125 if scale == 0.25 else 0.1

        def q(net: Net, s=scale) -> Net:
            return net.quant(s if s == 0.25 or net.at == "x" else 0.77 * s)

        found += [
            Feature(
                f"residual {scale}",
                lambda q=q: fork(lambda n: q(n.dense(6, 6)), same, q(Net(6))).dense(6, 4),
                tolerance,
                step=step,
            ),
            Feature(
                f"residual of a product {scale}",
                lambda q=q: fork(lambda n: q(n).dense(6, 6), same, q(Net(6)).dense(6, 6)),
                tolerance,
                step=step,
            ),
            Feature(
                f"two quantisers of a product {scale}",
                lambda q=q: fork(q, lambda n: n.quant(0.5, bits=3), q(Net(6)).dense(6, 6)).dense(6, 4),
                tolerance,
                step=step,
            ),
            Feature(
                f"two quantisers of the input {scale}",
                lambda q=q: fork(q, lambda n: n.quant(0.5, bits=3), Net(6)).dense(6, 4),
                tolerance,
                step=step,
            ),
            Feature(
                f"two products of a quantiser {scale}",
                lambda q=q: fork(lambda n: n.dense(6, 4), lambda n: n.dense(6, 4), q(Net(6))),
                tolerance,
                step=step,
            ),
            Feature(
                f"quantiser and Relu of a product {scale}",
                lambda q=q: fork(q, lambda n: n.op("Relu"), q(Net(6)).dense(6, 6)),
                tolerance,
                step=step,
            ),
            Feature(
                f"bias forks {scale}",
                lambda q=q: fork(q, same, _with(q(Net(6)).dense(6, 6), "Add", 0.5)),
                tolerance,
                step=step,
            ),
            Feature(
                f"two biases added {scale}",
                lambda q=q: fork(
                    lambda n: _with(n.dense(6, 4), "Add", [1, 2, 3, 4]),
                    lambda n: _with(n.dense(6, 4), "Add", [0.5, 1, 0.25, 0]),
                    q(Net(6)),
                ),
                tolerance,
                step=step,
            ),
        ]
        for op_type in ("Sub", "Mul", "Max", "Min"):
            found.append(
                Feature(
                    f"{op_type} of two products {scale}",
                    lambda q=q, o=op_type: fork(lambda n: n.dense(6, 4), lambda n: n.dense(6, 4), q(Net(6)), o),
                    tolerance,
                    step=step,
                )
            )
    found.append(Feature("concat", lambda: _concat(fork, Net(6).quant())))
    found.append(Feature("output in the middle", _middle))
    return found


def _binary() -> list[Feature]:
    close = 1e-3
    found = [
        Feature("bipolar activations", lambda: Net(6).bipolar().dense(6, 4)),
        Feature("bipolar weights", lambda: Net(6).quant().dense(6, 4, scale=1.0, bits=0)),
        Feature("bipolar both", lambda: Net(6).bipolar().dense(6, 4, scale=1.0, bits=0)),
        Feature("bipolar scale", lambda: Net(6).bipolar(0.3).dense(6, 4, scale=0.7, bits=0), close),
        Feature("bipolar two layers", lambda: Net(6).bipolar().dense(6, 4, 1.0, 0).bipolar().dense(4, 3, 1.0, 0)),
        Feature("signed one bit", lambda: Net(6).quant(0.5, bits=1).dense(6, 4)),
        Feature("signed one bit with zero point", lambda: Net(6).quant(0.5, 0.5, bits=1).dense(6, 4)),
        Feature("bipolar at the end", lambda: Net(6).quant().dense(6, 4).bipolar()),
        Feature("bipolar of scale 1/2 at the end", lambda: Net(6).quant().dense(6, 4).bipolar(0.5)),
        Feature("bipolar then quantiser", lambda: Net(6).bipolar().quant(1.0, bits=2).dense(6, 4)),
        Feature("bipolar then bias", lambda: _with(Net(6).bipolar(), "Add", 0.5).dense(6, 4)),
        Feature("bipolar then Relu", lambda: Net(6).bipolar().op("Relu").dense(6, 4)),
        Feature("bipolar residual", _bipolar_residual),
        Feature("bipolar of three layers", _three_binary),
    ]
    for negative in (False, True):
        found += [
            Feature(
                f"norm before bipolar, negative {negative}",
                lambda n=negative: Net(6).bipolar().dense(6, 8, 1.0, 0).norm(8, negative=n).bipolar().dense(8, 4),
            ),
            Feature(
                f"norm before bipolar of 4 bits, negative {negative}",
                lambda n=negative: Net(6).quant().dense(6, 8).norm(8, negative=n).bipolar().dense(8, 4),
            ),
            Feature(
                f"factor of the input before bipolar, negative {negative}",
                lambda n=negative: _with(Net(4).quant(), "Mul", [1, 2, -1 if n else 1, 0.5]).bipolar().dense(4, 3),
            ),
        ]
    return found


def _convolutions() -> list[Feature]:
    close = 1e-3

    def image(channels: int = 3, size: int = 6) -> Net:
        return Net(channels, size, size)

    return [
        Feature("conv", lambda: image().quant().conv(3, 4)),
        Feature("conv padded", lambda: image().quant().conv(3, 4, pads=[1, 1, 1, 1])),
        Feature("conv padded unevenly", lambda: image().quant().conv(3, 4, pads=[1, 0, 0, 1])),
        Feature("conv strided", lambda: image(3, 7).quant().conv(3, 4, strides=[2, 2], pads=[1, 1, 1, 1])),
        Feature("conv same upper", lambda: image(3, 7).quant().conv(3, 4, strides=[2, 2], auto_pad="SAME_UPPER")),
        Feature("conv same lower", lambda: image(3, 6).quant().conv(3, 4, strides=[2, 2], auto_pad="SAME_LOWER")),
        Feature("conv dilated", lambda: image(3, 7).quant().conv(3, 4, dilations=[2, 2])),
        Feature("conv oblong", lambda: Net(2, 5, 8).quant().conv(2, 3, kernel=(3, 2), strides=[1, 2])),
        Feature("conv 1x1", lambda: image().quant().conv(3, 4, kernel=(1, 1))),
        Feature("conv 1x1 strided", lambda: image().quant().conv(3, 4, kernel=(1, 1), strides=[2, 2])),
        Feature("conv bias", lambda: image().quant().conv(3, 4, bias=True), close),
        Feature(
            "conv scales",
            lambda: image().quant(0.3).conv(3, 4, np.linspace(0.1, 0.2, 4, dtype=np.float32).reshape(4, 1, 1, 1)),
            close,
            step=0.1,
        ),
        Feature("conv zero point", lambda: image().quant(0.25, 3.0, signed=0).conv(3, 4)),
        Feature("conv zero point padded", lambda: image().quant(0.25, 3.0, signed=0).conv(3, 4, pads=[1, 1, 1, 1])),
        Feature("conv norm", lambda: image().quant().conv(3, 4).norm(4, negative=True), close),
        Feature("conv relu conv", lambda: image().quant().conv(3, 4).op("Relu").quant(signed=0).conv(4, 2)),
        Feature("conv no quantiser", lambda: image().conv(3, 4).op("Relu").conv(4, 2), close),
        Feature("conv bipolar", lambda: image().bipolar().conv(3, 4, 1.0, 0)),
        Feature("conv bipolar padded", lambda: image().bipolar().conv(3, 4, 1.0, 0, pads=[1, 1, 1, 1])),
        Feature(
            "conv norm bipolar",
            lambda: image().bipolar().conv(3, 4, 1.0, 0).norm(4, negative=True).bipolar().conv(4, 2, 1.0, 0),
        ),
        Feature("depthwise", lambda: image(4).quant().conv(4, 4, group=4, pads=[1, 1, 1, 1])),
        Feature("depthwise odd scale", lambda: image(4).quant(0.3).conv(4, 4, 0.11, group=4), close, step=0.1),
        Feature("depthwise bias", lambda: image(4).quant().conv(4, 4, group=4, bias=True), close),
        Feature("depthwise quantised", lambda: image(4).quant().conv(4, 4, group=4).quant().conv(4, 3)),
        Feature("depthwise multiplier", lambda: image(2).quant().conv(2, 4, group=2)),
        Feature("depthwise of one channel", lambda: image(1).quant().conv(1, 1)),
        Feature("groups", lambda: image(4).quant().conv(4, 4, group=2)),
        Feature("max pool", lambda: image().quant().op("MaxPool", kernel_shape=[2, 2], strides=[2, 2])),
        Feature("max pool overlapping", lambda: image(3, 7).quant().op("MaxPool", kernel_shape=[3, 3], strides=[2, 2])),
        Feature(
            "max pool padded",
            lambda: image().quant().op("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        ),
        Feature(
            "max pool ceil",
            lambda: image(2, 5).quant().op("MaxPool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
        ),
        Feature("max pool of strides 1", lambda: image().quant().op("MaxPool", kernel_shape=[2, 2], strides=[1, 1])),
        Feature("max pool odd scale", lambda: _pooled(image().quant(0.3)), close, step=0.1),
        Feature("max pool bipolar", lambda: _pooled(image().bipolar())),
        Feature("max pool of floats", lambda: image().op("MaxPool", kernel_shape=[2, 2], strides=[2, 2]).quant()),
        Feature(
            "average pool",
            lambda: image().quant().op("AveragePool", kernel_shape=[2, 2], strides=[2, 2]),
        ),
        Feature("average pool of 3", lambda: image().quant().op("AveragePool", kernel_shape=[3, 3]), close),
        Feature(
            "average pool padded",
            lambda: image().quant().op("AveragePool", kernel_shape=[2, 2], pads=[1, 1, 0, 0], strides=[2, 2]),
            refused="pool",
        ),
        Feature(
            "average pool padded and counted",
            lambda: (
                image()
                .quant()
                .op("AveragePool", kernel_shape=[2, 2], pads=[1, 1, 1, 1], strides=[2, 2], count_include_pad=1)
            ),
        ),
        Feature("global average pool", lambda: image(3, 4).quant().op("GlobalAveragePool").op("Flatten").dense(3, 2)),
        Feature("mean", lambda: image(3, 4).quant().op("ReduceMean", axes=[2, 3], keepdims=0).dense(3, 2)),
        Feature("mean keepdims", lambda: image(3, 4).quant().op("ReduceMean", axes=[2, 3], keepdims=1)),
        Feature("flatten", lambda: image(3, 4).quant().conv(3, 2).quant(1.0).op("Flatten").dense(8, 3)),
        Feature("conv residual", lambda: _conv_residual(0.25)),
        Feature("conv residual odd", lambda: _conv_residual(0.3), close, step=0.1),
        Feature("conv of one dimension", lambda: Net(3, 8).quant().conv(3, 4, kernel=(3,))),
        Feature("conv of one dimension padded", lambda: Net(3, 8).quant().conv(3, 4, kernel=(3,), pads=[1, 1])),
        Feature(
            "pool of one dimension",
            lambda: Net(3, 8).quant().conv(3, 4, kernel=(3,)).op("MaxPool", kernel_shape=[2], strides=[2]),
        ),
    ]


def _with(net: Net, op_type: str, operand) -> Net:
    return net.op(op_type, net.const(operand))


def _first(net: Net, op_type: str, operand) -> Net:
    at, net.at = net.at, net.const(operand)
    return net.op(op_type, at)


def _float_weights() -> Net:
    net = Net(6).quant()
    return net.op("MatMul", net.const(net.random.normal(size=(6, 4))))


def _quantised_bias() -> Net:
    net = Net(6).quant().dense(6, 4)
    return net.add(net.weights((4,), 0.25))


def _gemm() -> Net:
    net = Net(6).quant()
    return net.op("Gemm", net.weights((4, 6)), net.const([0.5, 1, -2, 0]), transB=1, alpha=0.5, beta=2.0)


def _clip(net: Net, lo: float, hi: float) -> Net:
    return net.op("Clip", net.const(lo), net.const(hi))


def _pooled(net: Net) -> Net:
    return net.op("MaxPool", kernel_shape=[2, 2], strides=[2, 2]).conv(3, 2, kernel=(2, 2))


def _concat(fork, net: Net) -> Net:
    at = net.at
    left = net.dense(6, 3).at
    net.at = at
    right = net.dense(6, 2).at
    net.at = left
    return net.op("Concat", right, axis=1)


def _middle() -> Net:
    net = Net(6).quant().dense(6, 6)
    middle = net.at
    net.quant().dense(6, 4)
    net.outputs = (middle, net.at)
    return net


def _bipolar_residual() -> Net:
    net = Net(6).bipolar()
    at = net.at
    return net.dense(6, 6).add(at)


def _three_binary() -> Net:
    net = Net(6).bipolar()
    for _ in range(3):
        net.dense(6, 6, 1.0, 0).norm(6, negative=True).bipolar()
    return net.dense(6, 4)


def _conv_residual(scale: float) -> Net:
    net = Net(4, 5, 5).quant(scale)
    at = net.at
    net.conv(4, 4, pads=[1, 1, 1, 1]).norm(4).quant(scale).add(at).op("Relu").quant(scale, signed=0)
    return net.conv(4, 3)


FEATURES = _features()
