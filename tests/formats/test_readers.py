"""Readers stand in an order that follows from what they say of themselves, and they do what they say."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from onnx import helper

import anybit
from anybit.cleanup.infer_shapes import InferShapes
from anybit.formats.convert import translate
from anybit.formats.dialect import Dialect
from anybit.formats.readers import READERS, Reader
from anybit.graph.constants import constant
from tests.formats.ort_contrib.byte_models import Bytes, integer_nets, quantized_nets
from tests.models import mlp, model, parameters, quant
from tests.strategies import examples


def test_each_reader_stands_before_those_that_consume_what_it_leaves():
    for before, behind in itertools.combinations(READERS, 2):
        wrong = before.consumes & behind.leaves
        assert not wrong, f"'{behind.name}' leaves {sorted(wrong)}, which '{before.name}' has to consume"


def test_readers_have_names_of_their_own():
    assert len({r.name for r in READERS}) == len(READERS)


def check(reader: Reader, hub: ir.Model) -> None:
    """Reads a model in place; only nodes that the reader names are gone, only nodes that it names are new.

    Nodes that make constants may go with what reads them, as all may that make what is folded.
    """
    before = {n: (n.domain, n.op_type) for n in hub.graph.all_nodes()}
    fixed = _constant_nodes(before)
    reader.read(hub)
    after = {n: (n.domain, n.op_type) for n in hub.graph.all_nodes()}
    gone = {kind for n, kind in before.items() if after.get(n) != kind and n not in fixed}
    new = {kind for n, kind in after.items() if before.get(n) != kind}
    assert gone <= reader.consumes, f"'{reader.name}' takes away {sorted(gone - reader.consumes)}"
    known = reader.leaves | reader.makes
    assert new <= known, f"'{reader.name}' makes {sorted(new - known)}"


def _constant_nodes(nodes: dict[ir.Node, tuple[str, str]]) -> set[ir.Node]:
    found: set[ir.Node] = set()
    for node in nodes:
        if all(v is None or constant(v) is not None or v.producer() in found for v in node.inputs):
            found.add(node)
    return found


def _read(source: onnx.ModelProto) -> None:
    hub = anybit.load(source)
    InferShapes()(hub)
    for reader in READERS:
        check(reader, hub)


def _net() -> onnx.ModelProto:
    """Products of signed bits and narrow grids, an average, a fork, and a bound of small integers."""
    rng = np.random.default_rng(0)
    nodes = [
        quant("x", "q"),
        quant("w", "wq", narrow=1),
        helper.make_node("Conv", ["q", "wq", "b"], ["c"], "conv", kernel_shape=[3, 3]),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        quant("r", "rq", signed=0),
        helper.make_node("MaxPool", ["rq"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        quant("v", "vq", narrow=1),
        helper.make_node("MatMul", ["f", "vq"], ["h"], "matmul"),
        quant("h", "y"),
    ]
    drawn = {"w": (4, 3, 3, 3), "b": (4,), "v": (36, 5)}
    constants = {k: rng.normal(size=s).astype(np.float32) for k, s in drawn.items()}
    for name in ("q", "wq", "rq", "vq", "y"):
        constants |= parameters(name, scale=0.125)
    return model(nodes, constants, inputs={"x": [1, 3, 8, 8]}, outputs=["y"])


def _arithmetic() -> onnx.ModelProto:
    """Quantisers of weights and of an input that are written as arithmetic, with straight-through estimators."""
    nodes: list[onnx.NodeProto] = []
    for x, y in (("x", "q"), ("w", "wq")):
        names = [f"{y}_{k}" for k in range(5)]
        nodes += [
            helper.make_node("Div", [x, "s"], [names[0]]),
            helper.make_node("Round", [names[0]], [names[1]]),
            helper.make_node("Clip", [names[1], "lo", "hi"], [names[2]]),
            helper.make_node("Mul", [names[2], "s"], [names[3]]),
            helper.make_node("Sub", [names[3], x], [names[4]]),
            helper.make_node("Add", [x, names[4]], [y]),
        ]
    nodes.append(helper.make_node("MatMul", ["q", "wq"], ["y"]))
    weights = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
    constants = {"s": np.float32(0.25), "lo": np.float32(-8), "hi": np.float32(7), "w": weights}
    return model(nodes, constants, inputs={"x": [2, 3]}, outputs=["y"])


@pytest.mark.parametrize("dialect", list(Dialect))
@pytest.mark.parametrize("source", [_net, mlp])
def test_files_of_each_dialect(dialect: Dialect, source: Callable[[], onnx.ModelProto]):
    _read(anybit.to_proto(translate(source(), dialect).model))


def test_arithmetic():
    _read(_arithmetic())


@given(quantized_nets())
@examples(5)
def test_products_of_bytes(net: Bytes):
    _read(net.proto())


@given(integer_nets())
@examples(5)
def test_products_of_integers(net: Bytes):
    _read(net.proto())
