"""Nodes as they are compared: equal attributes for equal meaning, and different ones for anything else."""

from __future__ import annotations

import itertools

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

from anybit.analysis.values.interpreter import values_of
from anybit.exact.integer_functions import Root, function_on
from anybit.exact.integer_layers import IntegerProduct, read_product
from anybit.exact.node_identity import (
    MOVES,
    REARRANGEMENTS,
    attributes_of,
    bodies_of,
    channels_behind,
    geometry_of,
    is_identity,
    is_neutral,
    keeps_order,
    keeps_shape,
    laid_anew,
    parts_of,
    slice_of,
    stripped,
)
from tests.formats.qdq.linear_models import loaded
from tests.models import model, quant
from tests.models import parameters as parameters_of


def _first(
    op_type: str, inputs: list[str], *, opset: int = 21, constants=None, shape=(2, 3, 4), outputs=1, **attributes
):
    names = ["y", "z"][:outputs]
    node = helper.make_node(op_type, inputs, names, name="node", **attributes)
    proto = model([node], constants or {}, inputs={"x": list(shape)}, outputs=names, opset=opset)
    source = loaded(proto)
    return source.graph.node(0), source.opset_imports


@pytest.mark.parametrize(
    ("op_type", "given", "same"),
    [
        ("LeakyRelu", {"alpha": 0.01}, True),
        ("LeakyRelu", {"alpha": 0.02}, False),
        ("Transpose", {"perm": [0, 2, 1]}, False),
        ("Softmax", {"axis": -1}, True),
        ("Softmax", {"axis": 1}, False),
    ],
)
def test_a_default_that_is_written_is_the_same(op_type, given, same):
    plain, written = (attributes_of(*_first(op_type, ["x"], **a)) for a in ({}, given))
    assert plain is not None
    assert written is not None
    assert (plain == written) == same


