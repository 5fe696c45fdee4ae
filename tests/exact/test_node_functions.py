"""Functions of integers: what each is said to be is what the reference engine computes from those integers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise, product
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

import anybit
from anybit.analysis.values.interpreter import values_of
from anybit.exact import node_functions, runs
from anybit.exact.integer_functions import Function
from anybit.exact.node_functions import NodeFunctions
from anybit.exact.value_numbering import Numbering
from anybit.formats.convert import to_hub
from tests.models import DOMAIN, model, parameters, quant
from tests.strategies import Array


def _numbering(proto: onnx.ModelProto) -> Numbering:
    hub, _ = to_hub(proto)
    return Numbering(values_of(hub), {}, {})


def _value(numbering: Numbering, name: str) -> ir.Value:
    return next(v for v in numbering.values.tensors if v.name == name)


def _function(numbering: Numbering, name: str) -> Function:
    found = numbering.of(_value(numbering, name)).function
    assert found is not None, name
    return found


def _run(proto: onnx.ModelProto, x: Array, *names: str) -> list[Array]:
    session = anybit.Session(proto, engine="reference", tensors=names)
    results = session.run({str(proto.graph.input[0].name): x})
    return [results[n] for n in names]


def _assert_is(function: Function, integers: Array, y: Array) -> None:
    """y is the function of these integers, element by element; channels along its axis, or along none."""
    root = function.root
    moved = integers if function.channels == 1 else np.moveaxis(integers, function.axis, -1)
    flat = moved.reshape(-1, 1) if function.channels == 1 else moved.reshape(-1, function.channels)
    q = (flat - root.offset) / root.step
    assert (q == np.floor(q)).all()
    assert (q >= root.lo).all()
    assert (q <= root.hi).all()
    expected = (y if function.channels == 1 else np.moveaxis(y, function.axis, -1)).reshape(flat.shape)
    np.testing.assert_array_equal(function.steps(q), expected)
    if function.runs is not None:
        wide = np.broadcast_to(q, (len(q), function.channels))
        starts, values = (
            np.broadcast_to(a, (len(a), function.channels)) for a in (function.runs.starts, function.runs.values)
        )
        found = (starts[:, None] <= wide).sum(axis=0) - 1
        np.testing.assert_array_equal(np.take_along_axis(values, found, axis=0), expected)


def _ends(function: Function) -> list[float]:
    return [function.root.integers(end).item() for end in (function.root.lo, function.root.hi)]


def _levels(shape: Sequence[int], seed: int = 0) -> Array:
    return np.random.default_rng(seed).uniform(-6, 6, shape).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("signed", "narrow", "bits", "zeropt"), [(1, 0, 3, 0), (1, 1, 3, 1), (0, 0, 2, -1), (1, 0, 1, 0)]
)
def test_levels_are_those_of_the_quantiser(channels, signed, narrow, bits, zeropt):
    scale = np.float32([0.5, 0.3, 0.7])[:channels].reshape(-1, 1)
    known = parameters("q", scale=scale, bits=float(bits), zeropt=float(zeropt))
    proto = model([quant("x", "q", signed=signed, narrow=narrow)], known, inputs={"x": [4, 3, 5]}, outputs=["q"])
    function = _function(_numbering(proto), "q")
    (q,) = _run(proto, _levels((4, 3, 5)), "q")
    assert function.channels == channels
    low, high = (-(2 ** (bits - 1)) + narrow, 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    low, high, step = (low - zeropt, high - zeropt, 1) if bits > 1 else (-1, 1, 2)
    _assert_is(function, (np.rint(q / scale) - low) / step, q)
    assert (function.root.lo == 0).all()
    assert (function.root.hi == (high - low) / step).all()


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize(("narrow", "zeropt"), [(0, 0), (1, 0), (0, -5)])
@pytest.mark.parametrize("scale", [1.0, 2.0**-17])
@pytest.mark.parametrize("relu", [False, True])
def test_levels_that_are_too_many_for_runs_are_the_integers_of_the_format(
    signed, narrow, zeropt, scale, relu, monkeypatch
):
    monkeypatch.setattr(runs, "MOST_STEPS", 100)
    known = parameters("q", scale=scale, bits=8.0, zeropt=float(zeropt))
    head = [helper.make_node("Relu", ["x"], ["r"])] if relu else []
    levels = quant("r" if relu else "x", "q", signed=signed, narrow=narrow)
    function = _function(_numbering(model([*head, levels], known, inputs={"x": [4, 3]}, outputs=["q"])), "q")
    low, high = (-128 + narrow, 127) if signed else (0, 255 - narrow)
    ends = [function.root.integers(e).item() for e in (function.root.lo, function.root.hi)]
    assert ends == [low - zeropt, high - zeropt]
    q = np.arange(-3.0, 9)[:, None]
    np.testing.assert_array_equal(function.steps(q), np.float32(q) * np.float32(scale))
    levels = quant("x", "q", signed=signed, narrow=narrow)
    plain = _function(_numbering(model([levels], known, inputs={"x": [4, 3]}, outputs=["q"])), "q")
    same = plain.root.key == function.root.key
    assert same == (not relu or (not signed and zeropt <= 0)), "what is below zero gets the lowest level anyway"


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_signs_are_two_integers(scale):
    node = helper.make_node("BipolarQuant", ["x", "s"], ["y"], domain=DOMAIN)
    proto = model([node], {"s": np.float32(scale)}, inputs={"x": [4, 3]}, outputs=["y"])
    function = _function(_numbering(proto), "y")
    (y,) = _run(proto, _levels((4, 3)), "y")
    _assert_is(function, (y / np.float32(scale) + 1) / 2, y)
    assert function.root.hi.item() == 1


_TAILS: dict[str, list[onnx.NodeProto]] = {
    "Mul": [helper.make_node("Mul", ["q", "p"], ["y"])],
    "Sub": [helper.make_node("Sub", ["p", "q"], ["y"])],
    "Tanh": [helper.make_node("Tanh", ["q"], ["t"]), helper.make_node("Add", ["t", "p"], ["y"])],
    "Abs": [helper.make_node("Abs", ["q"], ["y"])],
    "Quant": [helper.make_node("Add", ["q", "p"], ["t"]), quant("t", "y", prefix="z")],
    "MultiThreshold": [helper.make_node("MultiThreshold", ["q", "rows"], ["y"], domain=DOMAIN, out_scale=-0.5)],
}


@pytest.mark.parametrize("tail", _TAILS)
def test_element_wise_nodes_are_functions_of_the_levels(tail):
    known = parameters("q", scale=0.5, bits=4.0) | parameters("z", scale=0.75, bits=3.0)
    known |= {"p": np.float32([[1.5], [-0.25], [0.75]]), "rows": np.float32([[-1, 0, 2], [0, 0, 0], [-3, 1, 9]])}
    proto = model([quant("x", "q"), *_TAILS[tail]], known, inputs={"x": [4, 3, 5]}, outputs=["y"])
    function = _function(_numbering(proto), "y")
    assert function.channels == (1 if tail == "Abs" else 3)
    q, y = _run(proto, _levels((4, 3, 5)), "q", "y")
    _assert_is(function, q / np.float32(0.5) + 8, y)
    levels = function.steps(function.steps.every())
    if function.steps.direction is not None:
        rises = np.sign(np.diff(levels, axis=0))
        assert (rises * function.steps.direction >= 0).all()
    assert tail == "Tanh" or (function.steps.direction is None) == (tail == "Abs")  # Tanh: where numpy was walked
    assert function.runs is not None


def _sums(op_type: str, weights: Array, q: Array, **attributes: Any) -> Array:
    """Sums of integers in float64, by onnx's own operator."""
    node = helper.make_node(op_type, ["q", "w"], ["y"], **attributes)
    proto = model([node], {"w": weights}, inputs={"q": q.shape}, outputs=["y"])
    (y,) = _run(proto, q.astype(np.float32), "y")
    return y.astype(np.float64)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("op_type", ["MatMul", "Conv"])
