"""What a model asks for beyond the limits is refused by name before it is taken, in every function that computes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import anybit
from anybit.errors import LimitError
from tests.models import model

MEMORY = 64 << 20
node = helper.make_node


def _i(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def _model(nodes, constants=None, *, last="c", shape=(1, 4)) -> onnx.ModelProto:
    """Nodes that make `c`, whose largest element the output adds to the input: nothing of it is kept."""
    tail = [node("ReduceMax", [last], ["m"], keepdims=0), node("Add", ["x", "m"], ["y"])]
    return model([*nodes, *tail], constants or {}, inputs={"x": shape}, outputs=["y"])


def _doubled(first: str, times: int) -> list[onnx.NodeProto]:
    names = [first, *(f"t{k}" for k in range(times - 1)), "c"]
    return [node("Concat", [a, a], [b], f"double{k}", axis=0) for k, (a, b) in enumerate(pairwise(names))]


def _loop(body_nodes, states: int, *, trips: int) -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [node("Identity", ["go"], ["going"]), *body_nodes],
        "body",
        [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("s", 1, None)],
        [value("going", TensorProto.BOOL, []), value("t", 1, None), *([value("row", 1, None)] if states > 1 else [])],
    )
    names = ["c", "rows"][:states]
    return _model([node("Loop", ["n", "", "x"], names, "big", body=body)], {"n": np.int64(trips)}, last=names[-1])


HOSTILE: dict[str, onnx.ModelProto] = {
    "a constant of a shape": _model([node("ConstantOfShape", ["s"], ["c"], "big")], {"s": _i(1 << 33)}),
    "a constant of a computed shape": _model(
        [node("Shape", ["x"], ["n"]), node("Mul", ["n", "k"], ["s"]), node("ConstantOfShape", ["s"], ["c"], "big")],
        {"k": _i(1 << 17, 1 << 15)},
    ),
    "an expanded input": _model([node("Expand", ["x", "s"], ["c"], "big")], {"s": _i(1 << 31, 4)}),
    "a repeated input": _model([node("Tile", ["x", "s"], ["c"], "big")], {"s": _i(1 << 20, 1 << 12)}),
    "an input doubled again and again": _model(_doubled("x", 40)),
    "a constant doubled again and again": _model(_doubled("w", 40), {"w": np.ones((4, 4), np.float32)}),
    "a range": _model(
        [node("Range", ["a", "b", "d"], ["r"], "big"), node("Cast", ["r"], ["c"], to=1)],
        {"a": np.int64(0), "b": np.int64(1 << 40), "d": np.int64(1)},
    ),
    "one-hot vectors": _model(
        [node("Cast", ["x"], ["i"], to=7), node("OneHot", ["i", "d", "v"], ["c"], "big")],
        {"d": np.int64(1 << 40), "v": np.float32([0, 1])},
    ),
    "padding": _model([node("Pad", ["x", "p"], ["c"], "big")], {"p": _i(0, 0, 1 << 20, 1 << 20)}),
    "an enlarged input": _model(
        [node("Resize", ["x", "", "f"], ["c"], "big", mode="nearest")], {"f": np.float32([1 << 20, 1 << 20])}
    ),
    "an outer product": _model(
        [node("Expand", ["x", "s"], ["e"]), node("Transpose", ["e"], ["f"]), node("MatMul", ["e", "f"], ["c"], "big")],
        {"s": _i(1 << 14, 4)},
    ),
    "padding that strides leave nothing of": _model(
        [
            node("Reshape", ["x", "s"], ["r"]),
            node("Conv", ["r", "w"], ["c"], "big", pads=[1 << 30] * 2, strides=[1 << 30]),
        ],
        {"s": _i(1, 1, 4), "w": np.ones((1, 1, 1), np.float32)},
    ),
    "random numbers": _model([node("RandomNormal", [], ["c"], "big", shape=[1 << 20, 1 << 20])]),
    "tensors that a loop doubles": _loop([node("Concat", ["s", "s"], ["t"], "big", axis=0)], 1, trips=60),
    "rows that a loop stacks": _loop(
        [node("Identity", ["s"], ["t"]), node("Expand", ["s", "size"], ["row"], "big"),
         node("Constant", [], ["size"], value_ints=[1 << 16, 4])], 2, trips=10_000,
    ),
}  # fmt: skip
CALLS: dict[str, Callable[[onnx.ModelProto], object]] = {
    "load": anybit.load,
    "check": anybit.check,
    "clean": anybit.clean,
    "analyse": anybit.analyse,
    "cost": anybit.cost,
    "convert": lambda proto: anybit.convert(proto, "qcdq"),
    "report": anybit.report,
    "verify": lambda proto: anybit.verify(proto, proto),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_the_reference_refuses_by_the_name_of_the_node(kind):
    proto = HOSTILE[kind]
    assert proto.ByteSize() < 5_000
    with anybit.limits(memory=MEMORY), pytest.raises(LimitError, match=r"'big'|'double"):
        anybit.run(proto, np.ones((1, 4), np.float32), engine="reference")


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_function_takes_much_more_than_the_limit(kind):
    proto = HOSTILE[kind]
    for call in CALLS.values():
        tracemalloc.start()
        try:
            with anybit.limits(memory=MEMORY):
                call(proto)
        except anybit.AnybitError:
            pass
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert peak < 2 * MEMORY


def test_what_fits_is_computed():
    proto = _model([node("ConstantOfShape", ["s"], ["c"], "big")], {"s": _i(1 << 20)})
    with anybit.limits(memory=MEMORY):
        np.testing.assert_array_equal(
            anybit.run(proto, np.ones((1, 4), np.float32), engine="reference")["y"], np.ones((1, 4))
        )


def test_folded_constants_stay_within_the_limit_together():
    count = 100
    nodes = [node("ConstantOfShape", ["s"], [f"c{k}"], f"n{k}") for k in range(count)]
    proto = _model([*nodes, node("Sum", [f"c{k}" for k in range(count)], ["c"])], {"s": _i(1 << 20)})
    with anybit.limits(memory=MEMORY):
        kept = sum(n.op_type == "ConstantOfShape" for n in anybit.apply(proto, ["fold-constants"]).model.graph)
    assert count - kept == MEMORY // (4 << 20)


def test_all_engines_refuse_what_no_run_can_hold():
    proto = HOSTILE["a constant of a shape"]
    for engine in anybit.engines.Engine:
        if engine is not anybit.engines.Engine.OPENVINO:
            with anybit.limits(memory=MEMORY), pytest.raises(LimitError, match="'big'"):
                anybit.Session(proto, engine=engine)


def test_inputs_that_are_too_large_are_not_drawn():
    proto = model([node("Neg", ["x"], ["y"])], {}, inputs={"x": ["N", 1 << 40]}, outputs=["y"])
    with anybit.limits(memory=MEMORY), pytest.raises(LimitError, match=r"'x'|Neg"):
        anybit.compare(proto, proto)


def test_a_loop_stops_at_the_stated_count():
    value = helper.make_tensor_value_info
    nodes = [node("Less", ["t", "most"], ["going"]), node("Identity", ["s"], ["t"])]
    nodes.sort(key=lambda n: n.op_type)  # Identity makes what Less reads
    ends = [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("s", 1, None)]
    body = helper.make_graph(nodes, "body", ends, [value("going", TensorProto.BOOL, []), value("t", 1, None)])
    proto = model(
        [node("Loop", ["", "", "x"], ["y"], "spin", body=body)],
        {"most": np.float32(9)},
        inputs={"x": []},
        outputs=["y"],
    )
    with anybit.limits(loop_steps=50):
        assert anybit.run(proto, {"x": np.float32(10)}, engine="reference")["y"] == 10
        with pytest.raises(LimitError, match=r"Loop 'spin'.*50 times"):
            anybit.run(proto, {"x": np.float32(1)}, engine="reference")
