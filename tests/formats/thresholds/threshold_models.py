"""Models of one integer layer, each with a few features that thresholds have to get right."""

from __future__ import annotations

from dataclasses import dataclass

import hypothesis.strategies as st
import numpy as np
import onnx
from onnx import helper

from tests.models import DOMAIN, model, parameters, quant

MODES = ("ROUND", "FLOOR", "CEIL", "UP", "DOWN", "HALF_UP", "HALF_DOWN")
RISING = ("", "Relu", "LeakyRelu", "Sigmoid", "Tanh", "Selu", "HardSigmoid", "Clip", "Neg")
SHAPES = {"matmul": (5,), "gemm": (5,), "conv": (4, 6, 6), "depthwise": (4, 6, 6)}
_CHANNELS = 4


@dataclass(frozen=True)
class Layer:
    """Quant, product, Add, BatchNormalization, activation, pooling, Quant."""

    seed: int
    product: str
    bits: int
    signed: bool
    narrow: bool
    zero_point: int
    mode: str
    bipolar_input: bool
    bipolar_weights: bool
    bias: bool
    norm: bool
    activation: str
    pool: str
    out_bits: int
    out_signed: bool
    out_zero_point: int
    out_mode: str
    per_channel: bool
    bipolar_output: bool
    scale: float


def layers() -> st.SearchStrategy[Layer]:
    """All features at once."""
    modes = st.sampled_from(MODES)
    return st.builds(
        Layer,
        seed=st.integers(0, 1 << 16),
        product=st.sampled_from(sorted(SHAPES)),
        bits=st.integers(2, 5),
        signed=st.booleans(),
        narrow=st.booleans(),
        zero_point=st.integers(-3, 3),
        mode=modes,
        bipolar_input=st.booleans(),
        bipolar_weights=st.booleans(),
        bias=st.booleans(),
        norm=st.booleans(),
        activation=st.sampled_from(RISING),
        pool=st.sampled_from(("", "MaxPool", "AveragePool", "Flatten")),
        out_bits=st.integers(1, 4),
        out_signed=st.booleans(),
        out_zero_point=st.integers(-2, 2),
        out_mode=modes,
        per_channel=st.booleans(),
        bipolar_output=st.booleans(),
        scale=st.sampled_from((0.5, 0.25, 0.3, 0.1)),
    )


def model_of(layer: Layer) -> onnx.ModelProto:
    """The model: input x, output y, whose channels are read by a second product."""
    generator = np.random.default_rng(layer.seed)
    constants: dict[str, np.ndarray] = {}
    nodes = [_input(layer, constants), *_weights(layer, generator, constants), _product(layer, generator, constants)]
    names = iter(f"t{i}" for i in range(9))
    last = "sums"

    def add(op_type: str, *inputs: str, **attributes) -> None:
        nonlocal last
        output = next(names)
        nodes.append(helper.make_node(op_type, [last, *inputs], [output], name=f"{output}_node", **attributes))
        last = output

    is_image = len(SHAPES[layer.product]) > 1
    if layer.norm:
        for name in ("gamma", "beta", "mean", "var"):
            constants[name] = generator.normal(size=_CHANNELS).astype(np.float32)
        constants["var"] = np.abs(constants["var"]) + np.float32(0.1)
        add("BatchNormalization", "gamma", "beta", "mean", "var")
    if layer.activation == "Clip":
        constants |= {"clip_lo": np.float32(-1.0), "clip_hi": np.float32(1.5)}
        add("Clip", "clip_lo", "clip_hi")
    elif layer.activation:
        add(layer.activation)
    if layer.pool == "MaxPool" and is_image:
        add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    if layer.pool == "Flatten" and is_image and not layer.per_channel:
        add("Flatten")
    nodes.append(_output(layer, last, generator, constants, is_image=is_image))
    if layer.pool == "AveragePool" and is_image:
        nodes[-1].output[0] = "levels"
        nodes.append(helper.make_node("AveragePool", ["levels"], ["mean_y"], kernel_shape=[2, 2], strides=[2, 2]))
        constants |= {f"trunc_{k}": np.float32(v) for k, v in (("in", 8), ("out", 6))}
        scale = "y_scale" if layer.bipolar_output else "q_scale"
        constants["trunc_scale"] = np.float32(np.max(constants[scale]) / 4)
        constants["trunc_zero"] = np.float32(0)
        nodes.append(
            helper.make_node(
                "Trunc",
                ["mean_y", "trunc_scale", "trunc_zero", "trunc_in", "trunc_out"],
                ["y"],
                domain=DOMAIN,
                rounding_mode=layer.out_mode,
            )
        )
    return model(nodes, constants, inputs={"x": (1, *SHAPES[layer.product])}, outputs=["y"], opset=17)