@pytest.mark.parametrize("first", ["Quant", "BipolarQuant"])
def test_products_are_functions_of_sums_of_integers_without_common_factor(op_type, first, seed):
    """Weights of a channel may all be even, or begin with a negative one: its sums are counted in these units."""
    rng = np.random.default_rng(seed)
    factor = rng.choice([1, 2, -2, 3, -1], (3, 1))
    integers = rng.integers(-2, 3, (3, 4)) * factor
    integers[0] = factor[0, 0]  # all alike
    if seed == 5:
        integers[1] = 0
    attributes: dict[str, Any] = {"pads": [1, 0]} if op_type == "Conv" and seed % 2 else {}
    weights = np.float32(integers * 0.25)
    weights = weights.T if op_type == "MatMul" else weights.reshape(3, 2, 2)
    shape = [5, 4] if op_type == "MatMul" else [5, 2, 6]
    head = (
        quant("x", "q")
        if first == "Quant"
        else helper.make_node("BipolarQuant", ["x", "q_scale"], ["q"], domain=DOMAIN)
    )
    nodes = [head, quant("w", "wq"), helper.make_node(op_type, ["q", "wq"], ["y"], **attributes)]
    known = parameters("q", scale=0.5, bits=3.0) | parameters("wq", scale=0.25, bits=4.0) | {"w": weights}
    proto = model(nodes, known, inputs={"x": shape}, outputs=["y"])
    function = _function(_numbering(proto), "y")
    q, y = _run(proto, _levels(shape, seed), "q", "y")
    common = np.maximum(np.gcd.reduce(integers, axis=1), 1)
    heads = [next((n for n in row if n), 1) for row in integers.tolist()]
    own = integers // (common * np.sign(heads))[:, None]
    own = own.T if op_type == "MatMul" else own.reshape(3, 2, 2)
    sums = _sums(op_type, own.astype(np.float32), q / np.float32(0.5), **attributes)
    _assert_is(function, sums, y)
    ends = function.root.integers(np.stack([np.broadcast_to(e, 3) for e in (function.root.lo, function.root.hi)]))
    if not attributes:
        low, high = (-4, 3) if first == "Quant" else (-1, 1)
        flat = own.T if op_type == "MatMul" else own.reshape(3, -1)
        extremes = [np.where(flat > 0, a, b) * flat for a, b in ((low, high), (high, low))]
        np.testing.assert_array_equal(ends, [e.sum(axis=1) for e in extremes])
    assert function.steps.direction is not None
    rises = np.sign(
        function.steps(np.broadcast_to(function.root.hi, 3)[None])
        - function.steps(np.broadcast_to(function.root.lo, 3)[None])
    )
    assert (rises * function.steps.direction >= 0).all()


