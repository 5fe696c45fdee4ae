"""If, Loop and Scan: bounds of everything that their bodies compute, in any number of steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from anybit.analysis.values.interpreter import analyse
from tests import models
from tests.analysis.values.soundness import bounds_of, check_sound

Node = onnx.NodeProto
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def graph(nodes: Sequence[Node], inputs: dict[str, Any], outputs: dict[str, Any], **arrays: Any) -> onnx.GraphProto:
    """A subgraph; types are (element type, shape)."""
    infos = [[helper.make_tensor_value_info(n, *t) for n, t in part.items()] for part in (inputs, outputs)]
    initializers = [onnx.numpy_helper.from_array(np.asarray(a), n) for n, a in arrays.items()]
    return helper.make_graph(list(nodes), "body", infos[0], infos[1], initializers)


def loop(
    nodes: Sequence[Node], *, shape: Any = (3,), scans: Sequence[str] = (), out: str = "s1", **arrays: Any
) -> onnx.GraphProto:
    """A body with one state, s -> `out`, that goes on for ever."""
    outputs = {"go": (BOOL, []), out: (FLOAT, shape)} | dict.fromkeys(scans, (FLOAT, shape))
    inputs = {"i": (INT64, []), "c": (BOOL, []), "s": (FLOAT, shape)}
    return graph([helper.make_node("Identity", ["c"], ["go"]), *nodes], inputs, outputs, **arrays)


def looped(body: onnx.GraphProto, trips: int | None, *, start: Any = (0, 0, 0), extra: Sequence[str] = ()) -> Any:
    """x, and perhaps n, the number of steps -> y, the state behind the loop."""
    node = helper.make_node("Loop", ["n", "", "start"], ["y", *extra], body=body)
    arrays: dict[str, Any] = {"start": np.float32(start)}
    if trips is not None:
        arrays["n"] = np.asarray(trips, np.int64)
    model = models.model([node], arrays, inputs={"x": [3]}, outputs=["y", *extra])
    if trips is None:
        model.graph.input.append(helper.make_tensor_value_info("n", INT64, []))
    return model


def node(op_type: str, inputs: str, output: str, **attributes: Any) -> Node:
    return helper.make_node(op_type, inputs.split(), [output], **attributes)


def test_if_joins_its_branches() -> None:
    branches = {
        "then_branch": graph([node("Relu", "x", "a")], {}, {"a": (FLOAT, [3])}),
        "else_branch": graph([node("Sub", "x five", "b")], {}, {"b": (FLOAT, [3])}, five=np.float32([5, 0, 1])),
    }
    model = models.model([helper.make_node("If", ["p"], ["y"], **branches)], {}, inputs={"x": [3]}, outputs=["y"])
    model.graph.input.append(helper.make_tensor_value_info("p", BOOL, []))
    values = check_sound(model, {"x": (-1.0, 2.0)})
    y = bounds_of(values, "y")
    assert y.lo.tolist() == [-6, -1, -2]
    assert y.hi.max() == 2
    assert bounds_of(values, "a").lo.item() == 0


def test_if_with_a_known_condition_is_its_branch() -> None:
    branches = {
        "then_branch": graph([node("Relu", "x", "a")], {}, {"a": (FLOAT, [3])}),
        "else_branch": graph([node("Neg", "x", "b")], {}, {"b": (FLOAT, [3])}),
    }
    for known, lo, hi in ((True, 0, 2), (False, -2, 1)):
        nodes = [helper.make_node("If", ["p"], ["y"], **branches)]
        model = models.model(nodes, {"p": np.asarray(known)}, inputs={"x": [3]}, outputs=["y"])
        y = bounds_of(check_sound(model, {"x": (-1.0, 2.0)}), "y")
        assert (y.lo.item(), y.hi.item()) == (lo, hi)


def test_if_whose_branches_differ_in_shape() -> None:
    branches = {
        "then_branch": graph([node("Mul", "x three", "a")], {}, {"a": (FLOAT, [3])}, three=np.float32([1, 2, 3])),
        "else_branch": graph([node("Mul", "u two", "b")], {}, {"b": (FLOAT, [2])}, two=np.float32([4, 0])),
    }
    inputs = {"x": [3], "u": [2]}
    model = models.model([helper.make_node("If", ["p"], ["y"], **branches)], {}, inputs=inputs, outputs=["y"])
    model.graph.input.append(helper.make_tensor_value_info("p", BOOL, []))
    y = bounds_of(check_sound(model, {"x": (0.0, 1.0), "u": (0.0, 1.0)}), "y")
    assert (y.lo.item(), y.hi.item()) == (0, 4)


@pytest.mark.parametrize("trips", [0, 1, 5, 16, 40, None])
def test_a_sum_grows_with_the_steps(trips: int | None) -> None:
    model = looped(loop([node("Add", "s x", "s1")]), trips)
    ranges: dict[str, tuple[float, float]] = {"x": (-1.0, 2.0)} | ({"n": (0, 9)} if trips is None else {})
    y = bounds_of(check_sound(model, ranges), "y")
    most = 9 if trips is None else trips
    if 1 < most <= 16:
        assert y.hi.item() == 2 * most
    assert y.is_bounded == (most <= 16)


@pytest.mark.parametrize("trips", [3, 100])
def test_a_state_that_comes_to_rest_is_bounded(trips: int) -> None:
    clipped = loop([node("Add", "s x", "t"), node("Clip", "t low high", "s1")], low=np.float32(-4), high=np.float32(3))
    y = bounds_of(check_sound(looped(clipped, trips), {"x": (-1.0, 2.0)}), "y")
    assert (y.lo.item(), y.hi.item()) == (max(-trips, -4), 3)
    averaged = loop([node("Mul", "s half", "t"), node("Add", "t x", "s1")], half=np.float32(0.5))
    y = bounds_of(check_sound(looped(averaged, trips), {"x": (-1.0, 2.0)}), "y")
    assert y.is_bounded
    assert y.hi.item() < 16


def test_states_that_move_between_elements_settle() -> None:
    pick = np.asarray([1, 2, 0])
    rotated = loop([node("Gather", "s pick", "t"), node("Mul", "t minus", "s1")], pick=pick, minus=np.float32(-1))
    y = bounds_of(check_sound(looped(rotated, 100, start=(1, 2, 3)), {}), "y")
    assert (y.lo.min(), y.hi.max()) == (-3, 3)


def test_invariant_states_stay_known() -> None:
    model = looped(loop([node("Identity", "s", "s1"), node("Mul", "s x", "z")], scans=["z"]), 30, start=2, extra=["z"])
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.full(3, 2, np.float32), "start"))
    values = check_sound(model, {"x": (-1.0, 2.0)})
    assert bounds_of(values, "y").is_point
    assert [b.flat[-1] for b in (bounds_of(values, "z").lo, bounds_of(values, "z").hi)] == [-2, 4]


def test_the_counter_and_the_tensors_of_the_body_hold_all_steps() -> None:
    body = loop([node("Cast", "i", "f", to=FLOAT), node("Add", "s f", "s1")])
    values = check_sound(looped(body, 4), {})
    assert bounds_of(values, "i").hi.item() == 3
    assert bounds_of(values, "s").hi.item() >= 1 + 2 + 3 - 3
    assert bounds_of(values, "y").hi.item() >= 6


@pytest.mark.parametrize("trips", [1, 5, None])
def test_a_quantised_state_that_starts_at_zero_keeps_its_grid(trips: int | None) -> None:
    body = loop([node("Add", "s x", "t"), models.quant("t", "s1", prefix="q")])
    model = looped(body, trips)
    arrays = models.parameters("q")
    model.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(a), n) for n, a in arrays.items())
    values = check_sound(model, {"x": (-1.0, 2.0)} | ({"n": (0, 99)} if trips is None else {}))
    grid = bounds_of(values, "y").grid
    assert grid is not None
    assert grid.scale.item() == 0.5
    assert -8 <= grid.lo.item() <= grid.hi.item() <= 7
    assert str(grid.datatype) == "INT4"


def test_a_state_that_changes_its_shape() -> None:
    body = loop([node("Concat", "s x", "s1", axis=0)], shape=(None,))
    y = bounds_of(check_sound(looped(body, 3, start=(5, 6, 7)), {"x": (-1.0, 2.0)}), "y")
    assert (y.lo.item(), y.hi.item()) == (-1, 7)


def test_loops_and_conditions_inside_a_loop() -> None:
    inner = graph(
        [node("Identity", "c2", "go2"), node("Add", "s2 x", "t2"), node("Clip", "t2 low high", "s3")],
        {"i2": (INT64, []), "c2": (BOOL, []), "s2": (FLOAT, [3])},
        {"go2": (BOOL, []), "s3": (FLOAT, [3])},
        low=np.float32(-2),
        high=np.float32(2),
    )
    branches = {
        "then_branch": graph([node("Neg", "r", "a")], {}, {"a": (FLOAT, [3])}),
        "else_branch": graph([node("Abs", "r", "b")], {}, {"b": (FLOAT, [3])}),
    }
    body = loop(
        [
            helper.make_node("Loop", ["n", "", "s"], ["r"], body=inner),
            node("ReduceSum", "r", "sum", keepdims=0),
            node("Greater", "sum zero", "p"),
            helper.make_node("If", ["p"], ["s1"], **branches),
        ],
        zero=np.float32(0),
    )
    for trips in (3, 50):
        y = bounds_of(check_sound(looped(body, trips), {"x": (-1.0, 1.5)}, count=6), "y")
        assert (y.lo.item(), y.hi.item()) == (-2, 2)


def scanned(**attributes: Any) -> onnx.ModelProto:
    """Running sums of x (3, 4) along an axis; the state has the shape of an element."""
    axis = attributes.get("scan_input_axes", [0])[0]
    size = (3, 4)[1 - axis]
    body = graph(
        [node("Add", "s e", "s1"), node("Mul", "s1 m", "z")],
        {"s": (FLOAT, [size]), "e": (FLOAT, [size])},
        {"s1": (FLOAT, [size]), "z": (FLOAT, [size])},
        m=np.arange(1, size + 1).astype(np.float32),
    )
    scan = helper.make_node("Scan", ["start", "x"], ["y", "zs"], body=body, num_scan_inputs=1, **attributes)
    return models.model([scan], {"start": np.zeros(size, np.float32)}, inputs={"x": [3, 4]}, outputs=["y", "zs"])


@pytest.mark.parametrize("in_axis", [0, 1])
@pytest.mark.parametrize("out_axis", [0, 1, -1])
@pytest.mark.parametrize("backward", [0, 1])
def test_scan(in_axis: int, out_axis: int, backward: int) -> None:
    model = scanned(
        scan_input_axes=[in_axis],
        scan_output_axes=[out_axis],
        scan_input_directions=[backward],
        scan_output_directions=[backward],
    )
    values = check_sound(model, {"x": (-1.0, 2.0)})
    steps = (3, 4)[in_axis]
    assert bounds_of(values, "y").hi.max() == 2 * steps
    assert bounds_of(values, "zs").hi.max() == 2 * steps * (4, 3)[in_axis]


def test_scan_over_a_constant_sees_its_elements_apart() -> None:
    body = graph([node("Add", "s e", "s1")], {"s": (FLOAT, [2]), "e": (FLOAT, [2])}, {"s1": (FLOAT, [2])})
    scan = helper.make_node("Scan", ["x", "w"], ["y"], body=body, num_scan_inputs=1)
    model = models.model([scan], {"w": np.float32([[1, 10], [2, 20]])}, inputs={"x": [2]}, outputs=["y"])
    values = check_sound(model, {"x": (0.0, 1.0)})
    assert bounds_of(values, "e").lo.tolist() == [1, 10]
    assert bounds_of(values, "y").hi.tolist() == [5, 41]


def test_scan_of_version_8_is_not_followed() -> None:
    body = graph([node("Max", "s e", "s1")], {"s": (FLOAT, [2]), "e": (FLOAT, [2])}, {"s1": (FLOAT, [2])})
    scan = helper.make_node("Scan", ["", "s0", "x"], ["y"], body=body, num_scan_inputs=1)
    model = models.model([scan], {}, inputs={"s0": [1, 2], "x": [1, 3, 2]}, outputs=["y"], opset=8)
    values = analyse(model)
    assert list(values.unfollowed.values()) == ["Scan of version 8"]
    assert not bounds_of(values, "s1").is_bounded


@pytest.mark.parametrize("attributes", [{"scan_input_axes": [2]}, {"scan_output_axes": [-3]}])
def test_a_scan_along_an_axis_that_is_not_there_is_not_followed(attributes: dict[str, list[int]]) -> None:
    found = analyse(scanned(**{"scan_input_axes": [0], **attributes}))
    assert not found["zs"].is_bounded


def counted(add: int, *, trips: int | None = None) -> onnx.ModelProto:
    """A state of integers that grows by `add` in each step."""
    body = helper.make_graph(
        [node("Identity", "c", "go"), node("Add", "s add", "s1")],
        "body",
        [helper.make_tensor_value_info(n, t, []) for n, t in {"i": INT64, "c": BOOL, "s": TensorProto.INT32}.items()],
        [helper.make_tensor_value_info(n, t, []) for n, t in {"go": BOOL, "s1": TensorProto.INT32}.items()],
        [onnx.numpy_helper.from_array(np.asarray(add, np.int32), "add")],
    )
    names = ["n", "", "zero"]
    arrays = {"zero": np.int32(0)} | ({} if trips is None else {"n": np.asarray(trips, np.int64)})
    model = models.model([helper.make_node("Loop", names, ["y"], body=body)], arrays, inputs={}, outputs=["y"])
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT32
    if trips is None:
        model.graph.input.append(helper.make_tensor_value_info("n", INT64, []))
    return model


@pytest.mark.parametrize("add", [1, -3])
def test_integers_that_grow_for_ever_are_those_of_their_type(add: int) -> None:
    values = check_sound(counted(add), {"n": (0, 40)}, count=4)
    ends = np.iinfo(np.int32)
    for name in ("s", "y"):
        found = bounds_of(values, name)
        assert (found.lo.item(), found.hi.item()) == (ends.min, ends.max)
    few = bounds_of(check_sound(counted(add, trips=5), count=1), "y")
    assert (few.lo.item(), few.hi.item()) == (min(add, 5 * add), max(add, 5 * add))