def _input(layer: Layer, constants: dict[str, np.ndarray]) -> onnx.NodeProto:
    scale = 0.5 if layer.bipolar_output else layer.scale  # sums of 0 are a boundary, which float64 must not round
    if layer.bipolar_input:
        constants["xq_scale"] = np.float32(scale)
        return helper.make_node("BipolarQuant", ["x", "xq_scale"], ["xq"], domain=DOMAIN)
    constants |= parameters("xq", scale=scale, zeropt=float(layer.zero_point), bits=float(layer.bits))
    return quant("x", "xq", signed=int(layer.signed), narrow=int(layer.narrow), rounding_mode=layer.mode)


def _weights(layer: Layer, generator: np.random.Generator, constants: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
    shape = {"matmul": (5, 4), "gemm": (4, 5), "conv": (4, 4, 3, 3), "depthwise": (4, 1, 3, 3)}[layer.product]
    constants["w"] = generator.normal(size=shape).astype(np.float32)
    if layer.bipolar_weights:
        constants["wq_scale"] = np.float32(0.125)
        return [helper.make_node("BipolarQuant", ["w", "wq_scale"], ["wq"], domain=DOMAIN)]
    axis = 1 if layer.product == "matmul" else 0
    scale = generator.uniform(0.1, 0.5, [n if i == axis else 1 for i, n in enumerate(shape)]).astype(np.float32)
    if layer.bipolar_output:
        scale = np.exp2(np.round(np.log2(scale)))
    constants.update(parameters("wq", scale=scale if layer.per_channel else np.float32(0.25), bits=3.0))
    return [quant("w", "wq", signed=1, narrow=int(layer.narrow))]


def _product(layer: Layer, generator: np.random.Generator, constants: dict[str, np.ndarray]) -> onnx.NodeProto:
    inputs = ["xq", "wq"]
    if layer.bias and layer.product != "matmul":
        constants["bias"] = generator.normal(size=_CHANNELS).astype(np.float32)
        inputs.append("bias")
    if layer.product == "matmul":
        return helper.make_node("MatMul", inputs, ["sums"], name="product")
    if layer.product == "gemm":
        return helper.make_node("Gemm", inputs, ["sums"], name="product", transB=1)
    group = _CHANNELS if layer.product == "depthwise" else 1
    return helper.make_node(
        "Conv", inputs, ["sums"], name="product", group=group, pads=[1, 0, 1, 2], kernel_shape=[3, 3]
    )


def _output(
    layer: Layer, last: str, generator: np.random.Generator, constants: dict[str, np.ndarray], *, is_image: bool
) -> onnx.NodeProto:
    if layer.bipolar_output:
        constants["y_scale"] = np.float32(0.5)
        return helper.make_node("BipolarQuant", [last, "y_scale"], ["y"], name="y_node", domain=DOMAIN)
    shape = (1, _CHANNELS, 1, 1) if is_image else (1, _CHANNELS)
    by_channel = layer.per_channel and layer.pool != "AveragePool"
    scale = generator.uniform(0.05, 0.4, shape).astype(np.float32) if by_channel else np.float32(layer.scale / 2)
    zero_point = 0.0 if layer.out_bits == 1 and layer.out_signed else float(layer.out_zero_point)
    constants.update(parameters("q", scale=scale, zeropt=zero_point, bits=float(layer.out_bits)))
    return quant(last, "y", prefix="q", signed=int(layer.out_signed), narrow=0, rounding_mode=layer.out_mode)


def rows_for(layer: Layer, count: int) -> np.ndarray:
    """Inputs on half steps of the input's grid, where every rounding mode shows, and at random."""
    generator = np.random.default_rng(layer.seed + 1)
    shape = (count, *SHAPES[layer.product])
    ties = generator.integers(-12, 13, shape) * (layer.scale / 2)
    return np.where(generator.random(shape) < 0.5, ties, generator.normal(size=shape)).astype(np.float32)
