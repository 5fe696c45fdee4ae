"""If and Loop."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.graphs.builder import Builder, Unfit
from tests.graphs.quantisers import quant_of


def _float(b: Builder) -> int:
    return helper.np_dtype_to_tensor_dtype(np.dtype(b.dtype))


def _body(b: Builder, x: str) -> tuple[onnx.GraphProto, np.ndarray]:
    """A branch that changes a tensor from outside, and what it computes."""
    start = len(b.nodes)
    match int(b.rng.integers(0, 4)):
        case 0:
            y = quant_of(b, x)
        case 1:
            y = b.node(b.choose(["Relu", "Neg", "Tanh", "Identity"]), [x])[0]
        case 2:
            y = b.node("Mul", [x, b.constant(b.choose([2.0, -0.5, 0.1]))])[0]
        case _:
            y = b.node("Relu", [quant_of(b, x)])[0]
    nodes = b.nodes[start:]
    del b.nodes[start:]
    output = helper.make_tensor_value_info(y, _float(b), None)
    return helper.make_graph(nodes, f"body_{y}", [], [output]), b.samples[y]


def if_(b: Builder) -> None:
    x = b.pick()
    source = b.pick(lambda a: a.ndim >= 2)
    axes = {"keepdims": 0}
    largest = b.node("ReduceMax", [source], **axes)[0]
    condition = b.node("Greater", [largest, b.constant(float(b.samples[largest]) * b.choose([0.9, 1.1]))])[0]
    then, first = _body(b, x)
    other, second = _body(b, x)
    name = b.fresh("if")
    proto = helper.make_node("If", [condition], [name], name=name, then_branch=then, else_branch=other)
    b.pool.extend(b.adopt(proto, [first if b.samples[condition] else second]))


def loop(b: Builder) -> None:
    """x = tanh(x) + c, or a sum of quantised numbers, a few times."""
    if b.opset < 13:
        raise Unfit
    x = b.pick(lambda a: bool(np.abs(a).max() < 10))
    trips, going, name = b.constant(b.rng.integers(1, 4), np.int64), b.constant(1, np.bool_), b.fresh("loop")
    inner = [f"{name}_{part}" for part in ("i", "go", "s", "t", "u", "c")]
    i, go, s, t, u, c = inner
    addend = np.asarray(b.rng.choice([0.5, -0.25]), b.dtype)
    kind = b.choose(["Tanh", "Identity", "Relu"])
    nodes = [
        helper.make_node("Identity", [go], [f"{go}_out"]),
        helper.make_node(kind, [s], [t]),
        helper.make_node("Add", [t, c], [u]),
    ]
    body = helper.make_graph(
        nodes,
        f"body_{name}",
        [
            helper.make_tensor_value_info(i, TensorProto.INT64, []),
            helper.make_tensor_value_info(go, TensorProto.BOOL, []),
            helper.make_tensor_value_info(s, _float(b), b.choose([None, ["N", *b.samples[x].shape[1:]]])),
        ],
        [
            helper.make_tensor_value_info(f"{go}_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info(u, _float(b), b.choose([None, ["N", *b.samples[x].shape[1:]]])),
        ],
        [numpy_helper.from_array(addend, c)],
    )
    state = b.samples[x]
    functions = {"Tanh": np.tanh, "Identity": lambda a: a, "Relu": lambda a: np.maximum(a, 0)}
    for _ in range(int(b.initializers[trips])):
        state = (functions[kind](state) + addend).astype(b.dtype)
    b.pool.extend(b.adopt(helper.make_node("Loop", [trips, going, x], [name], name=name, body=body), [state]))


STEPS = {"if": if_, "loop": loop}