_MEANS: list[tuple[str, dict[str, Any], int]] = [
    ("GlobalAveragePool", {}, 12),
    ("AveragePool", {"kernel_shape": [2, 2], "strides": [1, 2]}, 4),
    ("ReduceMean", {"axes": [2, 3], "keepdims": 0}, 12),
]


@pytest.mark.parametrize(("op_type", "attributes", "count"), _MEANS)
@pytest.mark.parametrize("scale", [0.5, 0.3])
def test_means_are_functions_of_totals(op_type, attributes, count, scale):
    nodes = [quant("x", "q", signed=0), helper.make_node(op_type, ["q"], ["y"], **attributes)]
    known = parameters("q", scale=scale, bits=3.0)
    proto = model(nodes, known, inputs={"x": [2, 3, 3, 4]}, outputs=["y"], opset=13)
    numbering = _numbering(proto)
    (y,) = _run(proto, _levels((2, 3, 3, 4)), "y")
    totals = np.rint(y.astype(np.float64) * count / scale)
    number = numbering.of(_value(numbering, "y"))
    if scale == 0.5:
        assert number.enclosure is None
        function = _function(numbering, "y")
        assert function.root.hi.item() == count * 7
        _assert_is(function, totals, y)
        return
    assert number.function is None
    enclosure = number.enclosure
    assert enclosure is not None
    below, above = (f.steps(totals.reshape(-1, 1)) for f in (enclosure.lower, enclosure.upper))
    assert (below.reshape(-1) <= y.reshape(-1)).all()
    assert (y.reshape(-1) <= above.reshape(-1)).all()
    assert ((above - below) <= 1e-5 * np.maximum(np.abs(below), scale)).all()


