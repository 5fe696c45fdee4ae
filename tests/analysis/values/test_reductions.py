"""Sums, means and extremes along axes: no run leaves the bounds, and the bounds are those of exact arithmetic."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from anybit.analysis.values.interpreter import analyse
from anybit.analysis.values.rules import reductions
from tests.analysis.values.soundness import bounds_of, check_sound
from tests.analysis.values.sources import bounded_model, grid_model
from tests.strategies import Array, examples

ENGINES = ("reference", "onnxruntime")
RANGES = {"x": (-1000.0, 1000.0)}
LINEAR = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin")
OTHERS = ("ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp")
OPERATORS = LINEAR + OTHERS


def reduce_node(op_type: str, axes: list[int] | None, opset: int, **attributes: Any) -> tuple[Any, dict[str, Array]]:
    """The node and its constants: axes are an attribute, or an input from opset 13 (ReduceSum) or 18 on."""
    if axes is None:
        return helper.make_node(op_type, ["t"], ["y"], **attributes), {}
    if opset < (13 if op_type == "ReduceSum" else 18):
        return helper.make_node(op_type, ["t"], ["y"], axes=axes, **attributes), {}
    return helper.make_node(op_type, ["t", "axes"], ["y"], **attributes), {"axes": np.asarray(axes, np.int64)}


def box(shape: tuple[int, ...], lo: float, hi: float, seed: int = 0) -> tuple[Array, Array]:
    """Bounds that tell elements apart, multiples of 1/8."""
    rng = np.random.default_rng(seed)
    ends = np.sort(np.round(rng.uniform(lo, hi, (2, *shape)) * 8) / 8, axis=0).astype(np.float32)
    return ends[0], ends[1]


@pytest.mark.parametrize(("lo", "hi"), [(-3, 3), (0.5, 2), (-2, -1), (0, 0)])
@pytest.mark.parametrize("opset", [11, 13, 18])
def test_no_run_leaves_the_bounds(opset: int, lo: float, hi: float):
    """All operators stand side by side: a session takes longer to make than all of its runs."""
    ends = box((1, 3, 1, 2), lo, hi)
    nodes, constants, outputs = list[onnx.NodeProto](), dict[str, Array](), list[str]()
    for op_type, axes, keepdims in product(OPERATORS, ([1], [-1, 2], None, [0]), (0, 1)):
        node, given_axes = reduce_node(op_type, axes, opset, keepdims=keepdims)
        outputs.append(f"{op_type}{len(nodes)}")
        node.output[0] = outputs[-1]
        constants |= {f"{name}{len(nodes)}": array for name, array in given_axes.items()}
        node.input[1:] = [f"{name}{len(nodes)}" for name in given_axes]
        nodes.append(node)
    proto = bounded_model(nodes, *ends, ["N", 3, 4, 2], outputs=outputs, constants=constants, opset=opset)
    assert not check_sound(proto, RANGES, count=6, engines=ENGINES).unfollowed


@pytest.mark.parametrize("op_type", LINEAR)
@pytest.mark.parametrize("axes", [[1], [2], [1, 2], [1, 3]])
def test_linear_bounds_are_those_of_the_ends(op_type: str, axes: list[int]):
    lo, hi = box((1, 3, 1, 2), -4, 4)
    node, constants = reduce_node(op_type, axes, 18)
    proto = bounded_model([node], lo, hi, ["N", 3, 5, 2], constants=constants, opset=18)
    y = bounds_of(check_sound(proto, RANGES, count=4, engines=ENGINES), "y")
    function = {"ReduceSum": np.sum, "ReduceMean": np.mean, "ReduceMax": np.max, "ReduceMin": np.min}[op_type]
    for got, end in ((y.lo, lo), (y.hi, hi)):
        full = np.broadcast_to(end.astype(np.float64), (1, 3, 5, 2))
        wanted = function(full, axis=tuple(axes), keepdims=True)
        exact = op_type in ("ReduceMax", "ReduceMin")
        np.testing.assert_allclose(np.broadcast_to(got, wanted.shape), wanted, rtol=0, atol=0 if exact else 1e-4)


@pytest.mark.parametrize("op_type", OPERATORS)
def test_bounds_are_nearly_attained(op_type: str):
    """For positive inputs all reductions are monotone: the ends of the box give the ends of the result."""
    lo, hi = box((1, 3, 2), 0.5, 3)
    node, constants = reduce_node(op_type, [1, 2], 18)
    y = bounds_of(
        check_sound(bounded_model([node], lo, hi, [1, 3, 2], constants=constants), RANGES, engines=ENGINES), "y"
    )
    functions: dict[str, Any] = {
        "ReduceSum": np.sum,
        "ReduceMean": np.mean,
        "ReduceMax": np.max,
        "ReduceMin": np.min,
        "ReduceProd": np.prod,
        "ReduceL1": np.sum,
        "ReduceL2": np.linalg.norm,
        "ReduceSumSquare": lambda a: np.sum(a * a),
        "ReduceLogSum": lambda a: np.log(np.sum(a)),
        "ReduceLogSumExp": lambda a: np.log(np.sum(np.exp(a))),
    }
    wanted = [functions[op_type](end.astype(np.float64)) for end in (lo, hi)]
    np.testing.assert_allclose([y.lo.item(), y.hi.item()], wanted, rtol=1e-4)


@pytest.mark.parametrize("op_type", ["ReduceSum", "ReduceMean", "ReduceL1", "ReduceMax", "ReduceMin"])
def test_free_axis(op_type: str):
    """A sum of unknown length is unbounded on the sides on which its elements can be; means and extremes are not."""
    node, constants = reduce_node(op_type, [0], 18)
    lo, hi = np.asarray([[0, -1, 1, -2]], np.float32), np.asarray([[0, 0, 2, -1]], np.float32)
    proto = bounded_model([node], lo, hi, ["N", 4], constants=constants)
    y = bounds_of(check_sound(proto, RANGES, count=4, engines=ENGINES), "y")
    ends = {"ReduceSum": ([0, -np.inf, 0, -np.inf], [0, 0, np.inf, 0]), "ReduceL1": ([0, 0, 0, 0], [0] + [np.inf] * 3)}
    wanted = ends.get(op_type, (lo[0], hi[0]))
    for got, end in zip((y.lo, y.hi), wanted, strict=True):
        np.testing.assert_allclose(np.broadcast_to(got, (1, 4))[0], end, rtol=0.01)


@pytest.mark.parametrize("op_type", [*LINEAR, "ReduceL1", "ReduceSumSquare"])
def test_integers_behind_reductions(op_type: str):
    node, constants = reduce_node(op_type, [2, 3], 18)
    proto = grid_model([node], [[[[0.5]], [[0.75]]]], ["N", 2, 2, 3], constants=constants)
    grid = bounds_of(check_sound(proto, count=8, engines=ENGINES), "y").grid
    assert grid is not None
    ends = {"ReduceSum": (-48, 42), "ReduceMean": (-48, 42), "ReduceL1": (0, 48), "ReduceSumSquare": (0, 6 * 64)}
    assert (grid.lo.min(), grid.hi.max()) == ends.get(op_type, (-8, 7))
    scale = {"ReduceMean": np.array([0.5, 0.75]) / 6, "ReduceSumSquare": np.array([0.25, 0.5625])}
    np.testing.assert_allclose(grid.scale.ravel(), scale.get(op_type, np.array([0.5, 0.75])))


@pytest.mark.parametrize("op_type", LINEAR)
def test_scales_that_differ_along_the_axis_are_no_grid(op_type: str):
    node, constants = reduce_node(op_type, [1], 18)
    proto = grid_model([node], [[0.5, 0.75]], ["N", 2], constants=constants)
    assert bounds_of(check_sound(proto, count=4, engines=ENGINES), "y").grid is None


@pytest.mark.parametrize("op_type", ["ReduceSum", "ReduceMean"])
@pytest.mark.parametrize("offset", [0.5, 0.125])
def test_zero_points_add_up(op_type: str, offset: float):
    node, constants = reduce_node(op_type, [1], 18)
    proto = grid_model([node], 0.5, ["N", 3], offset=offset, constants=constants)
    grid = bounds_of(check_sound(proto, count=8, engines=ENGINES), "y").grid
    assert grid is not None
    count = 1 if op_type == "ReduceSum" else 3
    real = (grid.scale * (grid.lo - grid.zero_point)).item() * count, (grid.scale * (grid.hi - grid.zero_point)).item()
    np.testing.assert_allclose(real[0], 3 * (offset - 4))
    np.testing.assert_allclose(real[1] * count, 3 * (offset + 3.5))


@pytest.mark.parametrize(
    "op_type", ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceProd", "ReduceSumSquare", "ReduceL1"]
)
def test_sums_of_integers(op_type: str):
    """int32: they wrap around where they leave the type."""
    for largest in (100, 2**30):
        node, constants = reduce_node(op_type, [1], 18)
        ends = np.asarray([[-largest, 0, 1]]), np.asarray([[largest, 5, largest]])
        proto = bounded_model([node], *ends, [2, 3], constants=constants, dtype=np.int32)
        y = bounds_of(check_sound(proto, {"x": (-(2**31), 2**31 - 1)}, count=6), "y")
        assert np.isfinite(y.lo).all()
        assert y.hi.max() <= 2**31


@pytest.mark.parametrize(("lo", "hi"), [(-3e38, 3e38), (1e38, 3e38), (1e-45, 1e-30), (-1e-44, 1e-40), (-100, 100)])
def test_largest_floats(lo: float, hi: float):
    """Sums that overflow, or vanish, in float32."""
    nodes = [helper.make_node(op_type, ["t", "axes"], [op_type]) for op_type in OPERATORS]
    constants = {"axes": np.asarray([1], np.int64)}
    proto = bounded_model(nodes, lo, hi, [2, 5], outputs=OPERATORS, constants=constants)
    with np.errstate(all="ignore"):
        check_sound(proto, {"x": (-3.2e38, 3.2e38)}, count=6, engines=ENGINES)


def test_long_sums_of_any_order():
    """Partial sums of 10^5 floats round in each engine's own order."""
    nodes = [
        helper.make_node("ReduceSum", ["t", "a"], ["y"]),
        helper.make_node("ReduceMean", ["t", "a"], ["m"]),
        helper.make_node("ReduceL2", ["t", "a"], ["e"]),
    ]
    constants = {"a": np.asarray([1], np.int64)}
    for lo, hi in ((0.1, 0.1), (-0.1, 0.7), (-0.1, -0.1)):
        proto = bounded_model(nodes, lo, hi, ["N", 100_000], outputs=["y", "m", "e"], constants=constants)
        values = check_sound(proto, RANGES, count=4, engines=ENGINES)
        assert bounds_of(values, "y").hi <= max(1.01 * 1e5 * hi, -9e3)


