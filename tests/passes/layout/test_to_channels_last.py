"""ToChannelsLast: the same numbers, bit for bit, with the channels of whole graphs last."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from onnx import TensorProto, helper

from anybit import check, load
from anybit.analysis.cost.cost import cost
from anybit.cleanup.infer_shapes import InferShapes
from anybit.graph.annotations import annotate_layout, annotated_layout
from anybit.ops.channels_last.layout import DOMAIN, to_last
from anybit.passes.layout.channels_last.plan import Domain
from anybit.passes.layout.to_channels_last import ToChannelsLast
from anybit.runtime.session import Session
from tests.integration.corpus import needs_corpus
from tests.models import DOMAIN as HUB
from tests.models import model, parameters, quant
from tests.passes.layout.layouts import layout_graphs
from tests.passes.rewriting import applied, assert_close, assert_same_bits, corpus_with, operators, problems, text
from tests.strategies import examples

RNG = np.random.default_rng(3)
ENGINES = ("reference", "onnxruntime")


def _whole(*shape: int) -> np.ndarray:
    return RNG.integers(-2, 3, shape).astype(np.float32)


X = {"x": _whole(2, 3, 6, 5)}


def _node(op_type, inputs, output, **attributes):
    return helper.make_node(op_type, inputs, [output], name=f"{output}_node", **attributes)


def _conv(source: str, output: str, weight: str = "w", **attributes):
    return _node("Conv", [source, weight], output, **attributes)


def _model(nodes, values=None, *, outputs=("y",), shape=(2, 3, 6, 5), opset=21):
    given = {"w": _whole(4, 3, 3, 3)} | dict(values or {})
    return model(nodes, given, inputs={"x": shape}, outputs=list(outputs), opset=opset)


@pytest.mark.parametrize("domain", Domain)
@given(layout_graphs())
@examples(120)
def test_random_graphs_compute_the_same(domain, case):
    proto, feeds = case
    after = applied(proto, ToChannelsLast(domain=domain))
    assert not [f for f in check(after) if f.rule != "shape"]
    assert_same_bits(proto, after, feeds)


@given(layout_graphs())
@examples(30)
def test_random_graphs_in_the_default_engine(case):
    proto, feeds = case
    assert_close(proto, applied(proto, ToChannelsLast()), feeds, engines=("onnxruntime",))


@given(layout_graphs())
@examples(60)
def test_the_interface_can_get_its_channels_last(case):
    proto, feeds = case
    shape = feeds["x"].shape
    assume(len(set(shape[1:])) == len(shape) - 1)
    after = applied(proto, ToChannelsLast(keep_input=False, keep_output=False))
    turned = list(after.graph.inputs[0].shape)[1:] != list(shape[1:])
    given_x = feeds["x"].transpose(to_last(len(shape))) if turned else feeds["x"]
    before = Session(proto, engine="reference").run(feeds)
    for name, y in Session(after, engine="reference").run({"x": given_x}).items():
        expected = before[name]
        same = y.shape == expected.shape and np.array_equal(y, expected)
        assert same or np.array_equal(y, expected.transpose(to_last(expected.ndim))), name


@given(layout_graphs())
@examples(40)
def test_a_second_time_moves_nothing_but_what_was_left(case):
    proto, feeds = case
    once = applied(proto, ToChannelsLast())
    count = operators(once).count("Transpose")
    assert_same_bits(proto, applied(once, ToChannelsLast()), feeds)
    assert operators(once).count("Transpose") <= count


def test_before_and_after():
    nodes = [quant("w", "wq"), _conv("x", "c", "wq"), _node("Relu", ["c"], "r")]
    nodes += [_node("Flatten", ["r"], "f"), _node("MatMul", ["f", "m"], "y")]
    values = {"m": _whole(48, 2)} | parameters("wq", scale=np.full((4, 1, 1, 1), 0.5, np.float32))
    proto = _model(nodes, values)
    after = applied(proto, ToChannelsLast(), modified=True)
    assert [line.replace("x/channels_last", "x_l") for line in text(after)] == [
        "x_l = Transpose(x, perm=[0, 2, 3, 1])",
        "wq = Quant(w/channels_last[4,3,3,3], wq_scale/channels_last[4,1,1,1], 0, 4, narrow=0)",
        "c = Conv(x_l, wq, group=1, kernel_shape=[3, 3], strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1])",
        "r = Relu(c)",
        "f = Flatten(r)",
        "y = MatMul(f, m/channels_last[48,2])",
    ]
    assert after.opset_imports[DOMAIN] == 21
    assert_same_bits(proto, after, X, ENGINES)


def test_standard_operators_stand_between_transposes():
    nodes = [_conv("x", "c"), _node("Relu", ["c"], "r"), _node("MaxPool", ["r"], "y", kernel_shape=[2, 2])]
    proto = _model(nodes)
    after = applied(proto, ToChannelsLast(domain=Domain.STANDARD), modified=True)
    assert operators(after) == ["Conv", "Transpose", "Relu", "Transpose", "MaxPool"]
    assert {n.domain for n in after.graph} == {""}
    assert_same_bits(proto, after, X, ENGINES)


def test_transposes_of_a_model_that_has_its_channels_last_melt_away():
    nodes = [_node("Transpose", ["x"], "n", perm=[0, 3, 1, 2]), _conv("n", "c"), _node("Relu", ["c"], "r")]
    nodes += [_node("Transpose", ["r"], "t", perm=[0, 2, 3, 1]), _node("Add", ["t", "b"], "y")]
    proto = _model(nodes, {"b": _whole(4)}, shape=[2, 6, 5, 3])
    after = applied(proto, ToChannelsLast(), modified=True)
    assert operators(after) == ["Conv", "Relu", "Add"]
    assert_same_bits(proto, after, {"x": _whole(2, 6, 5, 3)})


def test_outputs_in_the_middle_keep_name_and_shape():
    nodes = [_conv("x", "c"), _node("Relu", ["c"], "r"), _node("Neg", ["r"], "y")]
    proto = _model(nodes, outputs=["c", "y", "r"])
    after = applied(proto, ToChannelsLast(), modified=True)
    assert [v.name for v in after.graph.outputs] == ["c", "y", "r"]
    assert_same_bits(proto, after, X, ENGINES)


def test_subgraphs_read_what_they_read_before():
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("then_y", "else_y")]
    inner = helper.make_graph([_node("Mul", ["c", "p"], "then_y")], "then", [], ends[:1])
    other = helper.make_graph([_conv("x", "else_y")], "else", [], ends[1:])
    nodes = [_conv("x", "c"), helper.make_node("If", ["on"], ["y"], name="if", then_branch=inner, else_branch=other)]
    for on in (True, False):
        proto = _model(nodes, {"on": np.array(on), "p": _whole(4, 1, 1)})
        after = applied(proto, ToChannelsLast(), modified=True)
        assert [n.domain for n in after.graph.all_nodes() if n.op_type == "Conv"] == [DOMAIN, ""]
        assert_same_bits(proto, after, X)


def test_shared_constants_are_not_edited():
    nodes = [_conv("x", "a"), _conv("x", "b"), _node("Add", ["a", "b"], "s"), _node("Identity", ["w"], "seen")]
    nodes += [_node("Add", ["s", "p"], "y"), _node("Mul", ["p", "p"], "squares")]
    proto = _model(nodes, {"p": _whole(4, 1, 1)}, outputs=["y", "seen", "squares"])
    after = applied(proto, ToChannelsLast(), modified=True)
    assert sum(name.startswith("w/") for name in after.graph.initializers) == 1
    assert_same_bits(proto, after, X)


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("opset", [9, 10, 11, 12])
def test_lists_that_old_opsets_hold_as_attributes(opset, dynamic):
    shape = ["N", 3, "H", "W"] if dynamic else [2, 3, 6, 5]
    nodes = [_conv("x", "c", auto_pad="SAME_UPPER"), _node("ReduceMax", ["c"], "m", axes=[-2], keepdims=1)]
    nodes += [_node("Mul", ["c", "m"], "p"), _node("ReduceMax", ["p"], "f", axes=[2, 3], keepdims=0)]
    nodes += [_node("ReduceMax", ["p"], "v", axes=[3], keepdims=0), _node("GlobalMaxPool", ["p"], "g")]
    nodes += [_node("Squeeze", ["g"], "s", axes=[2, 3]), _node("Softmax", ["p"], "soft", axis=1)]
    if opset < 10:
        nodes += [_node("Slice", ["p"], "part", axes=[1, 3], starts=[1, 0], ends=[3, 2])]
    else:
        nodes += [_node("Slice", ["p", "starts", "ends"], "part")]
    if opset < 11:
        nodes += [_node("Pad", ["part"], "y", pads=[0, 1, 0, 2, 0, 0, 1, 0], value=3.0)]
    else:
        nodes += [_node("Pad", ["part", "pads", "three"], "y")]
    if opset == 9:
        nodes += [_node("Upsample", ["y", "scales"], "z", mode="nearest")]
    else:
        nodes += [_node("Resize", ["y", *(["roi"] if opset > 10 else []), "scales"], "z", mode="nearest")]
    values = {"scales": np.float32([1, 1, 2, 3]), "roi": np.zeros(0, np.float32)}
    values |= {} if opset < 10 else {"starts": np.array([0, 1]), "ends": np.array([2, 3])}
    values |= {} if opset < 11 else {"pads": np.array([0, 1, 0, 2, 0, 0, 1, 0]), "three": np.float32(3)}
    proto = _model(nodes, values, outputs=["f", "v", "s", "soft", "z"], shape=shape, opset=opset)
    after = applied(proto, ToChannelsLast(), modified=True)
    assert operators(after).count("Transpose") == 1 + 3  # x; v, soft and z
    assert_same_bits(proto, after, X)


@pytest.mark.parametrize("axis", [1, -3])
def test_parameters_of_quantize_linear_stay_with_their_channels(axis):
    nodes = [_conv("x", "c"), _node("QuantizeLinear", ["c", "s", "z"], "q", axis=axis)]
    nodes += [_node("DequantizeLinear", ["q", "s", "z"], "y", axis=axis)]
    proto = _model(nodes, {"s": np.float32([0.5, 1, 2, 4]), "z": np.array([1, 2, 3, 4], np.int8)})
    after = applied(proto, ToChannelsLast(), modified=True)
    assert operators(after) == ["Transpose", "Conv", "QuantizeLinear", "DequantizeLinear", "Transpose"]
    assert_same_bits(proto, after, X, ENGINES)


@pytest.mark.parametrize("target", [[0, -1], [-1, 48], [2, -1], [2, 48]])
@pytest.mark.parametrize("kind", ["initializer", "quantised", "dequantised", "computed"])
def test_rows_of_a_matrix_follow_the_features(target, kind):
    nodes = [_conv("x", "c"), _node("Reshape", ["c", "shape"], "f"), _node("MatMul", ["f", "m"], "y")]
    matrix, values = _whole(3, 48), {"shape": np.array(target)}
    match kind:
        case "initializer":
            values["m"] = matrix.T.copy()
        case "quantised":
            values |= {"v": matrix} | parameters("q", scale=np.float32([[1], [2], [0.5]]))
            nodes[:0] = [quant("v", "q"), _node("Transpose", ["q"], "m", perm=[1, 0])]
        case "dequantised":
            values |= {"v": matrix.T.astype(np.int8), "s": 2.0 ** RNG.integers(-1, 2, 48).astype(np.float32)}
            nodes[:0] = [_node("DequantizeLinear", ["v", "s"], "m", axis=0)]
        case "computed":
            values |= {"v": matrix.reshape(-1), "to": np.array([48, 3])}
            nodes[:0] = [_node("Reshape", ["v", "to"], "m")]
    proto = _model(nodes, values, shape=[2, 3, 5, 6])
    after = applied(proto, ToChannelsLast(), modified=True)
    assert "c/channels_first" not in {str(v.name) for n in after.graph for v in n.outputs}
    assert ("Gather" in operators(after)) == (kind == "computed")
    assert_same_bits(proto, after, {"x": _whole(2, 3, 5, 6)}, ENGINES)


def test_features_that_are_put_out_keep_their_order():
    nodes = [_conv("x", "c"), _node("Flatten", ["c"], "f"), _node("Relu", ["f"], "y")]
    proto = _model(nodes)
    after = applied(proto, ToChannelsLast(), modified=True)
    assert operators(after) == ["Transpose", "Conv", "Transpose", "Flatten", "Relu"]
    assert problems(after) == {"Flatten 'f_node'": "the features are put out in their order"}
    assert_same_bits(proto, after, X)


_POSITIONS = helper.make_node("MaxPool", ["c"], ["y", "at"], name="y_node", kernel_shape=[2, 2])
_SECOND = "its channels stay the second axis"


@pytest.mark.parametrize(
    ("tail", "problem"),
    [
        ([_node("InstanceNormalization", ["c", "four", "four"], "y")], _SECOND),
        ([_POSITIONS], _SECOND),
        ([_node("Flatten", ["c"], "f"), _node("Softmax", ["f"], "y", axis=1)], "the features are read in their order"),
    ],
    ids=["normalisation", "positions", "softmax"],
)
def test_what_stays_is_noted(tail, problem):
    outputs = ["y", *(["at"] if "at" in tail[0].output else [])]
    proto = _model([_conv("x", "c"), *tail], {"four": np.ones(4, np.float32)}, outputs=outputs)
    if "at" in outputs:
        proto.graph.output[1].type.tensor_type.elem_type = TensorProto.INT64
    after = applied(proto, ToChannelsLast(), modified=True)
    assert problem in problems(after).values()
    assert_close(proto, after, X, engines=("onnxruntime",))


def test_models_without_convolutions_stay():
    proto = _model([_node("Relu", ["x"], "y")])
    assert operators(applied(proto, ToChannelsLast(), modified=False)) == ["Relu"]


def test_shapes_and_layouts_are_stated():
    loaded = load(_model([_conv("x", "c"), _node("Relu", ["c"], "y")]))
    annotate_layout(loaded.graph.node(0).outputs[0], ("N", "C", "H", "W"))
    ToChannelsLast()(loaded)
    made = {str(v.name): v for n in loaded.graph for v in n.outputs}
    assert annotated_layout(made["c"]) == ("N", "H", "W", "C")
    stated = {name: str(v.shape) for name, v in made.items()}
    assert (stated["c"], stated["y"]) == ("[2,4,3,4]", "[2,4,4,3]")
    for value in made.values():
        value.shape = None
    InferShapes()(loaded)
    assert {name: str(v.shape) for name, v in made.items()} == stated


@pytest.mark.parametrize("group", [1, 2])
def test_the_cost_stays(group):
    nodes = [quant("x", "q"), _conv("q", "y", "w", group=group, pads=[1] * 4, strides=[2, 1])]
    values = {"w": _whole(4, 4 // group, 3, 3)} | parameters("q")
    proto = _model(nodes, values, shape=(2, 4, 6, 5))
    after = applied(proto, ToChannelsLast(), modified=True)
    before, now = cost(proto).dense, cost(after).dense
    assert before.macs
    assert (now.macs, now.bit_operations) == (before.macs, before.bit_operations)


def test_quantisers_whose_parameters_are_computed():
    nodes = [_conv("x", "c"), _node("ReduceMax", ["x"], "top", keepdims=0), _node("Mul", ["p", "top"], "s")]
    inputs = ["c", "s", "q_zeropt", "q_bits"]
    attributes = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"}
    nodes += [helper.make_node("Quant", inputs, ["y"], name="y_node", domain=HUB, **attributes)]
    proto = _model(nodes, {"p": np.float32([[[1]], [[2]], [[4]], [[0.5]]])} | parameters("q"))
    after = applied(proto, ToChannelsLast(), modified=True)
    assert operators(after)[-1] == "Transpose"
    assert_same_bits(proto, after, X)


@needs_corpus
@pytest.mark.parametrize("case", corpus_with("Conv", megabytes=8), ids=lambda c: c.name)
@pytest.mark.parametrize("domain", Domain)
def test_real_models_put_out_the_same_bits(case, domain):
    after = applied(load(case.path), ToChannelsLast(domain=domain), modified=True)
    assert_same_bits(case.path, after, {str(after.graph.inputs[0].name): case.inputs[:1]})


@pytest.mark.parametrize(("op_type", "opset"), [("Softmax", 11), ("Softmax", 13), ("ArgMax", 13), ("Hardmax", 11)])
def test_scalars_have_no_channels(op_type, opset):
    node = helper.make_node(op_type, ["x"], ["y"])
    scalar = model([node], {}, inputs={"x": []}, outputs=["y"], opset=opset)
    assert operators(applied(scalar, ToChannelsLast())) == [op_type]