@pytest.mark.parametrize("op_type", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize(
    ("given", "same"),
    [
        ({"strides": [1], "dilations": [1], "pads": [0, 0], "kernel_shape": [3]}, True),
        ({"strides": [2]}, False),
        ({"dilations": [2]}, False),
        ({"pads": [0, 1]}, False),
    ],
)
def test_windows_that_are_spelt_out_are_the_same(op_type, given, same):
    weights = {"w": np.ones((3, 3, 3), np.float32)}
    plain, written = (attributes_of(*_first(op_type, ["x", "w"], constants=weights, **a)) for a in ({}, given))
    assert plain is not None
    assert written is not None
    assert (plain == written) == same


@pytest.mark.parametrize(("given", "same"), [([0], True), ([1], False)])
def test_the_padding_of_an_output_that_is_spelt_out_is_the_same(given, same):
    weights = {"w": np.ones((3, 3, 3), np.float32)}
    nodes = [
        _first("ConvTranspose", ["x", "w"], constants=weights, strides=[2], **a)
        for a in ({}, {"output_padding": given})
    ]
    assert (attributes_of(*nodes[0]) == attributes_of(*nodes[1])) == same


def test_a_pool_keeps_the_extents_of_its_windows():
    extents = [attributes_of(*_first("MaxPool", ["x"], kernel_shape=k, strides=[1])) for k in ([2], [1])]
    assert extents[0] != extents[1]
    assert extents[0] == attributes_of(*_first("MaxPool", ["x"], kernel_shape=[2]))


@pytest.mark.parametrize(("op_type", "opsets", "same"), [("Relu", (13, 21), True), ("Softmax", (11, 13), False)])
def test_the_version_counts_where_the_meaning_changed(op_type, opsets, same):
    one, other = (attributes_of(*_first(op_type, ["x"], opset=o)) for o in opsets)
    assert (one == other) == same


def test_what_is_random_or_holds_a_graph_has_no_identity():
    assert attributes_of(*_first("RandomNormalLike", ["x"])) is None
    assert attributes_of(*_first("Bernoulli", ["x"])) is None
    node = ir.node("Unheard", [ir.Value(name="x")], domain="")
    assert attributes_of(node, {"": 21}) is None
    assert attributes_of(ir.node("Unheard", [ir.Value(name="x")], domain="elsewhere"), {"": 21}) is None


def test_our_operators_have_their_version_and_attributes():
    source = loaded(model([quant("x", "y")], parameters_of("y"), inputs={"x": [4]}, outputs=["y"]))
    node = source.graph.node(0)
    found = attributes_of(node, source.opset_imports)
    assert found == {"version": 1, "signed": 1, "narrow": 0, "rounding_mode": "ROUND"}
    del node.attributes["narrow"]
    assert attributes_of(node, source.opset_imports) == found


@pytest.mark.parametrize(
    ("op_type", "inputs", "constants", "attributes", "same"),
    [
        ("Identity", ["x"], {}, {}, True),
        ("Cast", ["x"], {}, {"to": 1}, True),
        ("Cast", ["x"], {}, {"to": 10}, False),
        ("Reshape", ["x", "s"], {"s": np.int64([2, 3, 4])}, {}, True),
        ("Reshape", ["x", "s"], {"s": np.int64([2, 4, 3])}, {}, False),
        ("Flatten", ["x"], {}, {}, False),
        ("Relu", ["x"], {}, {}, False),
    ],
)
def test_what_gives_its_input_is_an_identity(op_type, inputs, constants, attributes, same):
    assert is_identity(_first(op_type, inputs, constants=constants, **attributes)[0]) == same


def test_a_node_without_inputs_gives_none():
    assert not is_identity(ir.node("RandomNormal", [], {"shape": [2]}))
    assert not is_identity(ir.node("Identity", [ir.Value(name="x")], domain="elsewhere"))


def _product(**attributes) -> tuple[ir.Node, IntegerProduct]:
    """A convolution of four levels by four weights, whose group is 1 unless the attributes say else."""
    channels = 2 // attributes.get("group", 1)
    nodes = [
        quant("x", "q"),
        quant("w", "wq"),
        helper.make_node("Conv", ["q", "wq"], ["y"], name="conv", **attributes),
    ]
    known = parameters_of("q") | parameters_of("wq") | {"w": np.ones((2, channels, 3, 3), np.float32)}
    source = loaded(model(nodes, known, inputs={"x": [1, 2, 7, 7]}, outputs=["y"]))
    node = source.graph.node("conv")
    product = read_product(node, source.opset_imports, values_of(source))
    assert isinstance(product, IntegerProduct)
    return node, product


@pytest.mark.parametrize(
    ("given", "same"),
    [
        ({"strides": [1, 1], "dilations": [1, 1], "pads": [0, 0, 0, 0], "group": 1, "auto_pad": "NOTSET"}, True),
        ({"strides": [2, 1]}, False),
        ({"dilations": [1, 2]}, False),
        ({"pads": [0, 0, 1, 0]}, False),
        ({"group": 2}, False),
        ({"auto_pad": "SAME_UPPER"}, False),
    ],
)
def test_the_geometry_of_a_convolution_is_that_of_its_attributes_and_defaults(given, same):
    assert (geometry_of(*_product()) == geometry_of(*_product(**given))) == same


@pytest.mark.parametrize("rank", [2, 3, 4])
@pytest.mark.parametrize("shape", [s for n in range(4) for s in itertools.product([1, 5], repeat=n)])
def test_channels_behind_a_node_lie_where_its_operand_varies(rank: int, shape: tuple[int, ...]):
    """What a tensor of zeros plus a constant varies along has to be one axis, and not that of the samples."""
    constant = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    made = np.zeros((1,) * rank) + constant
    varies = [axis for axis in range(made.ndim) if np.ptp(made, axis=axis).any()]
    node = ir.node("Add", [ir.Value(name="x"), ir.Value(name="c")])
    function = function_on(Root(b"", np.zeros(1), np.ones(1)), np.asarray, rank=rank)
    fits = made.ndim == rank and len(varies) == 1 and varies[0] > 0
    expected = (varies[0], constant.size) if fits else None
    assert channels_behind(node, 0, [None, constant], function) == (expected if varies else (function.axis, 1))


def test_channels_of_another_axis_or_number_are_no_channels():
    node = ir.node("Add", [ir.Value(name="x"), ir.Value(name="c")])
    function = function_on(Root(b"", np.zeros(1), np.ones(1)), np.asarray, rank=3, axis=1, channels=5)
    assert channels_behind(node, 0, [None, np.zeros((5, 1))], function) == (1, 5)
    assert channels_behind(node, 0, [None, np.zeros(1)], function) == (1, 5)
    for shape in ((4, 1), (5,), (5, 5), (1, 1, 5, 1)):
        assert channels_behind(node, 0, [None, np.zeros(shape)], function) is None
    norm = ir.node("BatchNormalization", [ir.Value(name=n) for n in "xsbmv"])
    assert channels_behind(norm, 0, [None, *[np.zeros(5)] * 4], function) == (1, 5)
    assert channels_behind(norm, 0, [None, *[np.zeros(4)] * 4], function) is None


@pytest.mark.parametrize(
    ("constant", "kept"), [(np.float32(1), True), (np.ones((1, 3, 1)), True), (np.ones((5, 2, 3, 4)), False)]
)
def test_broadcasting_that_enlarges_a_tensor_does_not_keep_its_shape(constant, kept):
    node, _ = _first("Add", ["x", "c"], constants={"c": np.asarray(constant, np.float32)})
    assert keeps_shape(node) == kept


@pytest.mark.parametrize(
    ("target", "expected"), [([2, 12], (12,)), ([2, 4, 3], (4, 3)), ([6, 4], None), ([1, 24], None), ([0, -1], (12,))]
)
def test_a_reshape_of_samples(target, expected):
    node, _ = _first("Reshape", ["x", "s"], constants={"s": np.int64(target)})
    whole = tuple(np.empty((2, 3, 4)).reshape([d or 2 for d in target]).shape)
    found = laid_anew(node, lambda _: False)
    assert found == (node.inputs[0], ("reshape of all", whole) if expected is None else ("reshape", expected))


@pytest.mark.parametrize(
    ("target", "expected"), [([0, 12], ("reshape", (12,))), ([-1, 2, 3, 4], None), ([-1, 1], None)]
)
def test_a_reshape_of_any_number_of_samples_has_to_keep_them_apart(target, expected):
    node, _ = _first("Reshape", ["x", "s"], constants={"s": np.int64(target)}, shape=("N", 3, 4))
    found = laid_anew(node, lambda _: False)
    assert (None if found is None else found[1]) == expected


@pytest.mark.parametrize("shape", [(1, 3, 1, 4), (2, 3, 1, 4), (2, 3, 1, 1), (1, 1, 1, 1)])
def test_a_transpose_keeps_the_order_where_only_axes_of_length_1_move(shape):
    x = np.arange(np.prod(shape)).reshape(shape)
    for perm in itertools.permutations(range(4)):
        node, _ = _first("Transpose", ["x"], shape=shape, perm=perm)
        assert keeps_order(node) == np.array_equal(x.transpose(perm).reshape(-1), x.reshape(-1))


@pytest.mark.parametrize(("op_type", "neutral"), [("Add", 0), ("Sub", 0), ("Mul", 1), ("Div", 1)])
@pytest.mark.parametrize("first", [False, True])
def test_an_operand_is_neutral_only_where_it_changes_no_number(op_type, neutral, first):
    names = ["c", "x"] if first else ["x", "c"]
    x = np.float32([[[-2, 0.3, 5, np.inf]] * 3] * 2)
    operands = [np.full((3, 1), neutral), np.full((3, 1), neutral + 1), np.float32([neutral, 3, neutral, neutral])]
    operands += [np.full((5, 2, 3, 4), neutral)]
    function = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}[op_type]
    for operand in operands:
        node, _ = _first(op_type, names, constants={"c": operand.astype(np.float32)})
        y = function(operand.astype(np.float32), x) if first else function(x, operand.astype(np.float32))
        assert is_neutral(node, int(first), operand) == np.array_equal(x, y)