def test_a_convolution_of_ones_is_a_function_of_the_totals_of_a_mean():
    """Of each channel by itself; the mean of the same windows divides the same integers."""
    known = (
        parameters("q", scale=0.5, bits=3.0) | parameters("wq", scale=1.0) | {"w": np.ones((3, 1, 2, 2), np.float32)}
    )
    nodes = [
        quant("x", "q"),
        quant("w", "wq"),
        helper.make_node("Conv", ["q", "wq"], ["y"], group=3),
        helper.make_node("AveragePool", ["q"], ["z"], kernel_shape=[2, 2]),
    ]
    proto = model(nodes, known, inputs={"x": [2, 3, 3, 4]}, outputs=["y", "z"])
    numbering = _numbering(proto)
    y, z = _run(proto, _levels((2, 3, 3, 4)), "y", "z")
    sums, means = _function(numbering, "y"), _function(numbering, "z")
    assert sums.root is means.root
    _assert_is(sums, y.astype(np.float64) * 2, y)
    _assert_is(means, y.astype(np.float64) * 2, z)


@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul", "Max"])
@pytest.mark.parametrize("swapped", [False, True])
def test_an_operator_of_two_quantised_tensors_is_a_function_of_pairs(op_type, swapped):
    nodes = [
        quant("x", "a"),
        helper.make_node("Neg", ["x"], ["n"]),
        quant("n", "b"),
        helper.make_node(op_type, ["b", "a"] if swapped else ["a", "b"], ["y"]),
    ]
    known = parameters("a", scale=0.5, bits=3.0) | parameters("b", scale=0.3, bits=2.0)
    proto = model(nodes, known, inputs={"x": [4, 3]}, outputs=["y"])
    numbering = _numbering(proto)
    function = _function(numbering, "y")
    a, b, y = _run(proto, _levels((4, 3)), "a", "b", "y")
    kernels = {name: numbering.kernel(_value(numbering, name)) for name in "ab"}
    first, second = sorted("ab", key=lambda name: kernels[name].key)
    numbers = {"a": np.rint(a / 0.5) + 4, "b": np.rint(b / 0.3) + 2}
    assert function.root.hi.item() == 8 * 4 - 1
    _assert_is(function, numbers[first] * {"a": 8, "b": 4}[second] + numbers[second], y)


_MOVES: list[tuple[str, dict[str, Any]]] = [
    ("Transpose", {"perm": [0, 2, 1]}),
    ("Flatten", {"axis": 1}),
    ("MaxPool", {"kernel_shape": [2]}),
    ("Gather", {"axis": 2}),
]


@pytest.mark.parametrize(("op_type", "attributes"), _MOVES)
@pytest.mark.parametrize("scale", [0.5, 0.3])
def test_moved_levels_are_functions_of_the_moved_integers(op_type, attributes, scale):
    names = ["q", "chosen"] if op_type == "Gather" else ["q"]
    nodes = [quant("x", "q"), helper.make_node(op_type, names, ["y"], **attributes)]
    known = parameters("q", scale=scale, bits=3.0) | {"chosen": np.int64([3, 0])}
    proto = model(nodes, known, inputs={"x": [2, 3, 4]}, outputs=["y"])
    function = _function(_numbering(proto), "y")
    (y,) = _run(proto, _levels((2, 3, 4)), "y")
    integers = np.rint(y / scale)
    assert (function.root.lo.item(), function.root.hi.item()) == (0, 7)
    _assert_is(function, integers, y)


def test_sums_that_are_rearranged_are_the_same_function_and_those_of_a_pool_are_not_known():
    known = (
        parameters("q", scale=0.5, bits=3.0) | parameters("wq", scale=0.25) | {"w": np.float32([[0.5, 1], [1, -0.75]])}
    )
    nodes = [
        quant("x", "q"),
        quant("w", "wq"),
        helper.make_node("MatMul", ["q", "wq"], ["s"]),
        helper.make_node("Transpose", ["s"], ["t"], perm=[0, 2, 1]),
        helper.make_node("MaxPool", ["s"], ["m"], kernel_shape=[1]),
    ]
    numbering = _numbering(model(nodes, known, inputs={"x": [1, 3, 2]}, outputs=["t", "m"]))
    sums, moved = _function(numbering, "s"), _function(numbering, "t")
    assert moved.steps is sums.steps
    assert moved.root.key != sums.root.key
    assert numbering.of(_value(numbering, "m")).function is None


