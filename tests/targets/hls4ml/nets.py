"""Net: small models for hls4ml, one layer after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper

from tests.models import model, parameters, quant


class Net:
    """A chain of layers on the input x; `at` is the tensor that the next one reads, to be set for a fork."""

    def __init__(self, *shape: int, seed: int = 0) -> None:
        self.shape = shape
        self.at = "x"
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, np.ndarray] = {}
        self.random = np.random.default_rng(seed)
        self.outputs: tuple[str, ...] = ()
        self._count = 0

    def name(self, kind: str) -> str:
        self._count += 1
        return f"{kind}{self._count}"

    def const(self, array: Any, dtype: Any = np.float32) -> str:
        name = self.name("c")
        self.initializers[name] = np.asarray(array, dtype)
        return name

    def op(self, op_type: str, *operands: str, domain: str = "", **attributes: Any) -> Net:
        y = self.name(op_type.lower())
        self.nodes.append(
            helper.make_node(op_type, [self.at, *operands], [y], name=f"n_{y}", domain=domain, **attributes)
        )
        self.at = y
        return self

    def quant(self, scale: Any = 0.25, zeropt: Any = 0.0, bits: Any = 4, **attributes: Any) -> Net:
        y = self.name("q")
        self.nodes.append(quant(self.at, y, **attributes))
        self.initializers |= parameters(y, scale=scale, zeropt=zeropt, bits=float(bits))
        self.at = y
        return self

    def bipolar(self, scale: Any = 1.0) -> Net:
        return self.op("BipolarQuant", self.const(scale), domain="qonnx.custom_op.general")

    def weights(self, shape: tuple[int, ...], scale: Any = 0.125, bits: int = 4, **attributes: Any) -> str:
        """A quantiser of normally distributed weights; bits = 0: BipolarQuant; bits = None: none."""
        before = self.at
        self.at = self.const(self.random.normal(size=shape) * np.asarray(scale) * 2.0 ** max((bits or 2) - 2, 0))
        if bits == 0:
            self.bipolar(scale)
        elif bits is not None:
            self.quant(scale, bits=bits, **attributes)
        made, self.at = self.at, before
        return made

    def dense(self, n_in: int, n_out: int, scale: Any = 0.125, bits: int = 4, **attributes: Any) -> Net:
        return self.op("MatMul", self.weights((n_in, n_out), scale, bits, **attributes))

    def conv(self, c_in: int, c_out: int, scale: Any = 0.125, bits: int = 4, kernel: Any = (3, 3), **given: Any) -> Net:
        names = ("pads", "strides", "group", "dilations", "auto_pad")
        attributes = {"kernel_shape": list(kernel), **{n: given.pop(n) for n in names if n in given}}
        bias = [self.const(self.random.normal(size=c_out))] if given.pop("bias", False) else []
        shape = (c_out, c_in // attributes.get("group", 1), *kernel)
        return self.op("Conv", self.weights(shape, scale, bits, **given), *bias, **attributes)

    def norm(self, channels: int, *, negative: bool = False) -> Net:
        gamma = self.random.uniform(0.5, 2, channels) * (self.random.choice([-1, 1], channels) if negative else 1)
        beta, mean = self.random.normal(size=(2, channels))
        variance = self.random.uniform(0.5, 2, channels)
        return self.op("BatchNormalization", *(self.const(v) for v in (gamma, beta, mean, variance)))

    def add(self, other: str, op_type: str = "Add") -> Net:
        return self.op(op_type, other)

    def proto(self, *outputs: str, batch: int = 1, opset: int = 13) -> onnx.ModelProto:
        shape = {"x": [batch, *self.shape]}
        return model(self.nodes, self.initializers, inputs=shape, outputs=outputs or (self.at,), opset=opset)

    def feed(self, samples: int = 64, step: float = 0.125, reach: float = 3.0) -> np.ndarray:
        """Inputs half of which lie on multiples of `step`: on values, ties and beyond the bounds of quantisers."""
        drawn = self.random.uniform(-reach, reach, (samples, *self.shape))
        ties = np.rint(drawn / step) * step if step else drawn
        return np.where(self.random.random(drawn.shape) < 0.5, ties, drawn).astype(np.float32)


def then(net: Net, op_type: str, operand: Any) -> Net:
    """The net, and ``op_type(y, operand)`` behind it."""
    return net.op(op_type, net.const(operand))


def flipped(net: Net, op_type: str, operand: Any) -> Net:
    """The net, and ``op_type(operand, y)`` behind it."""
    at, net.at = net.at, net.const(operand)
    return net.op(op_type, at)
