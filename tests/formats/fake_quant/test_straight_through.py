"""Quantisers of QKeras as tf2onnx writes them: x + (q(x) - x), with an estimator around the rounding as well."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

import anybit
from anybit.formats.convert import translate
from tests.formats.qdq.linear_models import assert_equal, linear_model, onnxruntime_outputs, operators
from tests.strategies import Array, examples, seeds

_SHAPE = (3, 40)


class Net:
    """A graph of QKeras quantisers, written as TensorFlow computes them."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Any] = {}

    def constant(self, array: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(array, np.float32)
        return name

    def add(self, op_type: str, *inputs: Any) -> str:
        names = [i if isinstance(i, str) else self.constant(i) for i in inputs]
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, names, [name], name=f"{op_type}_{name}"))
        return name

    def passed_through(self, x: str, y: str) -> str:
        return self.add("Add", x, self.add("Add", self.add("Neg", x), y))

    def rounded(self, p: str) -> str:
        return self.passed_through(p, self.add("Round", p))

    def clip(self, x: str, lo: float, hi: float, *, by_clip: bool) -> str:
        return self.add("Clip", x, lo, hi) if by_clip else self.add("Max", self.add("Min", x, hi), lo)

    def bits(self, x: str, bits: int, integer: int, *, symmetric: bool = False, by_clip: bool = True) -> str:
        """quantized_bits(bits, integer, keep_negative=True, alpha=1)."""
        m, whole = 2.0 ** (bits - 1), 2.0**integer
        p = self.add("Div", self.add("Mul", x, m), whole)
        q = self.clip(self.rounded(p), -m + symmetric, m - 1, by_clip=by_clip)
        return self.passed_through(x, self.add("Div", self.add("Mul", q, whole), m))

    def relu(self, x: str, bits: int, integer: int, *, by_clip: bool = True) -> str:
        """quantized_relu(bits, integer)."""
        m, whole = 2.0**bits, 2.0**integer
        top = whole - whole / m
        held = self.add("Where", self.add("LessOrEqual", x, top), self.add("Relu", x), top)
        rounded = self.add("Div", self.rounded(self.add("Div", self.add("Mul", x, m), whole)), m)
        q = self.add("Mul", self.clip(rounded, 0.0, 1.0 - 1.0 / m, by_clip=by_clip), whole)
        return self.passed_through(held, q)

    def proto(self, last: str) -> onnx.ModelProto:
        nodes = [*self.nodes, helper.make_node("Identity", [last], ["y"])]
        return linear_model(nodes, self.constants, shape=_SHAPE, opset=13)


@given(seeds, st.integers(2, 8), st.integers(0, 3), st.booleans(), st.booleans())
@examples(40)
def test_layers_of_qkeras_are_read(seed: int, bits: int, integer: int, symmetric: bool, by_clip: bool):
    """quantized_relu, a layer with quantized_bits weights, quantized_bits: bounded, so that all are read."""
    rng, net = np.random.default_rng(seed), Net()
    a = net.relu("x", bits, integer, by_clip=by_clip)
    weights = net.bits(net.constant(rng.normal(size=(40, 6))), bits, 0, symmetric=symmetric, by_clip=by_clip)
    proto = net.proto(net.bits(net.add("MatMul", a, weights), bits, integer, symmetric=symmetric, by_clip=by_clip))
    result = translate(proto, "qonnx")
    assert not result.refusals
    assert operators(result.model) == ["Quant", "Quant", "MatMul", "Quant", "Identity"]
    _assert_same(proto, result.model, _inputs(rng, bits, integer))


def test_an_estimator_of_an_unbounded_input_stays_around_its_quantiser():
    net = Net()
    proto = net.proto(net.bits("x", 4, 0))
    result = translate(proto, "qonnx")
    (refusal,) = result.refusals
    assert refusal.problem == "x + (q(x) - x) is not q(x) for large x"
    assert refusal.node.startswith("Add ")
    assert operators(result.model) == ["Quant", "Neg", "Add", "Add", "Identity"]
    x = np.full(_SHAPE, 3.3e7, np.float32)
    _assert_same(proto, result.model, x)
    assert (onnxruntime_outputs(proto, {"x": x})["y"] != 0.875).all()  # why it stays


def test_an_estimator_of_another_tensor_stays():
    net = Net()
    q = net.add("Mul", net.clip(net.add("Round", net.add("Div", "x", 0.25)), -8, 7, by_clip=True), 0.25)
    other = net.add("Clip", "x", 0.0, 100.0)
    proto = net.proto(net.passed_through(other, q))
    result = translate(proto, "qonnx")
    assert [r.problem for r in result.refusals] == ["x + (q(x) - x) may be rounded twice"]
    _assert_same(proto, result.model, _inputs(np.random.default_rng(0), 4, 1))


@pytest.mark.parametrize("is_output", [False, True])
def test_estimators_at_the_outputs(is_output: bool):
    net = Net()
    held = net.add("Clip", "x", -2.0, 1.75)
    q = net.add("Mul", net.clip(net.add("Round", net.add("Div", held, 0.25)), -8, 7, by_clip=True), 0.25)
    proto = net.proto(net.passed_through(held, q))
    del proto.graph.node[-1]
    proto.graph.node[-1].output[0] = "y"
    if is_output:
        proto.graph.output.append(helper.make_tensor_value_info(q, 1, None))
    result = translate(proto, "qonnx")
    assert not result.refusals
    _assert_same(proto, result.model, _inputs(np.random.default_rng(0), 4, 1))


def _inputs(rng: np.random.Generator, bits: int, integer: int) -> Array:
    ties = rng.integers(-(1 << bits), 1 << bits, _SHAPE) / 2.0**bits * 2.0**integer
    return np.where(rng.random(_SHAPE) < 0.6, ties, rng.normal(size=_SHAPE) * 10.0 ** rng.integers(-6, 9)).astype(
        np.float32
    )


def _assert_same(proto: onnx.ModelProto, hub: Any, x: Array) -> None:
    assert_equal(onnxruntime_outputs(proto, {"x": x}), anybit.Session(hub, engine="onnxruntime").run(x))
    assert_equal(onnxruntime_outputs(proto, {"x": x}), anybit.Session(hub, engine="reference").run(x))
