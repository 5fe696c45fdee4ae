"""Small quantised nets whose products are exact in float32, so that every engine must give the same levels."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from hypothesis import strategies as st
from onnx import TensorProto, helper

import anybit
from anybit.analysis.values.interpreter import values_of
from anybit.exact.integer_layers import IntegerLayer, find_layers
from anybit.formats.convert import translate
from anybit.formats.dialect import Outcome
from tests.formats.qdq.linear_models import assert_equal, loaded, onnxruntime_outputs, operators
from tests.models import model, parameters, quant
from tests.strategies import MODES, Array, seeds

OUTPUT_WIDTHS = (1, 2, 3, 4, 6, 8)


@dataclass(repr=False)
class Net:
    """A model that is built node by node, and what it is fed."""

    rng: np.random.Generator
    shape: tuple[int, ...]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    current: str = "x"
    x: Array | None = None

    def add(self, op_type: str, *constants: Any, **attributes: Any) -> None:
        """A node behind the last one."""
        name = f"t{len(self.nodes)}"
        inputs = [self.current]
        for i, array in enumerate(constants):
            self.constants[f"{name}_{i}"] = np.asarray(array)
            inputs.append(f"{name}_{i}")
        self.nodes.append(helper.make_node(op_type, inputs, [name], name=f"{name}_node", **attributes))
        self.current = name

    def quantise(self, *, bits: int, scale: Any, zeropt: Any = 0.0, **attributes: Any) -> None:
        """A Quant behind the last node."""
        name = f"t{len(self.nodes)}"
        self.nodes.append(quant(self.current, name, **attributes))
        self.constants |= parameters(name, scale=scale, zeropt=zeropt, bits=float(bits))
        self.current = name

    def weights(self, *shape: int, bits: int, scale: Any, narrow: int = 0) -> str:
        """Quantised weights, all integers of the grid about equally often."""
        name = f"w{len(self.nodes)}"
        integers = self.rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), shape)
        self.constants[name] = (integers * np.asarray(scale)).astype(np.float32)
        self.nodes.append(quant(name, f"{name}q", narrow=narrow))
        self.constants |= parameters(f"{name}q", scale=scale, bits=float(bits))
        return f"{name}q"

    def product(self, op_type: str, *inputs: str, **attributes: Any) -> None:
        """Conv, Gemm or MatMul of the last tensor and weights."""
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, [self.current, *inputs], [name], name=f"{name}_node", **attributes))
        self.current = name

    def by_channel(self, array: Any, *, axis: int, rank: int) -> Array:
        """Numbers by channel as they broadcast."""
        flat = np.asarray(array, np.float32).reshape(-1)
        return flat.reshape(-1, *(1,) * (rank - 1 - axis))

    def proto(self, *, opset: int = 13) -> onnx.ModelProto:
        """The model; its output is the last tensor."""
        last = helper.make_node("Identity", [self.current], ["y"], name="last")
        return model([*self.nodes, last], self.constants, inputs={"x": list(self.shape)}, outputs=["y"], opset=opset)


def power(rng: np.random.Generator, *shape: int) -> Array:
    """Powers of two: products with them are exact."""
    return np.exp2(rng.integers(-4, 2, shape)).astype(np.float32)


def _tail(net: Net, draw: st.DrawFn, channels: int, axis: int, rank: int) -> None:
    kinds = draw(st.lists(st.sampled_from(["affine", "norm", "Relu", "leaky", "flip", "Abs"]), max_size=2))
    if "Abs" in kinds and draw(st.integers(0, 3)):
        kinds = [k for k in kinds if k != "Abs"]
    rng = net.rng
    for kind in kinds:
        match kind:
            case "affine":
                factor = rng.choice([-1.5, 0.3, 0.7, 1.1, 2.0], channels)
                net.add("Mul", net.by_channel(factor, axis=axis, rank=rank))
                net.add("Add", net.by_channel(rng.normal(size=channels), axis=axis, rank=rank))
            case "norm" if axis == 1:
                gamma = rng.choice([-1.3, 0.4, 1.0, 0.0], channels)
                terms = (gamma, rng.normal(size=channels), rng.normal(size=channels), rng.uniform(0.1, 2, channels))
                net.add("BatchNormalization", *(t.astype(np.float32) for t in terms))
            case "leaky":
                net.add("LeakyRelu", alpha=0.25)
            case "flip":
                net.add("Neg")
            case "Relu" | "Abs":
                net.add(kind)
            case _:
                net.add("Identity")


def _output(net: Net, draw: st.DrawFn, channels: int, axis: int, rank: int, *, exact: bool) -> None:
    bits = draw(st.sampled_from(OUTPUT_WIDTHS))
    signed, narrow = draw(st.sampled_from((0, 1))), draw(st.sampled_from((0, 1)))
    rng = net.rng
    by_channel = draw(st.booleans()) and not exact
    size = channels if by_channel else 1
    scale = power(rng, size) if exact or draw(st.booleans()) else rng.uniform(0.02, 1.5, size).astype(np.float32)
    zeropt = draw(st.sampled_from((0.0, 0.0, 0.0, 1.0, 2.0, -3.0)))
    scale = net.by_channel(scale, axis=axis, rank=rank) if by_channel else scale[0]
    mode = draw(st.sampled_from(MODES)) if draw(st.booleans()) else "ROUND"
    net.quantise(bits=bits, scale=scale, zeropt=zeropt, signed=signed, narrow=narrow if bits > 1 else 0,
                 rounding_mode=mode)  # fmt: skip


def _input(net: Net, draw: st.DrawFn, *, widths: tuple[int, ...]) -> tuple[int, int, float]:
    bits, signed = draw(st.sampled_from(widths)), draw(st.sampled_from((0, 1)))
    scale = float(power(net.rng, 1)[0])
    net.quantise(bits=bits, scale=scale, signed=signed)
    return bits, signed, scale


def _grid(bits: int, signed: int) -> Array:
    if signed and bits == 1:
        return np.array([-1, 1])
    return np.arange(2**bits) - (2 ** (bits - 1) if signed else 0)


@st.composite
def mlps(draw: st.DrawFn) -> Net:
    """One matrix product of few inputs, fed with all inputs that there are."""
    net = Net(np.random.default_rng(draw(seeds)), ())
    terms, channels = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    bits, signed, scale = _input(net, draw, widths=(1, 2, 3))
    combinations = list(itertools.product(_grid(bits, signed), repeat=terms))
    net.x = (np.array(combinations) * scale).astype(np.float32)
    net.shape = net.x.shape
    kind = draw(st.sampled_from(["MatMul", "Gemm", "transposed", "cube"]))
    w_bits = draw(st.sampled_from((1, 2, 3, 4, 8)))
    size = channels if draw(st.booleans()) else 1
    w_scale = power(net.rng, size)
    if kind == "cube":
        net.x = net.x.reshape(-1, 1, terms)
        net.shape = net.x.shape
    if kind == "transposed":
        weights = net.weights(channels, terms, bits=w_bits, scale=w_scale[:, None])
        net.constants["bias"] = net.rng.normal(size=channels).astype(np.float32)
        net.product("Gemm", weights, "bias", transB=1, alpha=draw(st.sampled_from((1.0, 0.5, -2.0))))
    else:
        weights = net.weights(terms, channels, bits=w_bits, scale=w_scale)
        net.product("Gemm" if kind == "Gemm" else "MatMul", weights)
    rank = len(net.shape)
    _tail(net, draw, channels, rank - 1, rank)
    _output(net, draw, channels, rank - 1, rank, exact=False)
    return net


@st.composite
def convnets(draw: st.DrawFn) -> Net:
    """A convolution of any kind, operators that move elements, perhaps a residual, and a second product."""
    rng = np.random.default_rng(draw(seeds))
    groups, per_group = draw(st.sampled_from([(1, 2), (1, 3), (2, 1), (2, 2), (4, 1)]))
    spatial = draw(st.sampled_from([(4, 4), (5, 3), (6,)]))
    net = Net(rng, (3, groups * per_group, *spatial))
    rank = len(net.shape)
    bits, signed, scale = _input(net, draw, widths=(1, 2, 4, 8))
    grid = _grid(bits, signed)
    net.x = (rng.choice(grid, net.shape) * scale).astype(np.float32)
    multiple = draw(st.sampled_from((1, 2)))
    channels, taps = groups * multiple, draw(st.sampled_from((1, 3)))
    w_scale = power(rng, channels if draw(st.booleans()) else 1).reshape(-1, *(1,) * (rank - 1))
    weights = net.weights(channels, per_group, *(taps,) * len(spatial), bits=draw(st.sampled_from((1, 2, 4, 8))),
                          scale=w_scale, narrow=0)  # fmt: skip
    inputs = [weights]
    if draw(st.booleans()):
        net.constants["bias"] = rng.normal(size=channels).astype(np.float32)
        inputs.append("bias")
    pads = draw(st.sampled_from((0, 1)))
    net.product("Conv", *inputs, group=groups, kernel_shape=[taps] * len(spatial),
                pads=[pads] * 2 * len(spatial), strides=[draw(st.sampled_from((1, 2)))] * len(spatial))  # fmt: skip
    _tail(net, draw, channels, 1, rank)
    second = draw(st.booleans())
    _output(net, draw, channels, 1, rank, exact=second)
    if second:
        _second(net, draw, channels, rank)
    return net


def _second(net: Net, draw: st.DrawFn, channels: int, rank: int) -> None:
    move = draw(st.sampled_from(["pool", "flat", "depthwise", "none"]))
    if move == "pool":
        net.add("MaxPool", kernel_shape=[2] * (rank - 2), strides=[1] * (rank - 2), pads=[1] * 2 * (rank - 2))
    if move == "flat":
        net.add("GlobalAveragePool")
    groups = channels if move == "depthwise" else 1
    weights = net.weights(channels, channels // groups, *(1,) * (rank - 2), bits=3, scale=np.float32(0.5))
    net.product("Conv", weights, group=groups)
    net.add("Relu")
    _output(net, draw, channels, 1, rank, exact=False)


def layer_of(proto: onnx.ModelProto) -> IntegerLayer:
    """The only integer layer of a model."""
    hub = loaded(proto)
    layers, refusals = find_layers(hub, values_of(hub))
    assert not refusals, refusals
    (layer,) = layers
    return layer


def assert_same_results(hub: onnx.ModelProto, written: ir.Model, x: Array) -> None:
    """The reference's results of the hub model, from ONNX Runtime, and from the reference, for the written one."""
    expected = anybit.Session(hub, engine="reference").run(x)
    proto = anybit.to_proto(written)
    if {n.domain for n in proto.graph.node} == {""}:
        onnx.checker.check_model(proto, full_check=True)
        assert_equal(expected, onnxruntime_outputs(proto, {"x": x}))
    else:
        assert_equal(expected, anybit.Session(written, engine="onnxruntime").run(x))
    assert_equal(expected, anybit.Session(written, engine="reference").run(x))


def assert_exact_both_ways(
    net: Net, write: Callable[[ir.Model], Outcome], op_types: Collection[str]
) -> tuple[list[str], list[str]]:
    """Writes a net and reads it back, the same results each time; its operators when written, and what was refused."""
    hub = net.proto()
    target = loaded(hub)
    outcome = write(target)
    assert_same_results(hub, target, net.x)
    back = translate(target, "qonnx")
    assert not set(op_types) & set(operators(back.model)), back.refusals
    assert_same_results(hub, back.model, net.x)
    return operators(target), [r.problem for r in outcome.refusals]


def integer_types(written: ir.Model, *op_types: str) -> set[int]:
    """Element types of the first inputs of these operators."""
    proto = onnx.shape_inference.infer_shapes(anybit.to_proto(written))
    types = {v.name: v.type.tensor_type.elem_type for v in (*proto.graph.value_info, *proto.graph.input)}
    return {types.get(n.input[0], TensorProto.UNDEFINED) for n in proto.graph.node if n.op_type in op_types}
