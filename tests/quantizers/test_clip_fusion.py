"""A Clip beside a quantiser and both as one: equal at every number that could tell them apart, or not one."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from anybit.quantizers.clip_fusion import before_clip, behind_clip, clip_limits
from anybit.quantizers.quantizer import Quantizer, read_quant
from tests.formats.qdq.linear_models import loaded
from tests.models import model, parameters, quant
from tests.strategies import examples

_BOUNDS = st.sampled_from([-np.inf, -4.0, -2.25, -2.0, -0.75, -0.5, -0.25, 0.0, 0.2, 0.25, 0.5, 1.0, 1.75, 3.0, np.inf])
_ZERO_POINTS = st.sampled_from([0.0, 2.0, -3.0])
_POINTS = np.unique(np.concatenate([np.arange(-40, 41) / 8, [np.nextafter(np.float32(k / 8), np.float32(s))
                                    for k in range(-40, 41) for s in (-9, 9)]])).astype(np.float32)  # fmt: skip


def _clip(x: str, y: str) -> onnx.NodeProto:
    return helper.make_node("Clip", [x, "least", "most"], [y], name="clip")


def _limits(least: float, most: float) -> dict[str, np.ndarray]:
    return {"least": np.float32(least), "most": np.float32(most)}


def _node(graph: ir.Graph) -> ir.Node:
    return next(n for n in graph if n.name == "q_node")


def _quantizer(graph, source) -> Quantizer:
    found = read_quant(_node(graph), source)
    assert isinstance(found, Quantizer)
    return found


@given(
    _BOUNDS, _BOUNDS, st.sampled_from([0.0, 2.0, -3.0]), st.sampled_from([0, 1]), st.sampled_from(["ROUND", "FLOOR"])
)
@examples(150)
def test_a_clip_before_a_quantiser(least, most, zeropt, signed, mode):
    least, most = min(least, most), max(least, most)
    nodes = [_clip("x", "c"), quant("c", "q", signed=signed, rounding_mode=mode)]
    values = _limits(least, most) | parameters("q", scale=0.5, bits=3, zeropt=zeropt)
    source = loaded(model(nodes, values, inputs={"x": [4]}, outputs=["q"]))
    node = _node(source.graph)
    alone = _quantizer(source.graph, source)
    found = behind_clip(node.inputs[0], alone)
    expected = alone(np.clip(_POINTS, np.float32(least), np.float32(most)))
    if found is None:  # nothing is gained, or the bounds are no grid's
        narrowed = alone.between(*(alone.integers(np.float32([b]))[0] for b in (least, most)))
        assert narrowed.grid is None or (narrowed.lo, narrowed.hi) == (alone.lo, alone.hi)
        return
    clip, both = found
    assert clip.name == "clip"
    np.testing.assert_array_equal(both(_POINTS), expected)


@given(_BOUNDS, _BOUNDS, _ZERO_POINTS, st.sampled_from([0, 1]), st.booleans())
@examples(150)
def test_a_clip_behind_a_quantiser(least, most, zeropt, signed, pair):
    least, most = min(least, most), max(least, most)
    behind = [_clip("q", "y")]
    if pair:
        behind = [helper.make_node("Max", ["q", "least"], ["m"]), helper.make_node("Min", ["m", "most"], ["y"])]
    nodes = [quant("x", "q", signed=signed), *behind]
    values = _limits(least, most) | parameters("q", scale=0.5, bits=3, zeropt=zeropt)
    source = loaded(model(nodes, values, inputs={"x": [4]}, outputs=["y"]))
    alone = _quantizer(source.graph, source)
    found = before_clip(_node(source.graph), alone)
    every = {float(v) for v in alone.dequantized(np.arange(alone.lo, alone.hi + 1))}
    ends = [b for b in (least, most) if np.isfinite(b)]
    if found is None:  # a bound that is no integer of the grid, or leaves none of them
        grid = {float((k - zeropt) * 0.5) for k in range(-40, 41)}
        assert not set(ends) <= grid or not any(least <= v <= most for v in every)
        return
    last, both = found
    assert last.outputs[0].name == "y"
    expected = np.clip(alone(_POINTS), np.float32(least), np.float32(most))
    np.testing.assert_array_equal(both(_POINTS), expected)


@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize(
    ("least", "most", "zeropt", "expected"),
    [
        (-1.0, 1.0, 0.0, (-2, 2)),
        (-np.inf, 0.5, 0.0, (-4, 1)),
        (-0.5, np.inf, 2.0, (1, 3)),
        (-9.0, 9.0, 0.0, (-4, 3)),
        (1.5, 1.5, 0.0, (3, 3)),
        (-0.3, 1.0, 0.0, None),  # no integer of the grid
        (-1.0, 0.3, 0.0, None),
        (5.0, 6.0, 0.0, None),  # leaves none of them
    ],
)
def test_a_clip_behind_a_quantiser_ends_its_integers(least, most, zeropt, expected, pair):
    behind = [_clip("q", "y")]
    if pair:
        behind = [helper.make_node("Max", ["q", "least"], ["m"]), helper.make_node("Min", ["m", "most"], ["y"])]
    values = _limits(least, most) | parameters("q", scale=0.5, bits=3, zeropt=zeropt)
    source = loaded(model([quant("x", "q"), *behind], values, inputs={"x": [4]}, outputs=["y"]))
    found = before_clip(_node(source.graph), _quantizer(source.graph, source))
    assert (None if found is None else (found[1].lo, found[1].hi)) == expected


@pytest.mark.parametrize(
    ("least", "most", "expected"),
    [
        (-1.0, 0.7, (-2, 1)),  # 2 bits
        (-0.6, 0.4, (-1, 1)),  # 2 bits, narrow
        (-1.0, 1.0, None),  # no grid ends there
        (-9.0, 9.0, None),  # nothing is gained
    ],
)
def test_a_clip_before_a_quantiser_ends_its_integers(least, most, expected):
    values = _limits(least, most) | parameters("q", scale=0.5, bits=3)
    source = loaded(model([_clip("x", "c"), quant("c", "q")], values, inputs={"x": [4]}, outputs=["q"]))
    found = behind_clip(_node(source.graph).inputs[0], _quantizer(source.graph, source))
    assert (None if found is None else (found[1].lo, found[1].hi)) == expected


@pytest.mark.parametrize("computed", ["least", "most"])
def test_a_computed_bound_behind_a_quantiser_is_none(computed):
    names = {"least": "least", "most": "most", computed: "computed"}
    nodes = [
        helper.make_node("ReduceMin", ["x"], ["computed"], keepdims=0),
        quant("x", "q"),
        helper.make_node("Max", ["q", names["least"]], ["m"]),
        helper.make_node("Min", ["m", names["most"]], ["y"]),
    ]
    values = _limits(-1, 1) | parameters("q", scale=0.5, bits=3)
    source = loaded(model(nodes, values, inputs={"x": [4]}, outputs=["y"]))
    assert before_clip(_node(source.graph), _quantizer(source.graph, source)) is None


def _read_twice(nodes: list[onnx.NodeProto], outputs: list[str]) -> tuple:
    values = _limits(-1, 1) | parameters("q", scale=0.5, bits=4)
    source = loaded(model(nodes, values, inputs={"x": [4]}, outputs=outputs))
    return _node(source.graph), _quantizer(source.graph, source)


def test_what_others_read_stays():
    relu = helper.make_node("Relu", ["q"], ["r"])
    node, alone = _read_twice([quant("x", "q"), _clip("q", "y"), relu], ["y", "r"])
    assert before_clip(node, alone) is None
    node, alone = _read_twice([quant("x", "q"), _clip("q", "y")], ["y", "q"])
    assert before_clip(node, alone) is None
    relu = helper.make_node("Relu", ["c"], ["r"])
    node, alone = _read_twice([_clip("x", "c"), quant("c", "q"), relu], ["q", "r"])
    assert behind_clip(node.inputs[0], alone) is None
    node, alone = _read_twice([_clip("x", "c"), quant("c", "q")], ["q", "c"])
    assert behind_clip(node.inputs[0], alone) is None


def test_only_a_clip_is_one():
    node, alone = _read_twice([helper.make_node("Relu", ["x"], ["c"]), quant("c", "q")], ["q"])
    assert behind_clip(node.inputs[0], alone) is None
    node, alone = _read_twice([quant("x", "q"), helper.make_node("Relu", ["q"], ["y"])], ["y"])
    assert before_clip(node, alone) is None


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (["x", "least", "most"], (-1.0, 2.0)),
        (["x", "", "most"], (-np.inf, 2.0)),
        (["x", "least"], (-1.0, np.inf)),
        (["x"], (-np.inf, np.inf)),
        (["x", "most", "least"], None),
        (["x", "computed", "most"], None),
    ],
)
def test_limits_of_a_clip(inputs, expected):
    nodes = [helper.make_node("ReduceMin", ["x"], ["computed"], keepdims=0), helper.make_node("Clip", inputs, ["y"])]
    source = loaded(model(nodes, _limits(-1, 2), inputs={"x": [4]}, outputs=["y"]))
    assert clip_limits(source.graph.node(-1)) == expected


def test_limits_by_attributes():
    nodes = [helper.make_node("Clip", ["x"], ["y"], min=-1.0, max=2.0)]
    source = loaded(model(nodes, {}, inputs={"x": [4]}, outputs=["y"], opset=9))
    assert clip_limits(source.graph.node(-1)) == (-1.0, 2.0)