def test_rows_of_a_table_of_levels_are_functions_of_its_integers():
    table = np.float32([[0.5, -1.0], [1.5, 0.0]])
    nodes = [quant("w", "table"), helper.make_node("Gather", ["table", "x"], ["y"])]
    known = parameters("table", scale=0.5, bits=4.0) | {"w": table}
    proto = model(nodes, known, inputs={"x": [3]}, outputs=["y"], input_type=onnx.TensorProto.INT64)
    function = _function(_numbering(proto), "y")
    (y,) = _run(proto, np.int64([1, 0, 1]), "y")
    assert (function.root.lo.item(), function.root.hi.item()) == (-2, 3)
    _assert_is(function, y * 2, y)


def test_levels_of_floats_are_numbered_in_the_order_of_the_floats():
    """A MultiThreshold of an input: the number of a level is how many thresholds have been passed."""
    rows = np.float32([[-1, 0, 2], [-4, 1, 3]])
    node = helper.make_node("MultiThreshold", ["x", "rows"], ["y"], domain=DOMAIN, out_scale=0.5, out_bias=1.0)
    proto = model([node], {"rows": rows}, inputs={"x": [6, 2]}, outputs=["y"])
    function = _function(_numbering(proto), "y")
    x = _levels((6, 2))
    (y,) = _run(proto, x, "y")
    _assert_is(function, (x[:, :, None] >= rows).sum(axis=2).astype(np.float64), y)
    assert function.channels == 2


def _followed(proto: onnx.ModelProto, change: Any) -> tuple[Any, Any]:
    """What is known of the last node once `change` was made to it."""
    numbering = _numbering(proto)
    node = numbering.values.model.graph[-1]
    change(node)
    return NodeFunctions(numbering).followed(node)


def _refer(node: ir.Node) -> None:
    node.attributes["perm"] = ir.RefAttr("perm", "outer", ir.AttributeType.INTS)


def _misstate(node: ir.Node) -> None:
    node.attributes["alpha"] = ir.AttrString("alpha", "steep")


def _retype(node: ir.Node) -> None:
    node.outputs[0].dtype = ir.DataType.DOUBLE


def _detach(node: ir.Node) -> None:
    node.replace_input_with(0, None)


_LAST = {
    "Transpose": helper.make_node("Transpose", ["q"], ["y"], perm=[1, 0]),
    "Elu": helper.make_node("Elu", ["q"], ["y"], alpha=1.0),
    "Relu": helper.make_node("Relu", ["q"], ["y"]),
}


@pytest.mark.parametrize(
    ("last", "change"),
    [("Transpose", _refer), ("Elu", _misstate), ("Relu", _retype), ("Relu", _detach)],
)
def test_a_node_that_says_too_little_or_what_does_not_fit_is_not_followed(last, change):
    proto = model([quant("x", "q"), _LAST[last]], parameters("q"), inputs={"x": [4, 3]}, outputs=["y"])
    assert _followed(proto, lambda _: None)[0] is not None
    assert _followed(proto, change) == (None, None)


def test_thresholds_that_all_channels_share_are_a_function_of_each():
    nodes = [
        quant("x", "q"),
        helper.make_node("Mul", ["q", "p"], ["m"]),
        helper.make_node("MultiThreshold", ["m", "rows"], ["y"], domain=DOMAIN),
    ]
    known = parameters("q", scale=0.5) | {"p": np.float32([[1.5], [-0.25], [0.75]]), "rows": np.float32([[-1, 0, 2]])}
    proto = model(nodes, known, inputs={"x": [4, 3, 5]}, outputs=["y"])
    function = _function(_numbering(proto), "y")
    assert function.channels == 3
    q, y = _run(proto, _levels((4, 3, 5)), "q", "y")
    _assert_is(function, q / np.float32(0.5) + 8, y)


