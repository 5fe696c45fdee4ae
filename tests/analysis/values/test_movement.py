"""Operators that only move elements: bounds go where the operator itself puts them, and no run leaves them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from anybit.analysis.values.interpreter import Values, analyse
from anybit.analysis.values.tensor_values import TensorValues
from anybit.number_formats import IntFormat
from tests.analysis.values.soundness import bounds_of, check_sound
from tests.analysis.values.sources import assert_same, bounded_model, grid_model, moved_by
from tests.models import model
from tests.strategies import Array, examples

ENGINES = ("reference", "onnxruntime")
RANGES = {"x": (-100.0, 100.0)}
CHANNELS = (1, 4, 1, 1)


def ints(*numbers: int) -> Array:
    return np.asarray(numbers, np.int64)


def levels(shape: tuple[int, ...], seed: int = 0) -> Array:
    """Numbers that tell elements apart, exact in every float type."""
    return np.random.default_rng(seed).permutation(int(np.prod(shape))).reshape(shape).astype(np.float32) / 4


# operator, attributes, constant inputs, opset; T is (2, 4, 2, 6), bounds by channel. All of them keep the batch axis.
MOVES: list[tuple[str, dict[str, Any], dict[str, Array], int]] = [
    ("Identity", {}, {}, 13),
    ("Dropout", {}, {}, 10),
    ("Dropout", {}, {}, 13),
    ("Flatten", {}, {}, 13),
    ("Reshape", {}, {"s": ints(0, -1)}, 13),
    ("Reshape", {}, {"s": ints(-1, 48)}, 8),
    ("Reshape", {}, {"s": ints(-1, 4, 12)}, 14),
    ("Reshape", {}, {"s": ints(0, 0, -1)}, 14),
    ("Reshape", {}, {"s": ints(0, 2, 2, 12)}, 14),
    ("Reshape", {"allowzero": 1}, {"s": ints(-1, 48)}, 14),
    ("Transpose", {"perm": [0, 2, 3, 1]}, {}, 13),
    ("Transpose", {}, {}, 13),
    ("Unsqueeze", {"axes": [1, 3]}, {}, 11),
    ("Unsqueeze", {}, {"s": ints(-1, 0)}, 13),
    ("Expand", {}, {"s": ints(3, 1, 4, 1, 6)}, 13),
    ("Tile", {}, {"s": ints(2, 3, 1, 2)}, 13),
    ("Slice", {"starts": [1], "ends": [3], "axes": [1]}, {}, 9),
    ("Slice", {"starts": [0, 1], "ends": [9, -1]}, {}, 8),
    ("Slice", {}, {"b": ints(-1), "e": ints(-99), "a": ints(1), "s": ints(-2)}, 13),
    ("Slice", {}, {"b": ints(1, 0), "e": ints(2**62, 5), "a": ints(-3, 3), "s": ints(2, 3)}, 13),
    ("Gather", {"axis": 1}, {"i": ints(3, -1, 0)}, 13),
    ("Gather", {"axis": -3}, {"i": ints(2, 1, 0, 0).reshape(2, 2)}, 13),
    ("Gather", {"axis": 1}, {"i": np.asarray(2, np.int64)}, 13),
    ("Gather", {"axis": 2}, {"i": ints(1)}, 13),
    ("Split", {"axis": 1}, {}, 11),
    ("Split", {"axis": 1, "split": [1, 3]}, {}, 11),
    ("Split", {"axis": 1}, {"s": ints(3, 1)}, 13),
    ("Split", {"axis": -2}, {}, 13),
    ("Split", {"axis": 1, "num_outputs": 2}, {}, 18),
    ("Split", {"axis": 3, "num_outputs": 2}, {}, 18),
    ("DepthToSpace", {"blocksize": 2}, {}, 13),
    ("DepthToSpace", {"blocksize": 2, "mode": "CRD"}, {}, 13),
    ("SpaceToDepth", {"blocksize": 2}, {}, 13),
    ("Pad", {}, {"p": ints(0, 0, 0, 0, 0, 0, 0, 0)}, 13),
    ("Pad", {"mode": "reflect"}, {"p": ints(0, 0, 1, 1, 0, 0, 1, 3)}, 13),
    ("Pad", {"mode": "edge"}, {"p": ints(0, 0, 1, 0, 0, 0, 0, 3)}, 13),
    ("Pad", {"mode": "edge", "pads": [0, 0, 1, 0, 0, 0, 0, 3]}, {}, 9),
    ("Pad", {"mode": "wrap"}, {"p": ints(1, 2), "_": np.zeros((), np.float32), "a": ints(3)}, 19),
]


# The batch axis is mixed into others: only for a batch of known size can bounds follow.
MIXED: list[tuple[str, dict[str, Any], dict[str, Array], int]] = [
    ("Flatten", {"axis": 2}, {}, 13),
    ("Flatten", {"axis": -1}, {}, 13),
    ("Flatten", {"axis": 0}, {}, 9),
    ("Reshape", {}, {"s": ints(-1, 2, 6)}, 14),
    ("Reshape", {}, {"s": ints(6, 4, 4)}, 14),
]
CASES = [(*m, b) for m in MOVES for b in (2, "N")] + [(*m, 2) for m in MIXED]


def outputs_of(op_type: str) -> list[str]:
    return ["y", "y2"] if op_type == "Split" else ["y"]


def side_by_side(
    cases: Sequence[tuple[str, dict[str, Any], dict[str, Array]]],
) -> tuple[list[onnx.NodeProto], dict[str, Array]]:
    """Nodes on t and their constants: a session takes longer to make than all of its runs."""
    nodes, arrays = list[onnx.NodeProto](), dict[str, Array]()
    for number, (op_type, attributes, constants) in enumerate(cases):
        own = {f"{name}_{number}": array for name, array in constants.items()}
        names = [f"{name}_{number}" for name in outputs_of(op_type)]
        nodes.append(helper.make_node(op_type, ["t", *own], names, **attributes))
        arrays |= own
    return nodes, arrays


def assert_moved(values: Values, nodes: Sequence[onnx.NodeProto], constants: dict[str, Array], opset: int) -> None:
    """What is known of t, each node moves as it moves the elements."""
    before = bounds_of(values, "t")
    for node in nodes:
        own = {name: constants[name] for name in node.input[1:]}
        for name, wanted in zip(node.output, moved_by(node, before, (2, 4, 2, 6), own, opset), strict=True):
            assert_same(bounds_of(values, name), wanted)


@pytest.mark.parametrize(("opset", "batch"), sorted({c[3:] for c in CASES}, key=str))
def test_bounds_of_channels_move_as_elements_do(opset: int, batch: int | str):
    nodes, constants = side_by_side([c[:3] for c in CASES if c[3:] == (opset, batch)])
    outputs = [name for node in nodes for name in node.output]
    lo = levels(CHANNELS)
    proto = bounded_model(nodes, lo, lo + 2, [batch, 4, 2, 6], outputs=outputs, constants=constants, opset=opset)
    values = check_sound(proto, RANGES, count=5, engines=ENGINES)
    assert not values.unfollowed
    assert_moved(values, nodes, constants, opset)


@pytest.mark.parametrize("opset", sorted({m[3] for m in MOVES}))
def test_grids_of_channels_move_as_elements_do(opset: int):
    nodes, constants = side_by_side([m[:3] for m in MOVES if m[3] == opset])
    outputs = [name for node in nodes for name in node.output]
    proto = grid_model(nodes, 1 + levels(CHANNELS), ["N", 4, 2, 6], outputs=outputs, constants=constants, opset=opset)
    values = check_sound(proto, count=5, engines=ENGINES)
    before = bounds_of(values, "t")
    assert before.grid is not None
    assert before.grid.datatype == IntFormat(4, signed=True)
    assert_moved(values, nodes, constants, opset)


def test_bounds_return_from_a_flattened_tensor():
    nodes = [
        helper.make_node("Flatten", ["t"], ["f"]),
        helper.make_node("Reshape", ["f", "s"], ["y"]),
    ]
    lo = levels(CHANNELS)
    proto = bounded_model(nodes, lo, lo + 1, ["N", 4, 3, 2], constants={"s": ints(-1, 4, 3, 2)})
    values = check_sound(proto, RANGES, count=4, engines=ENGINES)
    assert bounds_of(values, "y").lo.shape == CHANNELS
    np.testing.assert_array_equal(bounds_of(values, "y").lo, lo)


def test_reshape_of_unknown_pixels_keeps_channels():
    node = helper.make_node("Reshape", ["t", "s"], ["y"])
    lo = levels(CHANNELS)
    proto = bounded_model([node], lo, lo + 1, ["N", 4, "H", "W"], constants={"s": ints(0, 0, -1)})
    y = bounds_of(check_sound(proto, RANGES, count=4, engines=ENGINES), "y")
    np.testing.assert_array_equal(y.lo, lo[:, :, :, 0])


def test_reshape_that_mixes_the_batch_into_channels_is_bounded():
    node = helper.make_node("Reshape", ["t", "s"], ["y"])
    lo = levels((1, 4, 1))
    proto = bounded_model([node], lo, lo + 1, ["N", 4, 3], constants={"s": ints(6, -1)})
    y = bounds_of(check_sound(proto, {"x": (-9, 9)}, count=4, engines=ENGINES), "y")
    assert (y.lo.min(), y.hi.max()) == (0.0, lo.max() + 1)


def test_large_tensor_keeps_its_hull():
    node = helper.make_node("Reshape", ["t", "s"], ["y"])
    lo = levels((1, 1, 3))
    proto = bounded_model([node], lo, lo + 1, ["N", 1 << 20, 3], constants={"s": ints(0, -1)})
    y = bounds_of(analyse(proto), "y")
    assert (float(y.lo), float(y.hi)) == (0.0, 1.5)


@pytest.mark.parametrize("opset", [11, 13])
def test_squeeze(opset: int):
    attributes, constants = ({"axes": [0, -1]}, {}) if opset < 13 else ({}, {"s": ints(0, -1)})
    node = helper.make_node("Squeeze", ["t", *constants], ["y"], **attributes)
    lo = levels((1, 4, 1, 1))
    proto = bounded_model([node], lo, lo + 1, [1, 4, 3, 1], constants=constants, opset=opset)
    values = check_sound(proto, RANGES, count=4, engines=ENGINES)
    assert_same(bounds_of(values, "y"), moved_by(node, bounds_of(values, "t"), (1, 4, 3, 1), constants, opset)[0])


def test_squeeze_of_all_single_axes():
    lo = levels((1, 4, 1))
    proto = bounded_model([helper.make_node("Squeeze", ["t"], ["y"])], lo, lo + 1, [1, 4, 1])
    values = check_sound(proto, RANGES, count=4, engines=ENGINES)
    np.testing.assert_array_equal(bounds_of(values, "y").lo, lo.reshape(4))


def test_moves_of_a_scalar():
    nodes = [
        helper.make_node("Identity", ["t"], ["i"]),
        helper.make_node("Reshape", ["i", "s"], ["r"]),
        helper.make_node("Unsqueeze", ["t", "a"], ["u"]),
        helper.make_node("Squeeze", ["u"], ["q"]),
        helper.make_node("Transpose", ["q"], ["p"]),
        helper.make_node("Expand", ["p", "e"], ["y"]),
    ]
    constants = {"s": ints(1, 1), "a": ints(0), "e": ints(2, 3)}
    proto = bounded_model(nodes, -1.5, 2.5, [], outputs=["y", "r"], constants=constants)
    values = check_sound(proto, RANGES, count=6, engines=ENGINES)
    for name in ("y", "r"):
        assert (float(bounds_of(values, name).lo), float(bounds_of(values, name).hi)) == (-1.5, 2.5)


@pytest.mark.parametrize("op_type", ["Reshape", "Expand", "Tile", "Slice", "Gather", "Unsqueeze"])
def test_computed_positions_give_the_hull(op_type: str):
    """Shapes, repeats, starts and indices that are fed."""
    feeds = {"Reshape": [3], "Expand": [3], "Tile": [3], "Slice": [1], "Gather": [2], "Unsqueeze": [1]}
    lo = levels((1, 4, 1))
    extra = ["e"] if op_type == "Slice" else []
    proto = model(
        [
            helper.make_node("Max", ["x", "lo"], ["u"]),
            helper.make_node("Min", ["u", "hi"], ["t"]),
            helper.make_node(op_type, ["t", "i", *extra], ["y"]),
        ],
        {"lo": lo, "hi": lo + 1, "e": ints(2)},
        inputs={"x": [2, 4, 3]},
        outputs=["y"],
        imports={"": 13},
        ir_version=8,
    )
    proto.graph.input.append(helper.make_tensor_value_info("i", TensorProto.INT64, feeds[op_type]))
    y = bounds_of(analyse(proto), "y")
    if op_type == "Unsqueeze":
        assert not np.isfinite(y.lo).any()
        return
    assert y.lo.min() == 0.0
    assert y.hi.max() == lo.max() + 1


@pytest.mark.parametrize("axis", [1, -1])
def test_concat_keeps_the_bounds_and_grids_of_each_part(axis: int):
    nodes = [
        helper.make_node("Mul", ["t", "k"], ["t2"]),
        helper.make_node("Concat", ["t", "t2", "t"], ["y"], axis=axis),
    ]
    proto = grid_model(nodes, [[[0.5], [0.25]]], ["N", 2, 3], constants={"k": np.float32(3)})
    values = check_sound(proto, count=6, engines=ENGINES)
    t, t2 = bounds_of(values, "t"), bounds_of(values, "t2")
    y = bounds_of(values, "y")
    assert y.grid is not None
    assert t.grid is not None
    assert t2.grid is not None
    for got, parts in ((y.lo, (t.lo, t2.lo, t.lo)), (y.grid.scale, (t.grid.scale, t2.grid.scale, t.grid.scale))):
        full = np.concatenate([np.broadcast_to(p, (1, 2, 3)) for p in parts], axis)
        np.testing.assert_array_equal(np.broadcast_to(got, full.shape), full)
    assert y.grid.datatype == IntFormat(4, signed=True)


def test_concat_of_unknown_sizes_is_the_hull():
    node = helper.make_node("Concat", ["t", "z"], ["y"], axis=0)
    lo = levels((1, 3))
    proto = bounded_model([node], lo, lo + 1, ["N", 3], free={"z": ["M", 3]})
    values = check_sound(proto, {"x": (-9, 9), "z": (-1, 0.25)}, count=5, engines=ENGINES)
    np.testing.assert_array_equal(bounds_of(values, "y").lo, np.minimum(lo, -1))
    np.testing.assert_array_equal(bounds_of(values, "y").hi, np.maximum(lo + 1, 0.25))


@pytest.mark.parametrize("opset", [9, 13])
@pytest.mark.parametrize("number", [0.0, -7.5, 3.25])
@pytest.mark.parametrize("pads", [[0, 0, 1, 0, 0, 2], [0, 1, 0, 0, 0, 0], [0, -1, 1, 0, 0, 0], [0, 1, 1, 0, -1, 0]])
def test_pad_joins_the_constant_along_padded_axes(opset: int, number: float, pads: list[int]):
    constants = {} if opset < 11 else {"p": ints(*pads), "v": np.float32(number)}
    attributes: dict[str, Any] = {"pads": pads, "value": number} if opset < 11 else {}
    node = helper.make_node("Pad", ["t", *constants], ["y"], **attributes)
    lo = levels((1, 3, 1))
    arrays = {k: np.asarray(v) for k, v in constants.items()}
    proto = bounded_model([node], lo, lo + 1, ["N", 3, 4], constants=arrays, opset=opset)
    engines = ENGINES if min(pads) >= 0 else ("onnxruntime",)  # onnx's reference cannot crop
    values = check_sound(proto, RANGES, count=5, engines=engines)
    y = bounds_of(values, "y")
    moved = moved_by(node, bounds_of(values, "t"), (2, 3, 4), arrays, opset, engine="onnxruntime")[0]
    pixels = pads[2] or pads[5]
    wanted = (moved.lo.min(2), moved.hi.max(2)) if pixels else (moved.lo[:, :, 0], moved.hi[:, :, 0])
    np.testing.assert_array_equal(np.broadcast_to(y.lo, moved.lo.shape)[:, :, 0], wanted[0])
    np.testing.assert_array_equal(np.broadcast_to(y.hi, moved.hi.shape)[:, :, 0], wanted[1])


@pytest.mark.parametrize(("number", "kept"), [(0.0, True), (1.5, True), (12.0, True), (0.1, False)])
@pytest.mark.parametrize("pads", [[0, 0, 1, 0, 0, 1], [0, 1, 0, 0, 0, 0]])
def test_pad_keeps_a_grid_that_has_the_constant(number: float, kept: bool, pads: list[int]):
    node = helper.make_node("Pad", ["t", "p", "v"], ["y"])
    constants = {"p": ints(*pads), "v": np.asarray(number, np.float32)}
    proto = grid_model([node], [[[0.5], [0.25]]], ["N", 2, 3], constants=constants, offset=0.5)
    grid = bounds_of(check_sound(proto, count=5, engines=ENGINES), "y").grid
    assert (grid is not None) == kept
    if grid is not None and number == 12.0:
        assert grid.hi.max() >= 23


@pytest.mark.parametrize(("datatype", "kept"), [("INT4", "INT4"), ("BIPOLAR", "None"), ("UINT2", "UINT2")])
def test_zero_padding_of_a_declared_format(datatype: str, kept: str):
    node = helper.make_node("Pad", ["t", "p"], ["y"])
    proto = grid_model([node], 0.5, ["N", 3], datatype=datatype, constants={"p": ints(0, 1, 0, 0)})
    grid = bounds_of(check_sound(proto, count=5, engines=ENGINES), "y").grid
    assert grid is not None
    assert str(grid.datatype) == kept


@pytest.mark.parametrize("indices", [ints(0, 2, 1, 3, 3, 0).reshape(2, 3, 1), ints(1, 1).reshape(1, 2, 1)])
def test_gather_elements(indices: Array):
    node = helper.make_node("GatherElements", ["t", "i"], ["y"], axis=1)
    lo = levels((1, 4, 1))
    proto = bounded_model([node], lo, lo + 1, [2, 4, 3], constants={"i": indices})
    values = check_sound(proto, RANGES, count=4, engines=("onnxruntime",))  # onnx's reference wants full indices
    wanted = moved_by(node, bounds_of(values, "t"), (2, 4, 3), {"i": indices}, engine="onnxruntime")[0]
    assert_same(bounds_of(values, "y"), wanted)


@pytest.mark.parametrize("indices", [ints(0, 2, 1, 3).reshape(2, 2), ints(1, -1).reshape(2, 1)])
def test_gather_nd(indices: Array):
    node = helper.make_node("GatherND", ["t", "i"], ["y"])
    lo = levels((1, 4, 3))
    proto = bounded_model([node], lo, lo + 1, [2, 4, 3], constants={"i": indices})
    values = check_sound(proto, RANGES, count=4, engines=ENGINES)
    assert_same(bounds_of(values, "y"), moved_by(node, bounds_of(values, "t"), (2, 4, 3), {"i": indices})[0])


def test_reverse_sequence_keeps_channels():
    node = helper.make_node("ReverseSequence", ["t", "l"], ["y"], time_axis=1, batch_axis=0)
    lo = levels((1, 4, 3))
    proto = bounded_model([node], lo, lo + 1, [2, 4, 3], constants={"l": ints(2, 3)})
    y = bounds_of(check_sound(proto, RANGES, count=4, engines=ENGINES), "y")
    np.testing.assert_array_equal(y.lo, lo.min(1, keepdims=True))


def test_gather_nd_by_batch():
    node = helper.make_node("GatherND", ["t", "i"], ["y"], batch_dims=1)
    lo = levels((1, 4, 3))
    constants = {"i": ints(1, 2).reshape(2, 1)}
    values = check_sound(bounded_model([node], lo, lo + 1, [2, 4, 3], constants=constants), RANGES, count=4)
    np.testing.assert_array_equal(bounds_of(values, "y").lo, lo[0].min(0))


def test_depth_to_space_of_unknown_pixels():
    node = helper.make_node("DepthToSpace", ["t"], ["y"], blocksize=2)
    lo = levels((1, 8, 1, 1))
    values = check_sound(bounded_model([node], lo, lo + 1, ["N", 8, "H", "W"]), RANGES, count=4, engines=ENGINES)
    np.testing.assert_array_equal(bounds_of(values, "y").lo.ravel(), lo.reshape(4, 2).min(0))


def test_dropout_in_training_is_not_followed():
    node = helper.make_node("Dropout", ["t", "r", "m"], ["y"])
    constants = {"r": np.float32(0.5), "m": np.asarray(True)}
    proto = bounded_model([node], 0, 1, [3], constants={k: np.asarray(v) for k, v in constants.items()}, opset=13)
    values = analyse(proto)
    assert len(values.unfollowed) == 1
    assert not bounds_of(values, "y").is_bounded


def test_center_crop_pad():
    node = helper.make_node("CenterCropPad", ["t", "s"], ["y"], axes=[2])
    lo = levels((1, 4, 1)) + 1
    values = check_sound(bounded_model([node], lo, lo + 1, [2, 4, 3], constants={"s": ints(6)}), RANGES, count=4)
    y = bounds_of(values, "y")
    np.testing.assert_array_equal(np.broadcast_to(y.lo, (1, 4, 1)), np.zeros((1, 4, 1)))
    np.testing.assert_array_equal(y.hi, lo + 1)


@pytest.mark.parametrize(("shape", "sizes"), [([2, 3, 4], [2, 3, 4]), (["N", 3], [None, 3]), ([], [])])
def test_shape_and_size(shape: list[int | str], sizes: list[int | None]):
    nodes = [helper.make_node("Shape", ["t"], ["y"]), helper.make_node("Size", ["t"], ["n"])]
    values = check_sound(bounded_model(nodes, 0, 1, shape, outputs=["y", "n"]), RANGES, count=2, engines=ENGINES)
    y = bounds_of(values, "y")
    for i, n in enumerate(sizes):
        bounds = [np.broadcast_to(b, len(sizes))[i] for b in (y.lo, y.hi)]
        assert bounds == ([0.0, float(2**63)] if n is None else [n, n])
    assert bounds_of(values, "n").is_point == (None not in sizes)


def test_tensors_made_of_sizes():
    nodes = [
        helper.make_node("Shape", ["t"], ["s"]),
        helper.make_node("ConstantOfShape", ["s"], ["c"], value=helper.make_tensor("v", TensorProto.FLOAT, [1], [2.5])),
        helper.make_node("EyeLike", ["t"], ["e"]),
        helper.make_node("Gather", ["s", "i"], ["n"]),
        helper.make_node("Range", ["zero", "n", "step"], ["r"]),
    ]
    constants = {"i": np.asarray(0, np.int64), "zero": np.asarray(0, np.int64), "step": np.asarray(1, np.int64)}
    proto = bounded_model(nodes, 0, 1, ["N", 3], outputs=["c", "e", "r"], constants=constants)
    values = check_sound(proto, RANGES, count=2, engines=ENGINES)
    assert [float(b) for b in (bounds_of(values, "c").lo, bounds_of(values, "c").hi)] == [2.5, 2.5]
    assert [float(b) for b in (bounds_of(values, "e").lo, bounds_of(values, "e").hi)] == [0, 1]
    assert float(bounds_of(values, "r").lo) == 0


@st.composite
def reshapes(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """A shape, the shape of bounds of it, and another shape of as many elements."""
    factors = draw(st.lists(st.sampled_from([2, 3]), min_size=1, max_size=4))

    def grouped() -> tuple[int, ...]:
        cuts = sorted(draw(st.lists(st.integers(0, len(factors)), max_size=3)))
        edges = [0, *cuts, len(factors)]
        return tuple(int(np.prod(factors[a:b])) for a, b in itertools.pairwise(edges))

    shape, other = grouped(), grouped()
    return shape, tuple(draw(st.sampled_from([1, n])) for n in shape), other


@examples(60)
@given(reshapes())
def test_any_reshape_moves_all_bounds(case: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]):
    shape, bound, other = case
    lo = levels(bound)
    node = helper.make_node("Reshape", ["t", "s"], ["y"])
    constants = {"s": ints(*other)}
    values = analyse(bounded_model([node], lo, lo + 1, shape, constants=constants))
    assert_same(bounds_of(values, "y"), moved_by(node, bounds_of(values, "t"), shape, constants)[0])


@examples(60)
@given(st.data())
def test_any_slice_moves_all_bounds(data: st.DataObject):
    shape = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 4)))
    lo = levels(tuple(data.draw(st.sampled_from([1, n])) for n in shape))
    numbers = st.integers(-7, 7)
    count = data.draw(st.integers(1, 3))
    axes = data.draw(st.permutations(range(3)))[:count]
    starts, ends = (data.draw(st.lists(numbers, min_size=count, max_size=count)) for _ in range(2))
    steps = data.draw(st.lists(numbers.filter(bool), min_size=count, max_size=count))
    constants = {"b": ints(*starts), "e": ints(*ends), "a": ints(*axes), "s": ints(*steps)}
    node = helper.make_node("Slice", ["t", *constants], ["y"])
    values = analyse(bounded_model([node], lo, lo + 1, shape, constants=constants))
    wanted = moved_by(node, bounds_of(values, "t"), shape, constants)[0]
    if wanted.lo.size:
        assert_same(TensorValues(bounds_of(values, "y").lo, bounds_of(values, "y").hi), wanted)
