"""Thresholds: what is written computes, for every sum, the level that the hub's own operators give."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from onnx import helper

import anybit
from anybit.exact import monotone
from anybit.exact.step_function import Proof
from anybit.formats.convert import to_hub, translate
from anybit.formats.dialect import Dialect
from anybit.formats.thresholds.write import read, write_layers
from anybit.graph.annotations import annotate_number_format, annotated_number_format
from anybit.io.load import load
from anybit.number_formats import IntFormat
from tests.formats.thresholds.threshold_models import Layer, layers, model_of, rows_for
from tests.models import model, parameters, quant


def written(source):
    hub, _ = to_hub(source)
    outcome, made = write_layers(hub)
    return hub, outcome.refusals, made


def outputs(source, x: np.ndarray) -> np.ndarray:
    session = anybit.Session(source, engine="reference")
    return np.concatenate([session.run(x[i : i + 1])[session.outputs[0]] for i in range(len(x))])


def operators(source: ir.Model) -> list[str]:
    return [n.op_type for n in source.graph]


@given(layers())
def test_levels_are_those_of_the_hub(layer: Layer):
    source = model_of(layer)
    result, refusals, _ = written(source)
    rows = rows_for(layer, 6)
    np.testing.assert_array_equal(outputs(result, rows), outputs(source, rows))
    if not refusals:
        assert not {"Quant", "BipolarQuant", "Trunc"} & set(operators(result))
    for refusal in refusals:
        assert layer.pool == "AveragePool", refusal  # a mean that float arithmetic may round over a step


@given(layers())
def test_the_way_back_has_the_same_levels(layer: Layer):
    result, _, _ = written(model_of(layer))
    again = result.clone()
    read(again)
    rows = rows_for(layer, 4)
    np.testing.assert_array_equal(outputs(again, rows), outputs(result, rows))


@given(layers())
def test_every_operand_states_integers_that_hold_it(layer: Layer):
    result, _, _ = written(model_of(layer))
    tensors = [v for n in result.graph for v in (*n.inputs, *n.outputs) if v is not None]
    stated = {v: d for v in tensors if (d := annotated_number_format(v)) is not None}
    for node in result.graph:
        if node.op_type in ("Conv", "MatMul"):
            assert all(v in stated for v in node.inputs if v is not None)
    names = [str(v.name) for v in stated if not v.is_initializer() and v.producer() is not None]
    session = anybit.Session(result, engine="reference", tensors=names)
    found = session.run(rows_for(layer, 1))
    for value, datatype in stated.items():
        array = value.const_value.numpy() if value.is_initializer() else found.get(str(value.name))
        if array is not None:
            assert datatype.allows(array).all(), (value.name, datatype)


def mlp(*nodes, constants=(), bits=4.0, signed=1, k=6):
    """Quant x, MatMul, nodes from "sums" to "y"."""
    weights = np.random.default_rng(0).integers(-3, 4, (k, 3)).astype(np.float32)
    known = {"w": weights} | parameters("xq", bits=bits) | parameters("wq", scale=1.0, bits=3.0) | dict(constants)
    head = [quant("x", "xq", signed=signed), quant("w", "wq"), helper.make_node("MatMul", ["xq", "wq"], ["sums"])]
    return model([*head, *nodes], known, inputs={"x": (1, k)}, outputs=["y"], opset=20)


def test_one_layer_as_it_is_written():
    result, refusals, made = written(mlp(quant("sums", "y"), constants=parameters("y", scale=0.5)))
    assert not refusals
    assert operators(result) == ["MultiThreshold", "MatMul", "MultiThreshold", "Mul"]
    first, product, second, _ = result.graph
    assert annotated_number_format(product.inputs[1]) == IntFormat(3, signed=True)
    assert annotated_number_format(first.outputs[0]) == IntFormat(4, signed=True)
    assert second.attributes["out_bias"].value == -8
    assert second.attributes["out_dtype"].value == "INT4"
    assert "data_layout" not in second.attributes
    np.testing.assert_array_equal(second.inputs[1].const_value.numpy(), np.arange(-7, 8)[None])
    assert [m.integers for m in made] == [False, True]
    assert {m.proof for m in made} == {Proof.COMPOSITION}


@pytest.mark.parametrize("walked", [True, False])
def test_sigmoid_is_tried_for_every_sum_where_it_is_not_walked(walked: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(monotone, "is_walked", lambda *_: walked)
    nodes = [helper.make_node("Sigmoid", ["sums"], ["s"]), quant("s", "y", signed=0)]
    result, refusals, made = written(mlp(*nodes, constants=parameters("y", scale=1 / 15)))
    assert not refusals
    assert made[-1].proof is (Proof.COMPOSITION if walked else Proof.ENUMERATION)
    assert "Sigmoid" not in operators(result)


@pytest.mark.parametrize("activation", ["Abs", "Gelu", "HardSwish", "Mish"])
def test_an_activation_that_rises_and_falls_is_refused_by_name(activation: str):
    source = mlp(helper.make_node(activation, ["sums"], ["s"]), quant("s", "y"), constants=parameters("y", scale=0.05))
    result, (refusal,), _ = written(source)
    assert refusal.problem == "the activation is not monotone"
    assert refusal.node.startswith("Quant")
    assert activation in refusal.got
    rows = np.random.default_rng(1).normal(size=(5, 6)).astype(np.float32)
    np.testing.assert_array_equal(outputs(result, rows), outputs(source, rows))


def test_a_fraction_as_zero_point_is_refused():
    _, (refusal,), _ = written(mlp(quant("sums", "y"), constants=parameters("y", scale=0.5, zeropt=0.5)))
    assert "no integers" in refusal.problem


def test_minifloats_and_transposed_convolutions_are_refused():
    names = ("scale", "exponent", "mantissa", "bias", "max")
    constants = dict(zip(names, map(np.float32, (1.0, 4.0, 3.0, 7.0, 448.0)), strict=True))
    node = helper.make_node("FloatQuant", ["sums", *names], ["y"], domain="qonnx.custom_op.general")
    _, (refusal,), _ = written(mlp(node, constants=constants))
    assert "minifloat" in refusal.problem


def test_bipolar_sums_have_the_parity_of_their_number():
    """FINN halves such thresholds: an even number of terms never adds up to an odd sum."""
    for k in (5, 6):
        constants = {"xq_scale": np.float32(1), "wq_scale": np.float32(1), "y_scale": np.float32(1)}
        constants["w"] = np.random.default_rng(k).normal(size=(k, 3)).astype(np.float32)
        constants["c"] = np.float32([0.3, -0.4, 1.5])
        domain = "qonnx.custom_op.general"
        nodes = [
            helper.make_node("BipolarQuant", ["x", "xq_scale"], ["xq"], domain=domain),
            helper.make_node("BipolarQuant", ["w", "wq_scale"], ["wq"], domain=domain),
            helper.make_node("MatMul", ["xq", "wq"], ["sums"]),
            helper.make_node("Add", ["sums", "c"], ["t"]),
            helper.make_node("BipolarQuant", ["t", "y_scale"], ["y"], domain=domain),
        ]
        result, _, _ = written(model(nodes, constants, inputs={"x": (1, k)}, outputs=["y"]))
        last = [n for n in result.graph if n.op_type == "MultiThreshold"][-1]
        assert (last.inputs[1].const_value.numpy() % 2 == k % 2).all()
        assert last.attributes["out_dtype"].value == "BIPOLAR"
        assert (last.attributes["out_scale"].value, last.attributes["out_bias"].value) == (2.0, -1.0)


def test_a_falling_channel_has_its_weights_negated():
    constants = parameters("y", scale=0.5) | {"c": np.float32([1.0, -1.0, -0.5])}
    result, _, _ = written(mlp(helper.make_node("Mul", ["sums", "c"], ["t"]), quant("t", "y"), constants=constants))
    assert operators(result) == ["MultiThreshold", "MatMul", "MultiThreshold", "Mul"]
    weights = next(n for n in result.graph if n.op_type == "MatMul").inputs[1].const_value.numpy()
    source = np.random.default_rng(0).integers(-3, 4, (6, 3))
    np.testing.assert_array_equal(weights, source * np.array([1, -1, -1]))


def test_sums_with_two_readers_keep_their_sign():
    """A channel falls for one reader and rises for the other: neither can have the weights negated."""
    constants = parameters("a", scale=0.5) | parameters("b", scale=0.5) | {"c": np.float32([1.0, -1.0, -0.5])}
    nodes = [
        helper.make_node("Mul", ["sums", "c"], ["t"]),
        quant("t", "a"),
        quant("sums", "b"),
        helper.make_node("Concat", ["a", "b"], ["y"], axis=1),
    ]
    source = mlp(*nodes, constants=constants)
    result, refusals, _ = written(source)
    assert not refusals
    rows = np.random.default_rng(2).normal(size=(20, 6)).astype(np.float32)
    np.testing.assert_array_equal(outputs(result, rows), outputs(source, rows))


def residual(scale_a: float, scale_b: float, *, out: float = 0.37):
    constants = parameters("a", scale=scale_a) | parameters("b", scale=scale_b, bits=3.0) | parameters("y", scale=out)
    nodes = [
        quant("sums", "a"),
        quant("sums", "b"),
        helper.make_node("Add", ["a", "b"], ["t"], name="residual"),
        helper.make_node("Relu", ["t"], ["r"]),
        quant("r", "y", signed=0),
    ]
    return mlp(*nodes, constants=constants)


@pytest.mark.parametrize(("a", "b"), [(0.5, 0.5), (0.3, 0.3), (0.5, 0.25), (0.3, 0.2), (0.7, 0.31), (0.1, 0.33)])
def test_a_residual_sum_is_a_sum_of_integers(a: float, b: float):
    source = residual(a, b)
    result, refusals, made = written(source)
    assert not refusals
    assert made[-1].proof is Proof.ENUMERATION
    rows = np.random.default_rng(3).normal(size=(100, 6)).astype(np.float32)
    np.testing.assert_array_equal(outputs(result, rows), outputs(source, rows))


def test_a_residual_sum_whose_ties_float_rounding_decides_is_refused():
    """0.3 * a + 0.3 * b lies half-way between multiples of 0.6, and next to it in float32: it depends on the pair."""
    _, (refusal,), _ = written(residual(0.3, 0.3, out=0.6))
    assert refusal.node == "Quant 'y_node'"
    assert refusal.problem == "no whole multiples of its summands decide its levels"


def test_a_residual_sum_whose_root_is_no_number_is_refused():
    source = residual(0.5, 0.5)
    next(n for n in source.graph.node if n.op_type == "Relu").op_type = "Sqrt"
    _, (refusal,), _ = written(source)
    assert refusal.node == "Quant 'y_node'"
    assert refusal.problem == "sums for which it is no number"


def pooled(activation: str, scale: float):
    """A mean of 9 levels of scale 0.3, which float arithmetic may round, an activation and a quantiser."""
    nodes = [
        quant("x", "a", signed=0),
        helper.make_node("AveragePool", ["a"], ["m"], kernel_shape=[3, 3], strides=[3, 3]),
        helper.make_node(activation, ["m"], ["t"], name="activation"),
        quant("t", "y", signed=0),
    ]
    known = parameters("a", scale=0.3) | parameters("y", scale=scale)
    return model(nodes, known, inputs={"x": (1, 2, 6, 6)}, outputs=["y"], opset=20)


@pytest.mark.parametrize(("activation", "proof"), [("Relu", Proof.COMPOSITION), ("Abs", Proof.ENUMERATION)])
def test_a_mean_decides_levels_alike_with_either_proof(activation: str, proof: Proof):
    source = pooled(activation, 0.37)
    result, refusals, made = written(source)
    assert not refusals
    assert made[-1].proof is proof
    rows = np.random.default_rng(5).uniform(0, 5, (50, 2, 6, 6)).astype(np.float32)
    np.testing.assert_array_equal(outputs(result, rows), outputs(source, rows))
    _, (refusal,), _ = written(pooled(activation, 0.3 * 2 / 9))  # sums that are odd lie in the middle of two levels
    assert refusal.problem == "float rounding before it decides between two levels"


def test_a_residual_sum_of_unequal_scales_that_a_product_reads_is_refused():
    constants = (
        parameters("a", scale=0.5) | parameters("b", scale=0.31) | parameters("vq") | {"v": np.eye(3, dtype="f")}
    )
    nodes = [
        quant("sums", "a"),
        quant("sums", "b"),
        helper.make_node("Add", ["a", "b"], ["t"], name="residual"),
        quant("v", "vq"),
        helper.make_node("MatMul", ["t", "vq"], ["y"], name="second"),
    ]
    source = mlp(*nodes, constants=constants)
    result, refusals, _ = written(source)
    assert [r.node for r in refusals] == ["MatMul 'second'"]
    rows = np.random.default_rng(3).normal(size=(9, 6)).astype(np.float32)
    np.testing.assert_allclose(outputs(result, rows), outputs(source, rows), rtol=1e-6)


def test_an_input_of_stated_integers_is_one():
    constants = {"w": np.eye(4, dtype=np.float32)} | parameters("wq", scale=0.25) | parameters("y", scale=0.5)
    nodes = [quant("w", "wq"), helper.make_node("MatMul", ["x", "wq"], ["sums"]), quant("sums", "y")]
    hub = load(model(nodes, constants, inputs={"x": (1, 4)}, outputs=["y"]))
    annotate_number_format(hub.graph.inputs[0], IntFormat(4, signed=False))
    result = hub.clone()
    outcome, _ = write_layers(result)
    assert not outcome.refusals
    assert operators(result) == ["MatMul", "MultiThreshold", "Mul"]
    rows = np.random.default_rng(0).integers(0, 16, (30, 4)).astype(np.float32)
    np.testing.assert_array_equal(outputs(result, rows), outputs(hub, rows))


def test_a_uniform_file_is_read_as_quantisers():
    """Weights by annotation, thresholds half a step apart: what a converter of another tool writes."""
    constants = {
        "w": np.float32([[1, -2], [3, 0]]),
        "t": np.float32([[-3, -1, 1]]),
        "s": np.float32([[0.25, 0.5, 0.75]]),
    }
    attributes = {"domain": "qonnx.custom_op.general", "out_dtype": "INT2", "out_scale": 1.0, "out_bias": -2.0}
    nodes = [
        helper.make_node("MultiThreshold", ["x", "s"], ["k"], **(attributes | {"out_dtype": "UINT2", "out_bias": 0.0})),
        helper.make_node("MatMul", ["k", "w"], ["sums"]),
        helper.make_node("MultiThreshold", ["sums", "t"], ["y"], **attributes),
    ]
    file = load(model(nodes, constants, inputs={"x": (1, 2)}, outputs=["y"]))
    annotate_number_format(file.graph.initializers["w"], IntFormat(3, signed=True))
    hub, outcome = to_hub(file)
    assert not outcome.refusals
    assert "MultiThreshold" not in operators(hub)
    assert operators(hub).count("Quant") == 3
    rows = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    np.testing.assert_array_equal(outputs(hub, rows), outputs(file, rows))


def test_a_staircase_that_is_not_uniform_stays():
    attributes = {"domain": "qonnx.custom_op.general", "out_dtype": "UINT2"}
    nodes = [helper.make_node("MultiThreshold", ["x", "t"], ["y"], **attributes)]
    hub, _ = to_hub(model(nodes, {"t": np.float32([[0, 1, 10]])}, inputs={"x": (1, 2)}, outputs=["y"]))
    assert operators(hub) == ["MultiThreshold"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("scale", "bias"), [(np.inf, 0.0), (np.nan, 0.0), (1.0, -np.inf), (3e38, 0.0), (1e-45, 1e38)])
def test_levels_that_are_no_numbers_stay(scale: float, bias: float):
    attributes = {"domain": "qonnx.custom_op.general", "out_dtype": "UINT2", "out_scale": scale, "out_bias": bias}
    nodes = [helper.make_node("MultiThreshold", ["x", "t"], ["y"], **attributes)]
    source = model(nodes, {"t": np.float32([[0.5, 1.5, 2.5]])}, inputs={"x": (1, 2)}, outputs=["y"])
    x = np.float32([[0.25, 3.0]])
    hub, _ = to_hub(source)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(outputs(hub, x), outputs(load(source), x))


def test_convert_writes_the_format_and_refuses_by_node():
    source = mlp(quant("sums", "y"), constants=parameters("y", scale=0.5))
    conversion = translate(source, Dialect.FINN)
    assert not conversion.refusals
    assert "Quant" not in operators(conversion.model)
    back = translate(conversion.model, Dialect.QONNX)
    assert "MultiThreshold" not in operators(back.model)


@pytest.mark.parametrize("zero_point", [-1.0, 0.0, 2.0])
def test_one_bit_with_a_zero_point_has_levels_two_apart(zero_point: float):
    source = mlp(quant("sums", "y"), constants=parameters("y", scale=0.5, bits=1.0, zeropt=zero_point))
    result, refusals, _ = written(source)
    assert not refusals
    rows = np.random.default_rng(4).normal(size=(40, 6)).astype(np.float32)
    np.testing.assert_array_equal(outputs(result, rows), outputs(source, rows))


def test_a_quantiser_of_one_level_has_a_threshold_out_of_reach():
    source = mlp(quant("sums", "y", signed=0, narrow=1), constants=parameters("y", bits=1.0))
    result, _, _ = written(source)
    last = [n for n in result.graph if n.op_type == "MultiThreshold"][-1]
    assert last.inputs[1].const_value.numpy().shape[1] == 1
    rows = np.random.default_rng(4).normal(size=(9, 6)).astype(np.float32)
    np.testing.assert_array_equal(outputs(result, rows), outputs(source, rows))


def image(*nodes, constants=(), group: int = 1, x=(1, 4, 6, 6)):
    """Quant x, Conv, nodes from "sums" to "y"."""
    known = parameters("xq", zeropt=1.0) | parameters("wq", scale=0.25, bits=3.0) | dict(constants)
    known["w"] = np.random.default_rng(5).normal(size=(4, x[1] // group, *(3,) * (len(x) - 2))).astype(np.float32)
    conv = helper.make_node("Conv", ["xq", "wq"], ["sums"], group=group)
    return model([quant("x", "xq"), quant("w", "wq"), conv, *nodes], known, inputs={"x": x}, outputs=["y"], opset=13)


BY_CHANNEL = {"c": np.float32([1.0, -0.5, 0.3, -2.0]).reshape(1, 4, 1, 1)}


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        (
            [
                helper.make_node("Mul", ["sums", "c"], ["t"]),
                helper.make_node("MaxPool", ["t"], ["p"], kernel_shape=[2, 2]),
                quant("p", "y"),
            ],
            BY_CHANNEL,
        ),
        (
            [helper.make_node("Mul", ["sums", "c"], ["t"]), helper.make_node("Flatten", ["t"], ["p"]), quant("p", "y")],
            BY_CHANNEL,
        ),
        (
            [
                helper.make_node("Mul", ["sums", "c"], ["t"]),
                helper.make_node("Transpose", ["t"], ["p"], perm=[0, 2, 3, 1]),
                quant("p", "y"),
            ],
            BY_CHANNEL,
        ),
        (
            [
                quant("sums", "q", prefix="y"),
                helper.make_node("Pad", ["q", "pads"], ["p"]),
                helper.make_node("GlobalMaxPool", ["p"], ["g"]),
                helper.make_node("Squeeze", ["g", "axes"], ["y"]),
            ],
            {"pads": np.int64([0, 0, 1, 1, 0, 0, 1, 1]), "axes": np.int64([2, 3])},
        ),
        (
            [quant("sums", "q", prefix="y"), helper.make_node("Pad", ["q", "pads"], ["p"]), quant("p", "y")],
            {"pads": np.int64([0, 1, 0, 0, 0, 0, 0, 0])},
        ),
        (
            [
                quant("sums", "q", prefix="y"),
                helper.make_node("GlobalAveragePool", ["q"], ["g"]),
                quant("g", "y", rounding_mode="FLOOR"),
            ],
            {},
        ),
        (
            [
                quant("sums", "q", prefix="y"),
                helper.make_node("Gather", ["q", "index"], ["p"], axis=1),
                quant("p", "y"),
            ],
            {"index": np.int64([3, 1])},
        ),
        (
            [
                helper.make_node("Mul", ["sums", "c"], ["t"]),
                quant("t", "a", prefix="y"),
                quant("sums", "b", prefix="y"),
                helper.make_node("Concat", ["a", "b"], ["y"], axis=1),
            ],
            BY_CHANNEL,
        ),
    ],
)
def test_movement_between_sums_and_levels(nodes, constants):
    source = image(*nodes, constants=parameters("y", scale=0.25) | constants)
    result, refusals, _ = written(source)
    assert not refusals
    assert not {"Quant", "AveragePool", "GlobalAveragePool"} & set(operators(result))
    rows = (np.random.default_rng(6).integers(-9, 9, (8, 4, 6, 6)) / 4).astype(np.float32)
    np.testing.assert_array_equal(outputs(result, rows), outputs(source, rows))


def test_channels_along_an_axis_without_a_layout_are_refused():
    nodes = [
        helper.make_node("Mul", ["sums", "c"], ["t"]),
        helper.make_node("Transpose", ["t"], ["p"], perm=[0, 3, 1, 2]),
        quant("p", "y"),
    ]
    _, (refusal,), _ = written(image(*nodes, constants=parameters("y", scale=0.25) | BY_CHANNEL))
    assert refusal.problem == "channels along an axis that no layout has"


@pytest.mark.parametrize("x", [(1, 4, 9), (1, 4, 5, 5, 5)])
def test_convolutions_of_one_and_three_axes(x):
    source = image(quant("sums", "y"), constants=parameters("y", scale=0.25), x=x)
    result, refusals, _ = written(source)
    assert not refusals
    rows = np.random.default_rng(6).normal(size=(4, *x[1:])).astype(np.float32)
    np.testing.assert_array_equal(outputs(result, rows), outputs(source, rows))


def test_a_tensor_with_a_reader_that_is_real_reaches_it():
    """The sums, the levels and the output are read by float nodes as well: they get the numbers times their scales."""
    nodes = [
        quant("sums", "q", prefix="y"),
        helper.make_node("Sin", ["q"], ["s"]),
        helper.make_node("Sin", ["sums"], ["r"]),
        helper.make_node("Sum", ["s", "r", "q"], ["y"]),
    ]
    source = mlp(*nodes, constants=parameters("y", scale=0.5))
    result, refusals, _ = written(source)
    assert not refusals
    rows = np.random.default_rng(7).normal(size=(9, 6)).astype(np.float32)
    np.testing.assert_allclose(outputs(result, rows), outputs(source, rows), rtol=1e-6, atol=1e-6)


def test_a_quantiser_in_a_subgraph_is_refused():
    branch = helper.make_graph([quant("x", "in_branch", prefix="xq")], "branch", [], [value("in_branch")])
    other = helper.make_graph([helper.make_node("Identity", ["x"], ["kept"])], "other", [], [value("kept")])
    nodes = [helper.make_node("If", ["flag"], ["y"], then_branch=branch, else_branch=other, name="if")]
    source = model(nodes, parameters("xq") | {"flag": np.asarray(True)}, inputs={"x": (1, 2)}, outputs=["y"])
    hub = load(source)
    outcome, _ = write_layers(hub)
    assert [r.problem for r in outcome.refusals] in ([], ["it stands in a subgraph"])
    assert bool(outcome.refusals) == any(n.op_type == "Quant" for n in hub.graph.all_nodes())


def value(name: str):
    return helper.make_tensor_value_info(name, 1, (1, 2))


def test_a_function_that_is_no_number_for_some_sums_is_refused():
    source = mlp(helper.make_node("Log", ["sums"], ["l"]), quant("l", "y"), constants=parameters("y"))
    _, (refusal,), _ = written(source)
    assert refusal.problem == "sums for which it is no number"


def _assert_same_or_refused(source, x: np.ndarray) -> None:
    """Levels of a written model are those of the source, or a node is refused for float rounding."""
    result, refusals, _ = written(source)
    if refusals:
        assert {r.problem for r in refusals} <= {
            "float rounding before it decides between two levels",
            "it adds numbers of different scales",
        }
    np.testing.assert_allclose(outputs(result, x), outputs(source, x), rtol=1e-6)


@pytest.mark.parametrize("operator", ["AveragePool", "GlobalAveragePool"])
@pytest.mark.parametrize("scale", [0.3, -0.3])
@pytest.mark.parametrize("off", [2.0**-18, -(2.0**-18), -(2.0**-20), 2.0**-10])
def test_means_of_levels_that_cancel_are_exact_or_refused(off: float, scale: float, operator: str):
    """The mean of 111, -110, 0, 0 is 2^-16.6 off where each level is rounded with its scale."""
    attributes = {} if operator[0] == "G" else {"kernel_shape": [2, 2]}
    nodes = [quant("x", "q"), helper.make_node(operator, ["q"], ["mean"], **attributes), *(
        [helper.make_node("Neg", ["mean"], ["p"])] if scale < 0 else [helper.make_node("Identity", ["mean"], ["p"])]
    ), quant("p", "y")]  # fmt: skip
    constants = parameters("q", scale=abs(scale), bits=8.0) | parameters("y", scale=0.15 * (1 + off), bits=4.0)
    source = model(nodes, constants, inputs={"x": [1, 1, 2, 2]}, outputs=["y"])
    big = np.arange(1, 128)
    windows = np.stack([big, 1 - big, 0 * big, 0 * big], axis=1)
    x = np.concatenate([windows, -windows, np.roll(windows, 2, axis=1)]).astype(np.float32).reshape(-1, 1, 2, 2)
    _assert_same_or_refused(source, x * np.float32(0.3))
    assert bool(written(source)[1]) == (abs(off) < 2**-11)


def _sum_read_by(consumer: str, scales: tuple[float, float], out: float) -> onnx.ModelProto:
    nodes = [quant("x", "a"), quant("z", "b"), helper.make_node("Add", ["a", "b"], ["s"])]
    match consumer:
        case "Quant":
            nodes += [quant("s", "y")]
        case "AveragePool":
            nodes += [helper.make_node("AveragePool", ["s"], ["m"], kernel_shape=[1, 1]), quant("m", "y")]
        case "Add":
            nodes += [quant("x", "c"), helper.make_node("Add", ["s", "c"], ["t"]), quant("t", "y")]
        case _:
            nodes += [helper.make_node("Concat", ["s", "s"], ["t"], axis=1), quant("t", "y")]
    constants = parameters("a", scale=scales[0], bits=8.0) | parameters("b", scale=scales[1], bits=8.0)
    constants |= parameters("c", scale=scales[0], bits=2.0) | parameters("y", scale=out, bits=8.0)
    return model(nodes, constants, inputs={"x": ["N", 1, 1, 1], "z": ["N", 1, 1, 1]}, outputs=["y"])


@pytest.mark.parametrize("consumer", ["Quant", "AveragePool", "Add", "Concat"])
@pytest.mark.parametrize("apart", [0.0, 2.0**-20.5, 2.0**-21.5, 1.0, -(2.0**-23)])
@pytest.mark.parametrize("out", [0.3, 0.6, 1e-5])
def test_sums_of_scales_that_are_nearly_one_are_exact_or_refused(consumer: str, apart: float, out: float):
    """127 * 0.3 - 127 * 0.3 (1 + 2^-20.5) is no 0."""
    scales = np.float32(0.3), np.float32(np.float32(0.3) * (1 + apart))
    source = _sum_read_by(consumer, (float(scales[0]), float(scales[1])), out)
    result, refusals, _ = written(source)
    levels = np.arange(-128, 128, dtype=np.float32)
    pairs = np.array([(k, d - k) for k in levels for d in (-1, 0, 1, 2) if -128 <= d - k < 128], np.float32)
    x, z = (pairs[:, i].reshape(-1, 1, 1, 1) * scale for i, scale in enumerate(scales))
    mine, theirs = (anybit.Session(m, engine="reference").run({"x": x, "z": z})["y"] for m in (result, source))
    np.testing.assert_array_equal(mine, theirs)
    if apart in (0.0, 1.0) and out == 0.3:
        assert not refusals


@pytest.mark.parametrize("activation", ["Cos", "Abs"])
def test_a_mean_behind_a_function_that_is_enumerated_is_exact_or_refused(activation: str):
    nodes = [quant("x", "q", signed=0), helper.make_node("GlobalAveragePool", ["q"], ["m"]),
             helper.make_node(activation, ["m"], ["c"]), quant("c", "y")]  # fmt: skip
    constants = parameters("q", scale=0.3, bits=2.0) | parameters("y", scale=0.4)
    source = model(nodes, constants, inputs={"x": ["N", 1, 2, 2]}, outputs=["y"])
    result, refusals, _ = written(source)
    assert {r.problem for r in refusals} <= {
        "float rounding before it decides between two levels",
        "the activation is not monotone",
    }
    every = np.array(np.meshgrid(*[range(4)] * 4), np.float32).reshape(4, -1).T * np.float32(0.3)
    x = every.reshape(-1, 1, 2, 2)
    np.testing.assert_array_equal(outputs(result, x), outputs(load(source), x))


_UNUSABLE = [("Mul", np.inf), ("Mul", -np.inf), *((op, np.nan) for op in ("Mul", "Div", "Add", "Sub", "PRelu", "Max"))]


@pytest.mark.parametrize("quantizer", ["Quant", "BipolarQuant"])
@pytest.mark.parametrize(("op_type", "operand"), [*_UNUSABLE, ("Div", 0.0), ("Div", -0.0)])
@pytest.mark.parametrize("to", ["finn", "quantized-ops", "integer-ops"])
def test_operands_that_make_nan_are_refused_by_name(to: str, op_type: str, operand: float, quantizer: str):
    """0 * inf is NaN in the source, and a level in what is written."""
    last = quant("m", "y") if quantizer == "Quant" else helper.make_node(
        "BipolarQuant", ["m", "y_scale"], ["y"], name="y_node", domain="qonnx.custom_op.general")  # fmt: skip
    source = mlp(helper.make_node(op_type, ["sums", "c"], ["m"], name="odd"), last,
                 constants=parameters("y") | {"c": np.float32(operand)})  # fmt: skip
    result = translate(source, to)
    assert [r for r in result.refusals if any(name in f"{r.node} {r.got}" for name in ("odd", "y_node", "sums"))]
    if to == "finn":
        for x in (np.zeros((1, 6), "f"), np.ones((1, 6), "f"), -np.ones((1, 6), "f")):
            mine, theirs = (anybit.Session(m, engine="reference").run({"x": x})["y"] for m in (result.model, source))
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("op_type", ["Max", "Min"])
@pytest.mark.parametrize("bound", [np.inf, -np.inf])
def test_infinite_bounds_are_followed(op_type: str, bound: float):
    source = mlp(helper.make_node(op_type, ["sums", "c"], ["m"]), quant("m", "y"),
                 constants=parameters("y") | {"c": np.float32(bound)})  # fmt: skip
    result, refusals, _ = written(source)
    assert not refusals
    rows = np.random.default_rng(3).normal(size=(50, 6)).astype(np.float32)
    np.testing.assert_array_equal(outputs(result, rows), outputs(source, rows))


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("factor", [1.0, -1.0, 1e-38])
@pytest.mark.parametrize("scale", [1e38, 3e38, 1.5e38, 0.5])
def test_infinite_inputs_have_the_levels_of_the_source(scale: float, factor: float, signed: int):
    """No finite number reaches all levels of such scales, on either side."""
    nodes = [helper.make_node("Mul", ["x", "c"], ["m"]), quant("m", "y", signed=signed)]
    source = model(nodes, parameters("y", scale=scale) | {"c": np.float32(factor)}, inputs={"x": ["N", 1]},
                   outputs=["y"])  # fmt: skip
    result, refusals, _ = written(source)
    assert not refusals
    largest = np.finfo(np.float32).max
    x = np.array([-np.inf, -largest, -scale, -1, 0, 1, scale, largest, np.inf], np.float32)[:, None]
    mine, theirs = (anybit.Session(m, engine="reference").run({"x": x})["y"] for m in (result, source))
    np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("bits", [[3.0, 3.0], [3.0, 2.0], [2.0, 8.0]])
@pytest.mark.parametrize("signed", [0, 1])
def test_channels_of_different_levels_have_those_of_the_source_at_infinity_or_are_refused(bits, signed):
    known = parameters("y", scale=0.5) | {"y_bits": np.float32([bits])}
    source = model([quant("x", "y", signed=signed)], known, inputs={"x": ["N", 2]}, outputs=["y"])
    result, refusals, _ = written(source)
    assert bool(refusals) is (bits[0] != bits[1])
    x = np.repeat(np.float32([-np.inf, -200, -0.6, 0, 0.6, 200, np.inf])[:, None], 2, axis=1)
    mine, theirs = (anybit.Session(m, engine="reference").run({"x": x})["y"] for m in (result, source))
    np.testing.assert_array_equal(mine, theirs)
