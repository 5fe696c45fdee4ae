"""Small float nets with random weights, and samples for them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.models import model


def node(op_type: str, inputs: Sequence[str], output: str, **attributes: object) -> onnx.NodeProto:
    """A node named as its output."""
    return helper.make_node(op_type, list(inputs), [output], name=output, **attributes)


def normal(rng: np.random.Generator, *shape: int, scale: float | None = None) -> np.ndarray:
    """Weights whose products keep the size of what they are multiplied by."""
    fan = int(np.prod(shape[1:])) or 1
    return (rng.normal(size=shape) * (scale or np.sqrt(2 / fan))).astype(np.float32)


def images(count: int = 48, *, channels: int = 2, size: int = 6, seed: int = 3) -> np.ndarray:
    """Smooth random images from 0 on."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(count, channels, size, size))
    smooth = noise + np.roll(noise, 1, 2) + np.roll(noise, 1, 3) + np.roll(noise, (1, 1), (2, 3))
    return np.maximum(smooth, 0).astype(np.float32)


def residual(*, batch: int | str = "N", opset: int = 17, channels: int = 4, seed: int = 0) -> onnx.ModelProto:
    """Conv, BatchNormalization, Relu, a residual block, pooling, Gemm: 2 x 6 x 6 in, 5 out."""
    rng = np.random.default_rng(seed)
    c = channels
    nodes = [
        node("Conv", ["x", "w0"], "c0", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["c0", "g", "b", "m", "v"], "n0"),
        node("Relu", ["n0"], "r0"),
        node("Conv", ["r0", "w1", "b1"], "c1", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Relu", ["c1"], "r1"),
        node("Conv", ["r1", "w2", "b2"], "c2", kernel_shape=[1, 1]),
        node("Add", ["c2", "r0"], "a"),
        node("Relu", ["a"], "r2"),
        node("GlobalAveragePool", ["r2"], "p"),
        node("Flatten", ["p"], "f"),
        node("Gemm", ["f", "w3", "b3"], "y", transB=1),
    ]
    constants = {
        "w0": normal(rng, c, 2, 3, 3),
        "g": rng.uniform(0.5, 1.5, c).astype(np.float32),
        "b": normal(rng, c, scale=0.1),
        "m": normal(rng, c, scale=0.1),
        "v": rng.uniform(0.5, 1.5, c).astype(np.float32),
        "w1": normal(rng, c, c, 3, 3),
        "b1": normal(rng, c, scale=0.1),
        "w2": normal(rng, c, c, 1, 1),
        "b2": normal(rng, c, scale=0.1),
        "w3": normal(rng, 5, c),
        "b3": normal(rng, 5, scale=0.1),
    }
    return model(nodes, constants, inputs={"x": [batch, 2, 6, 6]}, outputs=["y"], opset=opset, imports={"": opset})


def depthwise(*, seed: int = 0) -> onnx.ModelProto:
    """An inverted residual with a depthwise convolution of stride 2, Relu6 and a transposed convolution."""
    rng = np.random.default_rng(seed)
    nodes = [
        node("Conv", ["x", "w0"], "c0", kernel_shape=[1, 1]),
        node("Clip", ["c0", "zero", "six"], "r0"),
        node("Conv", ["r0", "w1"], "c1", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2], group=6),
        node("Clip", ["c1", "zero", "six"], "r1"),
        node("Conv", ["r1", "w2"], "c2", kernel_shape=[1, 1]),
        node("ConvTranspose", ["c2", "w3", "b3"], "t", kernel_shape=[2, 2], strides=[2, 2], group=2),
        node("Add", ["t", "c0"], "a"),
        node("Concat", ["a", "r0"], "y", axis=1),
    ]
    constants = {
        "zero": np.float32(0),
        "six": np.float32(6),
        "w0": normal(rng, 6, 2, 1, 1),
        "w1": normal(rng, 6, 1, 3, 3),
        "w2": normal(rng, 4, 6, 1, 1),
        "w3": normal(rng, 4, 3, 2, 2, scale=0.5),
        "b3": normal(rng, 6, scale=0.1),
    }
    return model(nodes, constants, inputs={"x": ["N", 2, 6, 6]}, outputs=["y"], opset=17, imports={"": 17})


