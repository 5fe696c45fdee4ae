"""One-feature models of quantisers, scales, arithmetic and functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.targets.hls4ml.feature import Feature
from tests.targets.hls4ml.nets import Net, flipped, then

CLOSE = 1e-3  # of full scale, where a scale is no power of two


class _Features(list[Feature]):
    """A list that grows by one feature a line."""

    def add(self, name: str, make: Callable[[], Net], **given: Any) -> None:
        self.append(Feature(name, make, **given))


def _quantizers() -> list[Feature]:
    found = _Features()
    for bits in range(1, 9):
        found.add(f"signed {bits} bits", lambda b=bits: Net(6).quant(0.25, bits=b).dense(6, 4))
        found.add(f"unsigned {bits} bits", lambda b=bits: Net(6).quant(0.25, bits=b, signed=0).dense(6, 4))
        found.add(f"weights of {bits} bits", lambda b=bits: Net(6).quant().dense(6, 4, bits=b))
    for bits in (2, 3, 8):
        found.add(f"narrow {bits} bits", lambda b=bits: Net(6).quant(bits=b, narrow=1).dense(6, 4, narrow=1))
    found.add("finer quantiser behind a coarser one", lambda: Net(6).quant(0.5).quant(0.125, bits=6).dense(6, 4))
    found.add("coarser quantiser behind a finer one", lambda: Net(6).quant(0.125).quant(0.5, bits=3).dense(6, 4))
    found.add("unsigned quantiser behind a signed one", lambda: Net(6).quant(0.25).quant(0.5, signed=0).dense(6, 4))
    found.add("one feature in", lambda: Net(1).quant().dense(1, 4))
    found.add("one feature out", lambda: Net(6).quant().dense(6, 1).quant().dense(1, 3))
    found.add("one odd feature out", lambda: Net(6).quant(0.3).dense(6, 1, 0.11), tolerance=CLOSE)
    found.add(
        "quantiser that makes zeros",
        lambda: Net(6).quant(0.125, bits=2, signed=0).quant(1.0).dense(6, 4),
        refused="zero-levels",
    )
    found.add("quantiser alone", lambda: Net(6).quant(), refused="output")
    found.add("quantiser of 16 bits", lambda: Net(6).quant(2.0**-12, bits=16).dense(6, 4))
    found.add("narrow unsigned", lambda: Net(6).quant(bits=3, signed=0, narrow=1).dense(6, 4))
    found.add(
        "narrow unsigned, odd scale", lambda: Net(6).quant(0.3, bits=3, signed=0, narrow=1).dense(6, 4), tolerance=CLOSE
    )
    for mode in ("ROUND", "FLOOR", "round", "HALF_EVEN", "CEIL", "UP", "DOWN", "ROUND_TO_ZERO", "HALF_UP", "HALF_DOWN"):
        for signed in (0, 1):
            found.add(
                f"rounding {mode} signed {signed}",
                lambda m=mode, s=signed: Net(6).quant(rounding_mode=m, signed=s).dense(6, 4),
            )
        found.add(f"weights rounding {mode}", lambda m=mode: Net(6).quant().dense(6, 4, rounding_mode=m))
    return found


def _scales() -> list[Feature]:
    found = _Features()
    for shape in ((), (1,), (1, 1)):
        found.add(f"scale of shape {shape}", lambda s=shape: Net(6).quant(np.full(s, 0.5, np.float32)).dense(6, 4))
        found.add(
            f"odd scale of shape {shape}",
            lambda s=shape: Net(6).quant(np.full(s, 0.3, np.float32)).dense(6, 4),
            tolerance=CLOSE,
            step=0.1,
        )
        found.add(
            f"weight scale of shape {shape}", lambda s=shape: Net(6).quant().dense(6, 4, np.full(s, 0.5, np.float32))
        )
    for shape in ((4,), (1, 4)):
        odd = np.linspace(0.05, 0.2, 4, dtype=np.float32).reshape(shape)
        two = np.float32([0.5, 0.25, 0.125, 1]).reshape(shape)
        found.add(f"odd weight scale of shape {shape}", lambda o=odd: Net(6).quant().dense(6, 4, o), tolerance=CLOSE)
        found.add(f"weight scale of powers of two {shape}", lambda t=two: Net(6).quant().dense(6, 4, t))
        found.add(
            f"odd weight scale of shape {shape}, square", lambda o=odd: Net(4).quant().dense(4, 4, o), tolerance=CLOSE
        )
        found.add(f"activation scale of shape {shape}, at the end", lambda o=odd: Net(4).quant(o), tolerance=CLOSE)
        found.add(
            f"activation scale of shape {shape}, product", lambda o=odd: Net(4).quant(o).dense(4, 3), tolerance=CLOSE
        )
        found.add(f"activation scale of powers of two {shape}", lambda t=two: Net(4).quant(t).dense(4, 3))
    rows = np.linspace(0.05, 0.2, 6, dtype=np.float32).reshape(6, 1)
    found.add("weight scale by row", lambda: Net(6).quant().dense(6, 4, rows), tolerance=CLOSE)
    for zeropt in (1.0, 8.0, -3.0, 0.5):
        for scale in (0.25, 0.3):
            found.add(
                f"zero point {zeropt:g} scale {scale}",
                lambda z=zeropt, s=scale: Net(6).quant(s, z, signed=0).dense(6, 4),
                tolerance=0 if scale == 0.25 else CLOSE,
                step=0.125 if scale == 0.25 else 0.1,
            )
    found.add("zero point at the end", lambda: Net(6).quant(0.25, 3.0, signed=0))
    found.add("zero point of each channel", lambda: Net(4).quant(0.25, np.float32([1, 2, 3, -1])).dense(4, 3))
    found.add("float weights", _float_weights, tolerance=CLOSE)
    found.add("no quantiser", lambda: Net(6).dense(6, 4).op("Relu").dense(4, 3), tolerance=CLOSE)
    return found


def _arithmetic() -> list[Feature]:
    found = _Features()
    found.add("bias", lambda: then(Net(6).quant().dense(6, 4), "Add", [0.3, -0.2, 1, 0]), tolerance=CLOSE)
    found.add("bias of powers of two", lambda: then(Net(6).quant().dense(6, 4), "Add", [0.25, -0.5, 1, 0]))
    found.add("bias of shape (1, C)", lambda: then(Net(6).quant().dense(6, 4), "Add", [[0.25, -0.5, 1, 0]]))
    found.add("scalar bias", lambda: then(Net(6).quant().dense(6, 4), "Add", 0.5))
    found.add("bias first", lambda: flipped(Net(6).quant().dense(6, 4), "Add", [0.25, -0.5, 1, 0]))
    found.add("subtraction", lambda: then(Net(6).quant().dense(6, 4), "Sub", [0.25, -0.5, 1, 0]))
    found.add("subtraction from a constant", lambda: flipped(Net(6).quant().dense(6, 4), "Sub", [0.25, -0.5, 1, 0]))
    found.add("multiplication", lambda: then(Net(6).quant().dense(6, 4), "Mul", [0.25, -0.5, 1, 2]))
    found.add("division", lambda: then(Net(6).quant().dense(6, 4), "Div", [0.25, -0.5, 1, 2]))
    found.add(
        "division of a constant",
        lambda: flipped(Net(6).quant(bits=3).dense(6, 4), "Div", 2.0),
        refused="operator",
    )
    found.add("quantised bias", _quantised_bias)
    found.add("gemm", _gemm)
    found.add("arithmetic before a product", lambda: then(Net(6).quant(), "Add", 0.5).dense(6, 4))
    found.add("factor before a product", lambda: then(Net(6).quant(), "Mul", [1, 2, 0.5, 1, 1, 4]).dense(6, 4))
    found.add("input arithmetic", lambda: then(then(Net(6), "Mul", 2), "Sub", 1).quant().dense(6, 4))
    found.add(
        "input arithmetic and no quantiser",
        lambda: then(then(Net(6), "Mul", 2), "Sub", 1).dense(6, 4),
        tolerance=CLOSE,
    )
    return found


def _functions() -> list[Feature]:
    found = _Features()
    for op_type in ("Relu", "Identity", "Dropout"):
        found.add(f"{op_type}", lambda o=op_type: Net(6).quant().dense(6, 4).op(o).quant().dense(4, 3))
        found.add(f"{op_type}, no quantiser", lambda o=op_type: Net(6).quant().dense(6, 4).op(o).dense(4, 3))
    found.add("LeakyRelu", lambda: Net(6).quant().dense(6, 4).op("LeakyRelu"), tolerance=CLOSE)
    found.add("product of three axes", lambda: Net(5, 6).quant().dense(6, 4), refused="shape")
    found.add("LeakyRelu of 1/8", lambda: Net(6).quant().dense(6, 4).op("LeakyRelu", alpha=0.125).quant())
    for op_type in ("Elu", "Selu", "Sigmoid", "Tanh", "Softplus", "Softsign", "Softmax"):
        found.add(f"{op_type}", lambda o=op_type: Net(6).quant().dense(6, 4).op(o), refused="table")
    found.add("Abs", lambda: Net(6).quant().dense(6, 4).op("Abs").quant().dense(4, 3))
    found.add("thresholds", lambda: _thresholds([[-1.5, 0, 0.25], [0, 0, 2], [1, 2, 3], [-0.5, 0.5, 9]]))
    found.add(
        "thresholds of all channels",
        lambda: _thresholds([[-1.5, 0, 0.25]], out_scale=0.3, out_bias=-1.0),
        tolerance=CLOSE,
    )
    for op_type in ("Erf", "Floor", "Sign"):
        found.add(f"{op_type}", lambda o=op_type: Net(6).quant().dense(6, 4).op(o), refused="operator")
    found.add("PRelu", lambda: then(Net(6).quant().dense(6, 4), "PRelu", [0.25, 0.5, 0.125, 0]))
    found.add("HardSigmoid", lambda: Net(6).quant().dense(6, 4).op("HardSigmoid"), tolerance=CLOSE)
    for op_type in ("Max", "Min"):
        found.add(f"{op_type} with a number", lambda o=op_type: then(Net(6).quant().dense(6, 4), o, 0.5))
    found.add("Neg", lambda: Net(6).quant().dense(6, 4).op("Neg").quant().dense(4, 3))
    found.add("weights of zeros", _zeros, refused="zero-weights")
    found.add("clip", lambda: _clip(Net(6).quant().dense(6, 4), 0, 1).quant(0.0625, bits=6).dense(4, 3))
    found.add("clip beyond the quantiser", lambda: _clip(Net(6).quant().dense(6, 4), -4, 4).quant().dense(4, 3))
    found.add("norm", lambda: Net(6).quant().dense(6, 4).norm(4).op("Relu").quant(signed=0).dense(4, 3), tolerance=0.2)
    found.add("norm at the end", lambda: Net(6).quant().dense(6, 4).norm(4, negative=True), tolerance=CLOSE)
    return found


def _boundaries() -> list[Feature]:
    """Sums exactly on rounding boundaries, by factors that are no short binary fractions."""
    found = _Features()

    def dense() -> Net:
        return Net(6).quant().dense(6, 4)

    for scale in (0.3, 0.75, 0.7):
        found.add(f"sums on boundaries of {scale}", lambda s=scale: dense().quant(s).dense(4, 3), tolerance=CLOSE)
        found.add(
            f"sums on boundaries of {scale}, 8 bits",
            lambda s=scale: dense().quant(s, bits=8).dense(4, 3),
            tolerance=CLOSE,
        )
    odd = np.float32([0.3, 0.2, 0.11, 0.7])
    found.add("sums on boundaries by channel", lambda: dense().quant(odd).dense(4, 3), tolerance=CLOSE)
    found.add("sums on boundaries, falling", lambda: then(dense(), "Mul", -0.7).quant(0.5).dense(4, 3))
    found.add("sums on boundaries, floored", lambda: dense().quant(0.3, rounding_mode="FLOOR"), tolerance=CLOSE)
    found.add("average on boundaries", lambda: _average(3), tolerance=CLOSE)
    found.add("sixth on boundaries", lambda: then(dense(), "Div", 6.0).quant(0.25).dense(4, 3))
    found.add(
        "HardSigmoid on boundaries", lambda: dense().op("HardSigmoid", alpha=0.2).quant(0.0625, signed=0).dense(4, 3)
    )
    found.add("levels on boundaries", lambda: dense().quant(0.3).quant(0.6, bits=3).dense(4, 3), tolerance=CLOSE)
    found.add("sums that float32 rounds", lambda: Net(6).quant(0.3).dense(6, 4).quant(0.2).dense(4, 3), refused="ties")
    return found


def _average(size: int) -> Net:
    net = Net(2, size, size).quant().op("GlobalAveragePool").op("Flatten")
    return net.quant(0.25).dense(2, 3)


def _float_weights() -> Net:
    net = Net(6).quant()
    return net.op("MatMul", net.const(net.random.normal(size=(6, 4))))


def _zeros() -> Net:
    net = Net(6).quant()
    before, net.at = net.at, net.const(np.zeros((6, 4)))
    made, net.at = net.quant(0.125).at, before
    return net.op("MatMul", made)


def _quantised_bias() -> Net:
    net = Net(6).quant().dense(6, 4)
    return net.add(net.weights((4,), 0.25))


def _thresholds(rows: list[list[float]], **attributes: float) -> Net:
    net = Net(6).quant().dense(6, 4)
    given = {"out_dtype": "INT3", "out_bias": -1.0, **attributes}
    return net.op("MultiThreshold", net.const(rows), domain="qonnx.custom_op.general", **given).dense(4, 3)


def _gemm() -> Net:
    net = Net(6).quant()
    return net.op("Gemm", net.weights((4, 6)), net.const([0.5, 1, -2, 0]), transB=1, alpha=0.5, beta=2.0)


def _clip(net: Net, lo: float, hi: float) -> Net:
    return net.op("Clip", net.const(lo), net.const(hi))


LAYERS = [*_quantizers(), *_scales(), *_boundaries(), *_arithmetic(), *_functions()]
