"""Random quantised networks whose scales are powers of two: every sum of theirs is exact in float."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper

from tests.models import model, parameters, quant


@dataclass
class Net:
    """A graph that grows."""

    rng: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    count: int = 0

    def fresh(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.count}"

    def constant(self, value: Any) -> str:
        name = self.fresh("c")
        self.constants[name] = np.asarray(value, np.float32)
        return name

    def add(self, op_type: str, inputs: list[str], **attributes: Any) -> str:
        output = self.fresh("t")
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=f"{output}_node", **attributes))
        return output

    def quantize(
        self, x: str, *, scale: float = 0.25, bits: float = 4, signed: int = 1, zeropt: float = 0, **attributes: Any
    ) -> str:
        output = self.fresh("q")
        self.nodes.append(quant(x, output, signed=signed, **attributes))
        self.constants |= parameters(output, scale=scale, bits=bits, zeropt=zeropt)
        return output

    def weights(self, *shape: int, bits: int) -> str:
        w = self.constant(self.rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), shape) * 0.125)
        return self.quantize(w, scale=0.125, bits=bits)

    def conv(self, x: str, channels: int, outputs: int, size: tuple[int, int]) -> tuple[str, tuple[int, int]]:
        """A convolution of any geometry that fits."""
        rng = self.rng
        kernel = [int(rng.integers(1, min(4, s + 1))) for s in size]
        dilations = [int(rng.integers(1, 3)) if (k - 1) * 2 + 1 <= s else 1 for k, s in zip(kernel, size, strict=True)]
        strides, pads = rng.integers(1, 3, 2), rng.integers(0, 3, 4)
        extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        output = [
            (s + pads[i] + pads[i + 2] - e) // t + 1
            for i, (s, e, t) in enumerate(zip(size, extents, strides, strict=True))
        ]
        group = channels if outputs % channels == 0 and rng.random() < 0.5 else 1
        w = self.weights(outputs, channels // group, *kernel, bits=int(rng.choice([1, 2, 4, 8])))
        y = self.add(
            "Conv",
            [x, w],
            kernel_shape=kernel,
            dilations=dilations,
            strides=strides.tolist(),
            pads=pads.tolist(),
            group=group,
        )
        return y, (int(output[0]), int(output[1]))

    def activation(self, x: str, channels: int, rank: int) -> str:
        """What stands between sums and levels, by channel."""
        along = (channels, *(1,) * (rank - 2))
        for _ in range(int(self.rng.integers(0, 3))):
            match int(self.rng.integers(0, 4)):
                case 0:
                    x = self.add("Mul", [x, self.constant(self.rng.choice([-2, -0.5, 0.25, 1.5], along))])
                case 1:
                    x = self.add("Add", [x, self.constant(self.rng.integers(-8, 8, along) / 8)])
                case 2:
                    x = self.add("Relu", [x])
                case _:
                    parts = [self.constant(self.rng.normal(size=channels)) for _ in range(3)]
                    variance = self.constant(self.rng.uniform(0.1, 4, channels))
                    x = self.add("BatchNormalization", [x, *parts, variance])
        return x

    def levels(self, x: str) -> str:
        """A quantiser of a random kind."""
        match int(self.rng.integers(0, 5)):
            case 0:
                return self.quantize(x, bits=1)
            case 1:
                return self.quantize(x, bits=8, scale=0.5)
            case 2:
                return self.quantize(x, bits=2, scale=2.0, signed=0)
            case 3:
                return self.quantize(x, bits=3, narrow=1, rounding_mode="FLOOR")
            case _:
                return self.quantize(x, bits=4, scale=1.0, zeropt=3.0, signed=0)


def random_net(seed: int) -> onnx.ModelProto:
    """A few convolutions and what may stand between them, then a matrix product."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 9, 3))
    net = Net(rng)
    x = net.quantize("x", scale=0.125, bits=int(rng.choice([2, 4, 8])), zeropt=float(rng.choice([0, 1])))
    current = shape
    for _ in range(int(rng.integers(1, 4))):
        x, current = _block(net, x, current)
    flat = net.add("Flatten", [x])
    outputs = int(rng.integers(1, 20))
    y = net.add("MatMul", [flat, net.weights(int(np.prod(current)), outputs, bits=4)])
    if rng.random() < 0.5:
        y = net.activation(y, outputs, 2)
    return model(net.nodes, net.constants, inputs={"x": ["N", *shape]}, outputs=[y])


def _block(net: Net, x: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    """A convolution, its levels, and perhaps something behind them; with the shape of a sample."""
    rng, (channels, rows, columns) = net.rng, shape
    outputs = int(rng.choice([channels, 2 * channels, 5]))
    y, size = net.conv(x, channels, outputs, (rows, columns))
    y = net.activation(y, outputs, 4)
    if rng.random() < 0.3 and min(size) > 1:
        y = net.add("MaxPool", [y], kernel_shape=[2, 2], strides=[2, 1], pads=[0, 1, 1, 0])
        size = (size[0] + 1 - 2) // 2 + 1, size[1]
    x, channels, (rows, columns) = net.levels(y), outputs, size
    match int(rng.integers(0, 8)):
        case 0:
            return net.levels(net.add("Add", [x, net.quantize(y, bits=3)])), (channels, rows, columns)
        case 1:
            return net.levels(net.add("Mul", [net.quantize(y, bits=3, scale=0.5), x])), (channels, rows, columns)
        case 2:
            total = net.add("Add", [net.quantize(y, bits=2), net.activation(y, channels, 4)])
            return net.levels(total), (channels, rows, columns)
        case 3:
            return net.add("Concat", [x, x], axis=1), (2 * channels, rows, columns)
        case 4:
            mean = net.add("GlobalAveragePool", [x])
            return net.quantize(mean, bits=6, scale=1 / 64, rounding_mode="FLOOR"), (channels, 1, 1)
        case 5:
            return net.add("Transpose", [x], perm=[0, 1, 3, 2]), (channels, columns, rows)
        case 6 if min(rows, columns) > 1:
            return net.add("MaxPool", [x], kernel_shape=[2, 2]), (channels, rows - 1, columns - 1)
        case _:
            return x, (channels, rows, columns)
