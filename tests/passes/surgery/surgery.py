"""What the tests of graph surgery share: graphs as text, awkward models, and exact comparison by the reference."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper

from anybit import load
from anybit.cleanup.infer_shapes import InferShapes
from anybit.engines.sampling import random_inputs
from anybit.io.save import to_proto
from anybit.runtime.session import Session
from tests.models import mlp, model, parameters, quant

node = helper.make_node


def text(read: ir.Model | ir.Graph) -> list[str]:
    """One line a node: ``y = Op(x, w)``."""
    graph = read.graph if isinstance(read, ir.Model) else read
    return [
        f"{', '.join(str(o.name) for o in n.outputs)} = {n.op_type}"
        f"({', '.join('-' if v is None else str(v.name) for v in n.inputs)})"
        for n in graph
    ]


def run(read, inputs: Mapping[str, np.ndarray], engine: str = "reference") -> list[np.ndarray]:
    return list(Session(read, engine=engine).run(dict(inputs)).values())


def assert_same(before, after: ir.Model, *, samples: int = 2, engine: str = "reference") -> None:
    """Valid by onnx's checker, and exactly the same outputs in the same order."""
    valid(after)
    inputs = random_inputs(before, samples, seed=1)
    renamed = dict(zip((str(v.name) for v in after.graph.inputs), inputs.values(), strict=True))
    for a, b in zip(run(before, inputs, engine), run(after, renamed, engine), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype


def valid(read: ir.Model) -> onnx.ModelProto:
    """The model as a proto that onnx's checker takes; outputs without shape get their type by inference."""
    typed = load(read)
    InferShapes()(typed)
    proto = to_proto(typed)
    onnx.checker.check_model(proto)
    names = [n for g in graphs(proto.graph) for n in defined(g)]
    assert len(names) == len(set(names)), "a name is defined twice"
    return proto


def graphs(graph: onnx.GraphProto):
    yield graph
    for n in graph.node:
        for a in n.attribute:
            if a.type == onnx.AttributeProto.GRAPH:
                yield from graphs(a.g)


def defined(graph: onnx.GraphProto) -> list[str]:
    inputs = [i.name for i in graph.input]
    inits = [t.name for t in graph.initializer if t.name not in inputs]
    return [*inputs, *inits, *(o for n in graph.node for o in n.output if o)]


def value(name: str, shape=None, kind: int = 1):
    return helper.make_tensor_value_info(name, kind, shape)


def fork():
    """`h` is read twice, squared by itself, and an output of the graph."""
    nodes = [
        node("MatMul", ["x", "w"], ["h"], name="mm"),
        node("Mul", ["h", "h"], ["sq"]),
        node("Add", ["h", "b"], ["a"]),
        node("Add", ["sq", "a"], ["y"]),
    ]
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(4, 3)).astype(np.float32), "b": np.arange(3, dtype=np.float32)}
    return model(nodes, weights, inputs={"x": [2, 4]}, outputs=["y", "h"])


def shared():
    """Two quantisers and an Add share one scale; a third uses one scalar as scale and bit width."""
    nodes = [
        quant("x", "a", prefix="p"),
        quant("a", "b", prefix="p", signed=0),
        node("Add", ["b", "p_scale"], ["c"]),
        node("Quant", ["c", "one", "p_zeropt", "one"], ["y"], domain="qonnx.custom_op.general", signed=1, narrow=0),
    ]
    return model(nodes, parameters("p") | {"one": np.float32(1)}, inputs={"x": [2, 4]}, outputs=["y"])


def branches():
    """An If whose branches capture a computed tensor, a weight and a shared quantiser's parameters."""
    then = helper.make_graph(
        [node("Add", ["h", "w"], ["t0"]), quant("t0", "t1", prefix="p")], "then", [], [value("t1", [2, 4])]
    )
    other = helper.make_graph(
        [node("Mul", ["h", "inner"], ["e0"]), quant("e0", "e1", prefix="p")],
        "else",
        [],
        [value("e1", [2, 4])],
        [onnx.numpy_helper.from_array(np.float32(2), "inner")],
    )
    nodes = [
        node("Relu", ["x"], ["h"]),
        node("ReduceSum", ["h"], ["s"], keepdims=0),
        node("Greater", ["s", "half"], ["c"]),
        node("If", ["c"], ["i"], then_branch=then, else_branch=other),
        node("Sub", ["i", "h"], ["y"]),
    ]
    weights = parameters("p") | {"w": np.ones(4, np.float32), "half": np.float32(0.5)}
    return model(nodes, weights, inputs={"x": [2, 4]}, outputs=["y"])


def several():
    """Split with two outputs, one of them also a graph output, and a Clip without a lower bound."""
    nodes = [
        node("Split", ["x"], ["l", "r"], axis=1, num_outputs=2),
        node("Clip", ["l", "", "top"], ["cl"]),
        node("Concat", ["cl", "r"], ["y"], axis=1),
    ]
    return model(nodes, {"top": np.float32(0.25)}, inputs={"x": [2, 4]}, outputs=["y", "r"])


MODELS = {"fork": fork, "shared": shared, "branches": branches, "several": several, "mlp": mlp}
