"""Bodies of If, Loop and Scan: equal where their outputs follow alike from equal inputs, by induction."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import anybit
from anybit.exact.certificate import Verdict
from anybit.formats.certify import certify
from tests.models import model, parameters, quant

_INFO = helper.make_tensor_value_info


def _initializers(values: dict[str, np.ndarray]) -> list[onnx.TensorProto]:
    return [numpy_helper.from_array(np.asarray(a), n) for n, a in values.items()]


def _layer(x: str, y: str, name: str, *, scale: float = 0.5, mode: str = "ROUND") -> tuple[list[onnx.NodeProto], dict]:
    """Quant, MatMul with a tensor from outside, Quant."""
    nodes = [
        quant(x, f"{name}_q", rounding_mode=mode),
        helper.make_node("MatMul", [f"{name}_q", "wq"], [f"{name}_s"], name=f"{name}_product"),
        quant(f"{name}_s", y),
    ]
    return nodes, parameters(f"{name}_q", scale=scale, bits=4) | parameters(y, scale=0.25, bits=4)


def _outside() -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    weights = np.random.default_rng(3).normal(size=(4, 4)).astype(np.float32)
    known = {"w": weights} | parameters("wq", scale=0.25, bits=4) | parameters("xq", scale=0.5, bits=4)
    return [quant("x", "xq"), quant("w", "wq")], known


def loop(trips: int = 3, *, begin: str = "xq", lose: bool = False, tell: bool = False, **options) -> onnx.ModelProto:
    """The layer so many times; `lose` makes +0 of -0 behind it, `tell` puts an operator there that tells them apart."""
    nodes, known = _layer("state", "layer" if lose else "next", "inner", **options)
    if lose:
        nodes.append(helper.make_node("Add", ["layer", "nothing"], ["next"]))
        known["nothing"] = np.float32(0)
    if tell:
        nodes += [helper.make_node("Reciprocal", ["next"], ["told"]), helper.make_node("Sign", ["told"], ["after"])]
    last = "after" if tell else "next"
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["on"]), *nodes],
        "body",
        [_INFO("i", TensorProto.INT64, []), _INFO("going", TensorProto.BOOL, []), _INFO("state", 1, ["N", 4])],
        [_INFO("on", TensorProto.BOOL, []), _INFO(last, 1, ["N", 4])],
        _initializers(known),
    )
    around, values = _outside()
    values |= {"trips": np.int64(trips), "yes": np.bool_(True)}
    node = helper.make_node("Loop", ["trips", "yes", begin], ["y"], name="loop", body=body)
    return model([*around, node], values, inputs={"x": ["N", 4]}, outputs=["y"])


def branches(*, scale: float = 0.5, limit: float = 1.0, lose: bool = False) -> onnx.ModelProto:
    graphs = []
    for name, own in (("then", scale), ("other", 0.125)):
        nodes, known = _layer("xq", f"{name}_y", name, scale=own)
        last = f"{name}_y"
        if lose:
            nodes.append(helper.make_node("Add", [last, "nothing"], [f"{name}_z"]))
            last = f"{name}_z"
        graphs.append(helper.make_graph(nodes, name, [], [_INFO(last, 1, ["N", 4])], _initializers(known)))
    around, values = _outside()
    around += [
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Greater", ["most", "limit"], ["large"]),
        helper.make_node("If", ["large"], ["y"], name="if", then_branch=graphs[0], else_branch=graphs[1]),
    ]
    return model(
        around, values | {"limit": np.float32(limit), "nothing": np.float32(0)}, inputs={"x": ["N", 4]}, outputs=["y"]
    )


def scan(*, scale: float = 0.5) -> onnx.ModelProto:
    """A running sum, and its layer for each row."""
    nodes, known = _layer("sum", "row_y", "inner", scale=scale)
    body = helper.make_graph(
        [helper.make_node("Add", ["state", "row"], ["sum"]), *nodes, helper.make_node("Identity", ["sum"], ["after"])],
        "body",
        [_INFO("state", 1, [1, 4]), _INFO("row", 1, [1, 4])],
        [_INFO("after", 1, [1, 4]), _INFO("row_y", 1, [1, 4])],
        _initializers(known),
    )
    around, values = _outside()
    around += [
        helper.make_node("Unsqueeze", ["xq", "axis"], ["rows"]),
        helper.make_node("Scan", ["zero", "rows"], ["last", "y"], name="scan", body=body, num_scan_inputs=1),
    ]
    values |= {"axis": np.int64([1]), "zero": np.zeros((1, 4), np.float32)}
    return model(around, values, inputs={"x": [5, 4]}, outputs=["y", "last"])


MODELS = {"loop": loop, "if": branches, "scan": scan}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("to", ["qonnx", "qcdq", "qdq"])
def test_a_conversion_of_a_body_is_proven(kind, to):
    source = MODELS[kind]()
    made = anybit.convert(source, to=to)
    assert not made.refusals
    certificate = anybit.verify(source, made.model)
    assert certificate.verdict.is_proof, certificate


@pytest.mark.parametrize("kind", MODELS)
def test_a_cleaned_body_is_proven(kind):
    source = MODELS[kind]()
    assert anybit.verify(source, anybit.clean(source)).verdict.is_proof


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (loop(), loop(4)),
        (loop(), loop(begin="x")),
        (loop(), loop(scale=0.25)),
        (loop(), loop(mode="FLOOR")),
        (branches(), branches(scale=0.25)),
        (branches(), branches(limit=2.0)),
        (branches(), branches(scale=0.125)),
        (scan(), scan(scale=0.25)),
    ],
)
def test_another_body_trip_count_or_beginning_is_not_proven(one, other):
    assert anybit.verify(one, other, samples=64).verdict is not Verdict.EXACT_BY_CONSTRUCTION
    assert not anybit.verify(one, other).verdict.is_proof


def test_the_sign_of_zero_counts_where_a_body_tells_it():
    assert anybit.verify(loop(tell=True), loop(tell=True)).verdict.is_proof
    assert not anybit.verify(loop(tell=True), loop(lose=True, tell=True)).verdict.is_proof
    assert anybit.verify(branches(), branches(lose=True)).verdict.is_proof


def test_two_loops_that_begin_alike_are_told_apart():
    """Their states have one beginning and other bodies: the result of each is its own."""
    one, other = loop(), loop(scale=0.25)
    (first,), (second,) = ([n for n in m.graph.node if n.op_type == "Loop"] for m in (one, other))
    both = onnx.ModelProto()
    both.CopyFrom(one)
    added = both.graph.node.add()
    added.CopyFrom(second)
    added.name, added.output[0] = "loop_b", "z"
    both.graph.output.add(name="z").type.CopyFrom(both.graph.output[0].type)
    swapped = onnx.ModelProto()
    swapped.CopyFrom(both)
    loops = [n for n in swapped.graph.node if n.op_type == "Loop"]
    loops[0].output[0], loops[1].output[0] = "z", "y"
    assert first.name == "loop"
    assert anybit.verify(both, both).verdict.is_proof
    assert not anybit.verify(both, swapped).verdict.is_proof


def _deep(depth: int, shallow: int = 0) -> onnx.ModelProto:
    """Bodies in bodies, so many deep, behind so many that hold no other."""

    def body(level: int, name: str) -> onnx.GraphProto:
        output = f"{name}_{level}"
        node = helper.make_node("Neg", ["x"], [output])
        if level > 1:
            node = chosen(level - 1, output, name)
        return helper.make_graph([node], output, [], [_INFO(output, 1, ["N", 4])])

    def chosen(level: int, output: str, name: str) -> onnx.NodeProto:
        inner = {"then_branch": body(level, f"{name}_then"), "else_branch": body(1, f"{name}_else")}
        return helper.make_node("If", ["large"], [output], **inner)

    outputs = [*(f"s{k}" for k in range(shallow)), "y"]
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Greater", ["most", "limit"], ["large"]),
        *(chosen(1 if output != "y" else depth, output, output) for output in outputs),
    ]
    return model(nodes, {"limit": np.float32(1)}, inputs={"x": ["N", 4]}, outputs=outputs)


@pytest.mark.parametrize("shallow", [0, 3])
@pytest.mark.parametrize(("depth", "proven"), [(1, True), (4, True), (5, False)])
def test_bodies_are_followed_to_a_depth(depth: int, proven: bool, shallow: int):
    proto = _deep(depth, shallow)
    found = certify(proto, proto).outputs
    assert [o.verdict is Verdict.EXACT_BY_CONSTRUCTION for o in found] == [True] * shallow + [proven]