def test_leading_axes_of_length_1_are_no_axes():
    assert stripped(np.ones((1, 1, 3, 1))).shape == (3, 1)
    assert stripped(np.ones((1, 1))).shape == ()
    assert stripped(np.ones((2, 1))).shape == (2, 1)


@pytest.mark.parametrize("opset", [9, 21])
@pytest.mark.parametrize(
    ("starts", "ends", "axes", "steps"),
    [
        ([1], [3], [1], [1]),
        ([-2], [2**63 - 1], [-1], [1]),
        ([0], [-1], [2], [2]),
        ([1, 0], [2, 100], [0, 2], [1, 3]),
        ([0], [100], [1], [1]),
        ([0], [1], [1], [2]),
    ],
)
def test_a_slice_by_its_elements(opset, starts, ends, axes, steps):
    x = np.arange(24).reshape(2, 3, 4)
    given = dict(zip("seat", map(np.int64, (starts, ends, axes, steps)), strict=True))
    if opset == 9:
        node, _ = _first("Slice", ["x"], starts=starts, ends=ends, axes=axes, opset=opset)
        steps = [1] * len(steps)
    else:
        node, _ = _first("Slice", ["x", *given], constants=given, opset=opset)
    places = [slice(None)] * 3
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        places[axis] = slice(start, end, step)
    found = slice_of(node, [None, *given.values()] if opset > 9 else [None])
    assert found is not None
    taken = x
    for axis, begin, count, step in found:
        taken = np.take(taken, begin + step * np.arange(count), axis)
    np.testing.assert_array_equal(taken, x[tuple(places)])
    assert all(step == 1 for _, _, count, step in found if count == 1), "of one element every step is the same"
    assert all(count < x.shape[axis] for axis, _, count, _ in found)