def squeezed(*, seed: int = 0) -> onnx.ModelProto:
    """A convolution with a block of squeeze and excitation behind it, as MobileNetV3 has them."""
    rng = np.random.default_rng(seed)
    nodes = [
        node("Conv", ["x", "w0", "b0"], "c0", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("HardSwish", ["c0"], "h"),
        node("GlobalAveragePool", ["h"], "p"),
        node("Conv", ["p", "w1", "b1"], "c1", kernel_shape=[1, 1]),
        node("Relu", ["c1"], "r1"),
        node("Conv", ["r1", "w2", "b2"], "c2", kernel_shape=[1, 1]),
        node("HardSigmoid", ["c2"], "g", alpha=1 / 6, beta=0.5),
        node("Mul", ["h", "g"], "m"),
        node("Conv", ["m", "w3"], "y", kernel_shape=[3, 3], group=2),
    ]
    constants = {
        "w0": normal(rng, 8, 2, 3, 3),
        "b0": normal(rng, 8, scale=0.1),
        "w1": normal(rng, 4, 8, 1, 1),
        "b1": normal(rng, 4, scale=0.1),
        "w2": normal(rng, 8, 4, 1, 1),
        "b2": normal(rng, 8, scale=0.1),
        "w3": normal(rng, 6, 4, 3, 3),
    }
    return model(nodes, constants, inputs={"x": ["N", 2, 6, 6]}, outputs=["y"], opset=17, imports={"": 17})


def attention(*, seed: int = 0, opset: int = 17, features: int = 8) -> onnx.ModelProto:
    """A block of self-attention with LayerNormalization over sequences of any length, so many features."""
    rng, n, m = np.random.default_rng(seed), features, 2 * features
    nodes = [
        node("LayerNormalization", ["x", "g1", "h1"], "n1", axis=-1),
        *(node("MatMul", ["n1", f"w{p}"], f"m{p}") for p in "qkv"),
        *(node("Add", [f"m{p}", f"b{p}"], p) for p in "qkv"),
        node("Transpose", ["k"], "kt", perm=[0, 2, 1]),
        node("MatMul", ["q", "kt"], "s"),
        node("Mul", ["s", "root"], "ss"),
        node("Softmax", ["ss"], "p", axis=-1),
        node("MatMul", ["p", "v"], "o"),
        node("MatMul", ["o", "wo"], "oo"),
        node("Add", ["oo", "x"], "h"),
        node("LayerNormalization", ["h", "g2", "h2"], "n2", axis=-1),
        node("MatMul", ["n2", "w1"], "f1"),
        node("Add", ["b1", "f1"], "f1b"),
        node("Relu", ["f1b"], "f2"),
        node("MatMul", ["f2", "w2"], "f3"),
        node("Add", ["f3", "h"], "y"),
    ]
    constants = {f"w{p}": normal(rng, n, n, scale=1 / np.sqrt(n)) for p in "qkvo"}
    constants |= {f"b{p}": normal(rng, n, scale=0.1) for p in "qkv"}
    constants |= {"w1": normal(rng, n, m, scale=1 / np.sqrt(n)), "b1": normal(rng, m, scale=0.1)}
    constants |= {"w2": normal(rng, m, n, scale=1 / np.sqrt(m)), "root": np.float32(0.35)}
    constants |= {g: np.ones(n, np.float32) for g in ("g1", "g2")}
    constants |= {h: np.zeros(n, np.float32) for h in ("h1", "h2")}
    return model(nodes, constants, inputs={"x": ["N", "T", n]}, outputs=["y"], opset=opset, imports={"": opset})


def recurrent(*, seed: int = 0) -> onnx.ModelProto:
    """An LSTM of both directions over five steps of 6 features, and a product behind it."""
    rng = np.random.default_rng(seed)
    nodes = [
        node("Transpose", ["x"], "xt", perm=[1, 0, 2]),
        helper.make_node("LSTM", ["xt", "w", "r", "b"], ["h"], name="lstm", hidden_size=4, direction="bidirectional"),
        node("ReduceMean", ["h"], "hm", axes=[0, 1], keepdims=0),
        node("MatMul", ["hm", "wo"], "y"),
    ]
    constants = {
        "w": normal(rng, 2, 16, 6, scale=0.4),
        "r": normal(rng, 2, 16, 4, scale=0.4),
        "b": normal(rng, 2, 32, scale=0.1),
        "wo": normal(rng, 4, 3),
    }
    return model(nodes, constants, inputs={"x": ["N", 5, 6]}, outputs=["y"], opset=17, imports={"": 17})


def outputs_of(proto: onnx.ModelProto) -> list[str]:
    """Names of the outputs."""
    return [o.name for o in proto.graph.output]


__all__ = ["TensorProto", "attention", "depthwise", "images", "outputs_of", "recurrent", "residual", "squeezed"]