@pytest.mark.parametrize(("out_scale", "direction"), [(0.5, 1), (-0.5, -1), (0.0, None)])
def test_thresholds_rise_or_fall_with_their_scale(out_scale, direction):
    node = helper.make_node("MultiThreshold", ["q", "rows"], ["y"], domain=DOMAIN, out_scale=out_scale)
    proto = model(
        [quant("x", "q"), node],
        parameters("q") | {"rows": np.float32([[-1, 1, 5]])},
        inputs={"x": [4, 1]},
        outputs=["y"],
    )
    found = _function(_numbering(proto), "y").steps.direction
    assert found is None if direction is None else found is not None and found.tolist() == [direction]


def test_a_zero_whose_sign_is_told_ends_what_is_known():
    for op_type, known in product(("Reciprocal", "Relu"), (True, False)):
        head = [quant("x", "q"), helper.make_node("Add", ["q", "p"], ["a"])]
        node = helper.make_node(op_type, ["a"], ["y"])
        constants = parameters("q", scale=0.5) | {"p": np.float32(9 if known else 0)}
        numbering = _numbering(model([*head, node], constants, inputs={"x": [4, 3]}, outputs=["y"]))
        function = numbering.of(_value(numbering, "y")).function
        assert (function is None) == (op_type == "Reciprocal" and not known)


def _sine(*tail: onnx.NodeProto, **known: Array) -> Numbering:
    """The sine of x, which is not proven to rise or to fall, and what follows it."""
    return _numbering(
        model([helper.make_node("Sin", ["x"], ["s"]), *tail], known, inputs={"x": [4, 3]}, outputs=[tail[-1].output[0]])
    )


def test_levels_of_what_is_no_function_of_integers_are_integers_of_their_own():
    level = quant("s", "q")
    for bits, ends in ((3.0, [-4, 3]), (1.0, [-1, 1])):
        function = _function(_sine(level, **parameters("q", scale=0.25, bits=bits)), "q")
        assert _ends(function) == ends
        np.testing.assert_array_equal(function.steps(function.steps.every())[[0, -1], 0], np.float32(ends) * 0.25)
        assert function.runs is not None
    key = _function(_sine(level, **parameters("q", scale=0.25)), "q").root.key
    divided = helper.make_node("Div", ["s", "quarter"], ["d"]), quant("d", "q")
    for scale, same in ((1.0, True), (2.0, False)):
        again = _function(_sine(*divided, **parameters("q", scale=scale), quarter=np.float32(0.25)), "q")
        assert (again.root.key == key) == same
    negative = _function(_sine(level, **parameters("q", scale=0.25, zeropt=-0.0)), "q")
    assert negative.root.key == key
    assert _function(_sine(level, **parameters("q", scale=0.25, zeropt=1.0)), "q").root.key != key


def test_scales_by_channel_of_what_is_no_function_of_integers():
    scale = np.float32([0.5, 0.25, 0.5])
    function = _function(_sine(quant("s", "q"), **parameters("q", scale=scale)), "q")
    assert function.channels == 3
    np.testing.assert_array_equal(function.steps(np.float64([[-3], [2]])), np.float32([[-3], [2]]) * scale)


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_signs_of_what_is_no_function_of_integers(scale):
    node = helper.make_node("BipolarQuant", ["s", "c"], ["y"], domain=DOMAIN)
    numbering = _sine(node, c=np.float32(scale))
    function = _function(numbering, "y")
    assert _ends(function) == [-1, 1]
    assert function.steps(function.steps.every()).tolist() == [[-scale], [scale]]
    assert function.root.key == _function(_sine(node, c=np.float32(1)), "y").root.key


def test_a_function_is_composed_of_so_many_nodes_and_no_more(monkeypatch):
    monkeypatch.setattr(node_functions, "_LONGEST", 3)
    names = ["q", "a", "b", "c", "d"]
    chain = [helper.make_node("Mul", [x, "p"], [y]) for x, y in pairwise(names)]
    proto = model([quant("x", "q"), *chain], parameters("q") | {"p": np.float32(3)}, inputs={"x": [4]}, outputs=["d"])
    numbering = _numbering(proto)
    first = _function(numbering, "q").length
    assert [_function(numbering, n).length - first for n in names[1:-1]] == [1, 2, 3]
    assert numbering.of(_value(numbering, "d")).function is None