@pytest.mark.parametrize(
    ("given", "shape"),
    [
        ({"s": [3], "e": [0], "a": [2], "t": [-1]}, (2, 3, 4)),
        ({"s": [0], "e": [0], "a": [2]}, (2, 3, 4)),  # nothing
        ({"s": [0, 1], "e": [2, 2], "a": [2, -1]}, (2, 3, 4)),  # one axis twice
        ({"s": [0], "e": [2], "a": [0]}, ("N", 3, 4)),
    ],
)
def test_a_slice_whose_elements_are_not_known(given, shape):
    constants = {k: np.int64(v) for k, v in given.items()}
    node, _ = _first("Slice", ["x", *given], constants=constants, shape=shape)
    assert slice_of(node, [None, *constants.values()]) is None
    assert slice_of(node, [None] * (1 + len(given))) is None


def test_the_parts_of_a_split():
    node, _ = _first("Split", ["x", "s"], constants={"s": np.int64([1, 3])}, outputs=2, axis=-1)
    x = ir.Value(name="x", shape=ir.Shape([2, 3, 4]))
    parts = [ir.Value(name=n, shape=ir.Shape([2, 3, k])) for n, k in (("y", 1), ("z", 3))]
    assert parts_of(ir.node("Split", [x, node.inputs[1]], {"axis": -1}, outputs=parts)) == [
        ((2, 0, 1, 1),),
        ((2, 1, 3, 1),),
    ]
    wrong = [ir.Value(name=n, shape=ir.Shape([2, 3, k])) for n, k in (("y", 1), ("z", 2))]
    assert parts_of(ir.node("Split", [x], {"axis": -1}, outputs=wrong)) is None
    free = [ir.Value(name=n, shape=ir.Shape([2, 3, None])) for n in "yz"]
    assert parts_of(ir.node("Split", [x], {"axis": -1}, outputs=free)) is None


@pytest.mark.parametrize(
    "operands",
    [([0], [1, 2], [0], None), ([0, 0], [1], [0], None), ([0], [1], [0, 1], None), ([0], [1], [0], [1, 1])],
)
def test_a_slice_of_lists_that_do_not_fit_is_not_known(operands):
    given = [None if o is None else np.array(o, np.int64) for o in operands]
    names = ["starts", "ends", "axes", "steps"]
    constants = {n: a for n, a in zip(names, given, strict=True) if a is not None}
    node, _ = _first("Slice", ["x", *(n if n in constants else "" for n in names)], constants=constants)
    assert slice_of(node, [None, *given]) is None


def test_parts_of_a_scalar_are_not_known():
    node, _ = _first("Split", ["x"], shape=(), outputs=2, num_outputs=2)
    assert parts_of(node) is None
    node, _ = _first("Slice", ["x", "s", "s", "s"], shape=(), constants={"s": np.int64([0])})
    assert slice_of(node, [None, *(np.int64([0]),) * 3]) is None


@pytest.mark.parametrize("perm", [[0, 1], [0, 1, 3], [2, 2, 1]])
def test_a_move_of_axes_that_are_not_there_keeps_no_order(perm):
    node, _ = _first("Transpose", ["x"], shape=(1, 3, 1), perm=perm)
    assert not keeps_order(node)


@pytest.mark.parametrize(
    ("shape", "same"), [((2, 12), True), (("N", 12), True), (("N", "M"), False), ((2, 3, 4), False)]
)
def test_a_reshape_to_a_shape_that_is_known_but_for_the_samples_is_an_identity(shape, same):
    assert is_identity(_first("Flatten", ["x"], shape=shape)[0]) == same