def test_empty_axes_and_scalars():
    nodes = [
        helper.make_node("ReduceSum", ["t", "a"], ["y"], noop_with_empty_axes=1),
        helper.make_node("ReduceMax", ["t", "a"], ["z"], noop_with_empty_axes=1),
        helper.make_node("ReduceSum", ["t"], ["w"], keepdims=0),
        helper.make_node("ReduceMean", ["w"], ["v"], keepdims=0),
    ]
    lo, hi = box((1, 3), -2, 2)
    constants = {"a": np.zeros(0, np.int64)}
    proto = bounded_model(nodes, lo, hi, [2, 3], outputs=["y", "z", "w", "v"], constants=constants)
    values = check_sound(proto, RANGES, count=6)
    for name in ("y", "z"):
        np.testing.assert_array_equal(bounds_of(values, name).lo, lo)
    np.testing.assert_allclose(bounds_of(values, "w").hi, 2 * hi.sum(), rtol=1e-5)


@pytest.mark.parametrize(("exclusive", "reverse"), [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("axis", [1, 2, -3])
def test_cumulative_sums(exclusive: int, reverse: int, axis: int):
    node = helper.make_node("CumSum", ["t", "a"], ["y"], exclusive=exclusive, reverse=reverse)
    lo, hi = box((1, 3, 1), -4, 4)
    constants = {"a": np.asarray(axis, np.int64)}
    values = check_sound(bounded_model([node], lo, hi, ["N", 3, 4], constants=constants), RANGES, engines=ENGINES)
    y = bounds_of(values, "y")
    assert not values.unfollowed
    if axis == -3:
        assert (np.broadcast_to(y.hi, hi.shape)[hi > 0] == np.inf).all()
        return
    for got, end in ((y.lo, lo), (y.hi, hi)):
        full = np.broadcast_to(end.astype(np.float64), (1, 3, 4))
        full = np.flip(full, axis) if reverse else full
        wanted = np.cumsum(full, axis) - (full if exclusive else 0)
        wanted = np.flip(wanted, axis) if reverse else wanted
        np.testing.assert_allclose(np.broadcast_to(got, wanted.shape), wanted, atol=1e-4)


@pytest.mark.parametrize(("exclusive", "reverse"), [(0, 0), (1, 1)])
def test_long_cumulative_sums_are_bounded_as_a_whole(exclusive: int, reverse: int, monkeypatch: pytest.MonkeyPatch):
    """Where each element's own bounds would be too many, no element is larger than a sum of any number of them."""
    monkeypatch.setattr(reductions, "LARGEST_WORK", 8)
    node = helper.make_node("CumSum", ["t", "a"], ["y"], exclusive=exclusive, reverse=reverse)
    lo, hi = np.float32([[-1.0], [0.0]]), np.float32([[0.5], [2.0]])
    proto = bounded_model([node], lo, hi, ["N", 2, 9], constants={"a": np.asarray(2, np.int64)})
    values = check_sound(proto, RANGES, engines=ENGINES)
    assert not values.unfollowed
    y = bounds_of(values, "y")
    np.testing.assert_array_equal(np.broadcast_to(y.lo, (1, 2, 1)).ravel(), [-np.inf, 0.0])
    np.testing.assert_array_equal(np.broadcast_to(y.hi, (1, 2, 1)).ravel(), [np.inf, np.inf])


def test_integers_behind_cumulative_sums():
    node = helper.make_node("CumSum", ["t", "a"], ["y"])
    proto = grid_model([node], [[[0.5], [0.75]]], ["N", 2, 3], constants={"a": np.asarray(2, np.int64)}, offset=0.125)
    grid = bounds_of(check_sound(proto, count=8, engines=ENGINES), "y").grid
    assert grid is not None
    np.testing.assert_array_equal(grid.lo.ravel(), [-8, -16, -24])
    np.testing.assert_array_equal(grid.hi.ravel(), [7, 14, 21])


def test_mean_of_tensors():
    nodes = [
        helper.make_node("Mul", ["t", "k"], ["t2"]),
        helper.make_node("Mean", ["t", "t2", "t"], ["y"]),
        helper.make_node("Mean", ["t"], ["z"]),
    ]
    constants = {"k": np.asarray(-2, np.float32)}
    lo, hi = box((1, 3), -4, 4)
    proto = bounded_model(nodes, lo, hi, ["N", 3], outputs=["y", "z"], constants=constants)
    y = bounds_of(check_sound(proto, RANGES, engines=ENGINES), "y")
    np.testing.assert_allclose(y.lo, (2 * lo - 2.0 * hi) / 3, atol=1e-4)
    grid = bounds_of(
        check_sound(grid_model(nodes, 0.5, ["N", 3], outputs=["y", "z"], constants=constants), engines=ENGINES), "y"
    ).grid
    assert grid is not None
    np.testing.assert_allclose(grid.scale, 0.5 / 3)


def test_axes_that_are_computed_are_not_followed():
    node = helper.make_node("ReduceMax", ["t", "a"], ["y"])
    proto = bounded_model([node], 0, 1, [2, 3], free={"a": [1]})
    proto.graph.input[1].type.tensor_type.elem_type = 7
    values = analyse(proto)
    assert list(values.unfollowed.values()) == ["input 1 is not constant"]


@examples(40)
@given(st.data())
def test_any_reduction(data: st.DataObject):
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    apart = tuple(data.draw(st.sampled_from([1, n])) for n in shape)
    axes = data.draw(st.lists(st.integers(0, len(shape) - 1), unique=True, min_size=1))
    signs = st.sampled_from([[1], [-1, 1], [0, 1], [-1]])
    rng = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    ends = np.sort(rng.choice(data.draw(signs), (2, *apart)) * np.exp2(rng.uniform(-9, 9, (2, *apart))), axis=0)
    op_type = data.draw(st.sampled_from(OPERATORS))
    node, constants = reduce_node(op_type, axes, 18, keepdims=data.draw(st.integers(0, 1)))
    named = ["N", *shape[1:]] if data.draw(st.booleans()) and apart[0] == 1 else list(shape)
    proto = bounded_model([node], ends[0], ends[1], named, constants=constants)
    with np.errstate(all="ignore"):
        check_sound(proto, RANGES, count=6, engines=ENGINES)