@pytest.mark.parametrize(
    ("weights", "attributes", "totals"),
    [
        ([[1, 1], [1, 1]], {}, True),
        ([[-1, -1], [-1, -1]], {}, True),
        ([[1, 2], [1, 1]], {}, False),
        ([[2, 2], [1, 1]], {}, False),
        ([[1, 1], [1, 1]], {"pads": [0, 1]}, False),
    ],
)
def test_only_sums_of_plain_elements_are_totals(weights, attributes, totals):
    known = parameters("q", scale=0.5, bits=3.0) | parameters("wq", scale=1.0)
    nodes = [
        quant("x", "q"),
        quant("w", "wq"),
        helper.make_node("Conv", ["q", "wq"], ["y"], group=2, **attributes),
        helper.make_node("AveragePool", ["q"], ["z"], kernel_shape=[2]),
    ]
    known["w"] = np.float32(weights).reshape(2, 1, 2)
    proto = model(nodes, known, inputs={"x": [1, 2, 4]}, outputs=["y", "z"])
    numbering = _numbering(proto)
    sums, means = _function(numbering, "y"), _function(numbering, "z")
    assert (sums.root is means.root) == totals
    if totals:
        y, z = _run(proto, _levels((1, 2, 4)), "y", "z")
        _assert_is(sums, z.astype(np.float64) * 4, y)
        assert sums.steps.direction is not None
        assert sums.steps.direction.tolist() == [weights[0][0]]


def test_a_mean_that_is_moved_lies_between_the_same_functions():
    nodes = [
        quant("x", "q"),
        helper.make_node("AveragePool", ["q"], ["m"], kernel_shape=[3]),
        helper.make_node("Transpose", ["m"], ["y"], perm=[0, 2, 1]),
    ]
    proto = model(nodes, parameters("q", scale=0.3, bits=3.0), inputs={"x": [2, 3, 5]}, outputs=["y"])
    numbering = _numbering(proto)
    (y,) = _run(proto, _levels((2, 3, 5)), "y")
    enclosure = numbering.of(_value(numbering, "y")).enclosure
    assert enclosure is not None
    assert _ends(enclosure.lower) == [-12, 9]
    totals = np.rint(y.astype(np.float64) * 3 / 0.3).reshape(-1, 1) + 12
    below, above = (f.steps(totals).reshape(y.shape) for f in (enclosure.lower, enclosure.upper))
    assert (below <= y).all()
    assert (y <= above).all()
    assert (above - below < 1e-5).all()


_PLACES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "first": ("Slice", {"starts": [0], "ends": [2], "axes": [2]}, {}),
    "first, from the end": ("Slice", {"starts": [-4], "ends": [-2], "axes": [-1]}, {}),
    "last": ("Slice", {"starts": [2], "ends": [4], "axes": [2]}, {}),
    "gathered": ("Gather", {"indices": [0, 1]}, {"axis": 2}),
    "gathered otherwise": ("Gather", {"indices": [1, 0]}, {"axis": 2}),
    "flat": ("Reshape", {"shape": [2, 12]}, {}),
    "flat, by what is left": ("Reshape", {"shape": [0, -1]}, {}),
    "laid otherwise": ("Reshape", {"shape": [2, 4, 3]}, {}),
}


def test_moves_to_the_same_places_have_the_same_integers_and_others_have_others():
    keys = {}
    for name, (op_type, operands, attributes) in _PLACES.items():
        nodes = [quant("x", "q"), helper.make_node(op_type, ["q", *operands], ["y"], **attributes)]
        known = parameters("q") | {n: np.int64(o) for n, o in operands.items()}
        keys[name] = _function(_numbering(model(nodes, known, inputs={"x": [2, 3, 4]}, outputs=["y"])), "y").root.key
    same = {("first", "first, from the end"), ("flat", "flat, by what is left")}
    for pair in combinations(keys, 2):
        assert (keys[pair[0]] == keys[pair[1]]) == (pair in same), pair
