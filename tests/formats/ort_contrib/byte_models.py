"""Models of operators on bytes, as other tools write them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import helper

from tests.models import model
from tests.strategies import Array, seeds


@dataclass
class Bytes:
    """A model that is built node by node; the last tensor is one of bytes, or of real numbers at the end."""

    rng: np.random.Generator
    shape: tuple[int, ...]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    current: str = "x"
    zero: Array = field(default_factory=lambda: np.asarray(0, np.uint8))

    def constant(self, array: Any) -> str:
        """A new constant."""
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(array)
        return name

    def add(self, op_type: str, *inputs: str, domain: str = "", **attributes: Any) -> None:
        """A node behind the last one."""
        name = f"t{len(self.nodes)}"
        node = helper.make_node(op_type, [self.current, *inputs], [name], name=f"{name}_node", **attributes)
        node.domain = domain
        self.nodes.append(node)
        self.current = name

    def scale(self, *shape: int) -> str:
        """Arbitrary scales."""
        return self.constant(self.rng.uniform(0.01, 0.2, shape).astype(np.float32))

    def zero_point(self, dtype: Any) -> str:
        """A zero point, for now on that of the last tensor."""
        info = np.iinfo(dtype)
        self.zero = np.asarray(self.rng.choice([0, 3, int(info.max + info.min + 1) // 2]), dtype)
        return self.constant(self.zero)

    def quantise(self, dtype: Any) -> None:
        """A QuantizeLinear."""
        self.add("QuantizeLinear", self.scale(), self.zero_point(dtype))

    def dequantise(self) -> None:
        """A DequantizeLinear."""
        self.add("DequantizeLinear", self.scale(), self.constant(self.zero))

    def weights(self, *shape: int, dtype: Any, channels: int, factor: float = 1.0) -> list[str]:
        """Stored weights, their scale and their zero point."""
        info = np.iinfo(dtype)
        array = self.rng.integers(int(info.min * factor), int(info.max * factor) + 1, shape).astype(dtype)
        size = (channels,) if self.rng.integers(2) else ()
        zero = self.rng.integers(-2, 3) if dtype is np.int8 else 128
        return [self.constant(array), self.scale(*size), self.constant(np.full(size, zero, dtype))]

    def proto(self) -> onnx.ModelProto:
        """The model."""
        last = helper.make_node("Identity", [self.current], ["y"])
        return model([*self.nodes, last], self.constants, inputs={"x": list(self.shape)}, outputs=["y"], opset=13,
                     imports={"": 13, "com.microsoft": 1})  # fmt: skip

    @property
    def x(self) -> Array:
        """Inputs over the range of the bytes and beyond."""
        return (self.rng.normal(size=self.shape) * 10).astype(np.float32)


@st.composite
def quantized_nets(draw: st.DrawFn) -> Bytes:
    """QuantizeLinear, QLinearConv, operators that move or clip, QLinearMatMul, DequantizeLinear."""
    net = Bytes(np.random.default_rng(draw(seeds)), (2, 3, 6, 5))
    # u8 x s8 and u8 x u8 alone: ONNX Runtime has no QLinearConv of signed activations and unsigned weights.
    net.quantise(np.uint8)
    given_zero = net.constant(net.zero)
    weights = net.weights(4, 3, 3, 3, dtype=draw(st.sampled_from([np.int8, np.uint8])), channels=4)
    x_scale, y_scale = net.scale(), net.constant(np.float32(net.rng.uniform(0.5, 5)))
    bias = net.constant(net.rng.integers(-3000, 3000, 4).astype(np.int32))
    net.add("QLinearConv", x_scale, given_zero, *weights, y_scale, net.zero_point(np.uint8), bias, pads=[1, 0, 1, 1])
    for kind in draw(st.lists(st.sampled_from(["Clip", "MaxPool"]), max_size=2)):
        if kind == "Clip":
            net.add("Clip", net.constant(np.uint8(5)), net.constant(np.uint8(200)))
        else:
            net.add("MaxPool", kernel_shape=[2, 2])
    if draw(st.booleans()):
        own, matrix = net.constant(net.zero), net.constant(np.array([2, 4, -1]))
        net.add("Reshape", matrix)
        net.add("Transpose", perm=[0, 2, 1])
        parameters = net.weights(4, 3, dtype=np.int8, channels=3)
        net.add("QLinearMatMul", net.scale(), own, *parameters, y_scale, net.zero_point(np.uint8))
    net.dequantise()
    return net


@st.composite
def integer_nets(draw: st.DrawFn) -> Bytes:
    """QuantizeLinear, ConvInteger or MatMulInteger, Cast, Mul."""
    is_conv = draw(st.booleans())
    net = Bytes(np.random.default_rng(draw(seeds)), (2, 3, 6, 5) if is_conv else (2, 4, 7))
    net.quantise(np.uint8)
    zero = net.constant(net.zero)
    if is_conv:
        weights, _, _ = net.weights(4, 3, 3, 3, dtype=draw(st.sampled_from([np.int8, np.uint8])), channels=4)
        rest = [zero] if net.zero else []
        net.add("ConvInteger", weights, *rest, pads=[1, 0, 1, 1])
    else:
        # Within 7 bits: beyond, ONNX Runtime's MatMulInteger saturates sums of pairs on processors without VNNI.
        weights, _, w_zero = net.weights(7, 5, dtype=np.int8, channels=5, factor=0.49)
        net.add(
            "MatMulInteger",
            weights,
            *draw(st.sampled_from([[zero], [zero, w_zero]] if net.zero else [[], [zero, w_zero]])),
        )
    net.add("Cast", to=1)
    net.add("Mul", net.scale(*((4, 1, 1) if is_conv else (5,))))
    return net