_NORM = {n: np.ones(3, np.float32) for n in ("s", "b", "m", "v")}


def _norm(**attributes):
    node = ir.node("BatchNormalization", [ir.Value(name=n) for n in ("x", *_NORM)], attributes)
    return attributes_of(node, {"": 21})


def test_what_a_norm_does_in_training_alone_does_not_count():
    assert _norm() == _norm(momentum=0.5) == _norm(training_mode=0)
    assert _norm() != _norm(epsilon=0.5)
    assert _norm(training_mode=1) is None


def test_tensors_count_by_their_numbers_and_parameters_of_functions_are_not_known():
    def made(value) -> object:
        return attributes_of(ir.node("ConstantOfShape", [ir.Value(name="x")], {"value": ir.tensor(value)}), {"": 21})

    assert made(np.float32([1])) == made(np.float32([1]))
    assert made(np.float32([1])) != made(np.float32([2]))
    assert made(np.float32([1])) != made(np.int32([1]))
    node = ir.node("LeakyRelu", [ir.Value(name="x")])
    node.attributes["alpha"] = ir.RefAttr("alpha", "a", ir.AttributeType.FLOAT)
    assert attributes_of(node, {"": 21}) is None


def test_bodies_have_names_and_do_not_count_as_attributes():
    body = ir.Graph([], [], nodes=[], name="b")
    given = {"then_branch": ir.AttrGraph("then_branch", body), "else_branch": ir.AttrGraph("else_branch", body)}
    node = ir.Node("", "If", [ir.Value(name="c")], given.values())
    assert [name for name, _ in bodies_of(node)] == ["else_branch", "then_branch"]
    assert attributes_of(node, {"": 21}) == {"version": 21}
    graphs = ir.Node("", "If", [ir.Value(name="c")], [ir.AttrGraphs("then_branch", [body])])
    assert attributes_of(graphs, {"": 21}) is None


@pytest.mark.parametrize(
    ("layout", "rank", "rows", "expected"),
    [
        ({}, 3, 5, (1, 5)),
        ({"data_layout": "NHWC"}, 4, 5, (3, 5)),
        ({"data_layout": "NCHW"}, 4, 5, (1, 5)),
        ({}, 3, 1, (1, 1)),
    ],
)
def test_rows_of_thresholds_are_channels(layout, rank, rows, expected):
    function = function_on(Root(b"", np.zeros(1), np.ones(1)), np.asarray, rank=rank)
    node = ir.node("MultiThreshold", [ir.Value(name="x"), ir.Value(name="t")], layout, domain=quant("x", "y").domain)
    assert channels_behind(node, 0, [None, np.zeros((rows, 2))], function) == expected


def test_several_steps_lay_elements_anew_as_far_as_is_asked():
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Reshape", ["r", "s"], ["a"], name="first"),
        helper.make_node("Transpose", ["a"], ["b"], perm=[0, 2, 1], name="second"),
        helper.make_node("Flatten", ["b"], ["y"], name="third"),
    ]
    source = loaded(model(nodes, {"s": np.int64([0, 1, 12])}, inputs={"x": ["N", 3, 4]}, outputs=["y"]))
    first, last = source.graph.node("first"), source.graph.node("third")
    assert laid_anew(last, lambda _: False) == (first.inputs[0], ("reshape", (12,)))
    middle = source.graph.node("second").inputs[0]
    assert laid_anew(last, lambda v: v is middle) == (middle, ("reshape", (12,)))
    assert laid_anew(first, lambda _: True) == (first.inputs[0], ("reshape", (1, 12)))
    assert laid_anew(source.graph.node(0), lambda _: False) is None


@pytest.mark.parametrize("op_type", ["Flatten", "GlobalMaxPool", "MaxPool", "Transpose"])
def test_rearrangements_commute_with_what_falls(op_type: str):
    x = np.random.default_rng(0).normal(size=(1, 2, 3, 4)).astype(np.float32)
    attributes = {"kernel_shape": [2, 2]} if op_type == "MaxPool" else {}
    node = helper.make_node(op_type, ["x"], ["y"], **attributes)
    run = ReferenceEvaluator(model([node], {}, inputs={"x": [1, 2, 3, 4]}, outputs=["y"]))
    (y,), (negated,) = run.run(None, {"x": x}), run.run(None, {"x": -x})
    assert op_type in MOVES
    assert (op_type in REARRANGEMENTS) == np.array_equal(negated, -y)
