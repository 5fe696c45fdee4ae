"""convert: any format to any other; the table of formats."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from onnx import helper

import anybit
from anybit.errors import UsageError
from anybit.formats.convert import WRITERS, capabilities, translate
from anybit.formats.dialect import Dialect
from tests.formats.qdq.linear_models import assert_equal, assert_same, linear_model, operators, q_dq
from tests.graphs import BATCH, random_graphs
from tests.models import mlp, model, parameters, quant, samples
from tests.properties.attempts import inputs_within
from tests.strategies import examples


@pytest.mark.parametrize("to", ["qcdq", Dialect.QCDQ, "QCDQ"])
def test_a_model_becomes_another_format_and_stays_itself(to):
    source = mlp()
    before = source.SerializeToString(deterministic=True)
    result = translate(source, to)
    assert (result.refusals, result.approximations) == ((), ())
    assert operators(result.model) == [
        "QuantizeLinear", "Clip", "DequantizeLinear", "Clip", "DequantizeLinear", "MatMul", "Relu",
        "QuantizeLinear", "Clip", "DequantizeLinear",
    ]  # fmt: skip
    assert dict(result.model.opset_imports) == {"": 21}
    assert source.SerializeToString(deterministic=True) == before
    assert_same(source, result.model, samples(1, 6) * 3)


@pytest.mark.parametrize("first", ["qonnx", "qcdq", "qdq"])
@pytest.mark.parametrize("second", ["qonnx", "qcdq", "qdq"])
def test_from_every_format_to_every_other(first, second):
    values = parameters("p", bits=8.0, scale=0.25) | {"w": samples(6, 3)} | parameters("r", bits=4.0)
    nodes = [quant("x", "a", prefix="p"), quant("w", "b", prefix="r"), helper.make_node("MatMul", ["a", "b"], ["m"]),
             quant("m", "y", prefix="p", signed=0)]  # fmt: skip
    source = model(nodes, values, inputs={"x": [2, 6]}, outputs=["y"])
    middle = translate(source, first)
    end = translate(middle.model, second)
    assert not (*middle.refusals, *end.refusals)
    assert_same(source, end.model, samples(2, 6) * 20, runtime=second != "qonnx")
    kinds = {"QuantizeLinear", "DequantizeLinear"} & set(operators(end.model))
    assert bool(kinds) == (second != "qonnx")


def test_parameters_that_nodes_compute_are_folded_first():
    node = quant("x", "y", prefix="p")
    node.input[3] = "bits"
    nodes = [helper.make_node("Log", ["b"], ["l"]), helper.make_node("Div", ["l", "two"], ["d"]),
             helper.make_node("Ceil", ["d"], ["bits"]), node]  # fmt: skip
    values = parameters("p") | {"b": np.float32(255.0), "two": np.float32(np.log(2.0))}
    result = translate(model(nodes, values, inputs={"x": [4]}, outputs=["y"]), "qdq")
    assert operators(result.model) == ["QuantizeLinear", "DequantizeLinear"]


def test_functions_are_inlined():
    body = helper.make_function(
        "local", "Narrow", ["a"], ["b"],
        [helper.make_node("Constant", [], ["s"], value_float=0.5),
         helper.make_node("Constant", [], ["z"], value_float=0.0),
         helper.make_node("Constant", [], ["n"], value_float=4.0),
         helper.make_node("Quant", ["a", "s", "z", "n"], ["b"], domain="qonnx.custom_op.general")],
        [helper.make_opsetid("", 21), helper.make_opsetid("qonnx.custom_op.general", 1)],
    )  # fmt: skip
    node = helper.make_node("Narrow", ["x"], ["y"], domain="local")
    imports = {"": 21, "qonnx.custom_op.general": 1, "local": 1}
    source = model([node], {}, inputs={"x": [4]}, outputs=["y"], functions=[body], imports=imports)
    result = translate(source, "qcdq")
    assert not result.refusals
    assert operators(result.model) == ["QuantizeLinear", "Clip", "DequantizeLinear"]
    assert_same(source, result.model, np.array([0.3, 0.25, 9, -9], np.float32))


def test_refused_nodes_stay_and_the_rest_is_written():
    nodes = [quant("x", "a", prefix="p"), quant("a", "y", prefix="q", rounding_mode="FLOOR")]
    source = model(nodes, parameters("p", scale=0.3) | parameters("q", scale=0.7), inputs={"x": [4]}, outputs=["y"])
    result = translate(source, "qcdq")
    assert [r.node for r in result.refusals] == ["Quant 'y_node'"]
    assert operators(result.model)[-1] == "Quant"
    assert "qonnx.custom_op.general" in result.model.opset_imports
    assert_same(source, result.model, samples(4), runtime=False)
    allowed = translate(source, "qcdq", approximate=True)
    assert not allowed.refusals
    assert [a.node for a in allowed.approximations] == ["Quant 'y_node'"]


def test_an_opset_that_another_node_holds_back_is_a_refusal():
    old = helper.make_node("Upsample", ["x"], ["u"], scales=[1.0, 2.0], name="old", mode="nearest")
    nodes = [old, quant("u", "y", prefix="p")]
    scale = np.array([[0.5], [0.25]], np.float32)
    source = model(nodes, parameters("p", scale=scale), inputs={"x": [2, 3]}, outputs=["y"], opset=7)
    result = translate(source, "qcdq")
    if result.refusals:  # the adapters know this operator
        assert "stands in the way" in result.refusals[0].problem
        assert operators(result.model)[-1] == "Quant"
    assert_same(source, result.model, samples(2, 3), runtime=False)


def test_pack_and_embedded_functions_are_for_the_hub():
    for options in ({"pack": True}, {"embed_functions": True}):
        with pytest.raises(UsageError, match="qonnx"):
            translate(mlp(), "qcdq", **options)


def test_packed_and_embedded_models_read_back_as_they_were():
    source = mlp(hidden=200)
    result = translate(source, "qonnx", pack=True, embed_functions=True)
    assert result.model.functions
    again = translate(anybit.to_proto(result.model), "qonnx").model
    assert operators(again) == operators(anybit.load(source))
    assert not again.functions
    assert_same(source, again, samples(1, 6), runtime=False)
    onnx.checker.check_model(anybit.to_proto(result.model))


@pytest.mark.parametrize("name", ["", "tflite", "qcdq8"])
def test_unknown_formats_are_misuse(name):
    with pytest.raises(UsageError, match="no such format"):
        translate(mlp(), name)


def test_the_table_counts_what_each_format_carries():
    values = parameters("p", bits=8.0) | parameters("q", bits=3.0) | parameters("n", bits=4.0, zeropt=0.0)
    values |= {"w": samples(4, 4), "v": samples(4, 4)}
    nodes = [
        quant("w", "wq", prefix="q"),
        helper.make_node("MatMul", ["x", "wq"], ["h"], name="weights_only"),
        quant("h", "hq", prefix="p", rounding_mode="FLOOR"),
        quant("v", "vq", prefix="n", narrow=1),
        helper.make_node("MatMul", ["hq", "vq"], ["y"], name="last"),
    ]
    rows = {r.format: r for r in capabilities(model(nodes, values, inputs={"x": [2, 4]}, outputs=["y"]))}
    assert set(rows) == set(WRITERS)
    columns = ("quantizers", "layers", "below_8_bits", "arbitrary_width", "other_rounding", "weights_only")
    columns += ("high_precision_output",)
    shares = {f: tuple(str(getattr(r, c)) for c in columns) for f, r in rows.items()}
    assert shares[Dialect.QONNX] == ("3/3", "2/2", "2/2", "2/2", "1/1", "1/1", "1/1")
    assert shares[Dialect.QCDQ] == ("2/3", "1/2", "2/2", "2/2", "0/1", "1/1", "0/1")
    assert shares[Dialect.QDQ] == ("1/3", "0/2", "1/2", "1/2", "0/1", "0/1", "0/1")
    assert [r.node for r in rows[Dialect.QCDQ].refusals] == ["Quant 'hq_node'"]


def test_nodes_that_no_reader_understands_are_refused_in_every_format():
    nodes, values = q_dq()
    nodes[1].input[1] = "t"
    source = linear_model(nodes, values | {"t": np.float32(0.5)}, shape=[3])
    for row in capabilities(source):
        assert [r.node for r in row.refusals] == ["DequantizeLinear 'dequantize'"]


@pytest.mark.parametrize("to", ["qcdq", "qdq"])
@given(random_graphs(), st.integers(0, 2**32 - 1))
@examples(60)
def test_random_graphs_mean_the_same_in_every_format(to, graph, seed):
    assume(not any(n.op_type.startswith("QLinear") for n in graph.model.graph.node))  # ONNX leaves their ties open
    rng = np.random.default_rng(seed)
    session = anybit.Session(graph.model, engine="reference")
    feeds = {
        info.name: inputs_within(rng, (BATCH, *info.shape[1:]), *graph.ranges[info.name], info.dtype.type)
        for info in session.inputs
    }
    expected = session.run(feeds)
    written = translate(graph.model, to)
    assert_equal(expected, anybit.Session(written.model, engine="reference").run(feeds))
    assert_equal(expected, anybit.Session(translate(written.model, "qonnx").model, engine="reference").run(feeds))


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
@pytest.mark.parametrize("to", list(WRITERS))
def test_element_types_stay(to, dtype):
    """Integer products are written for float32 alone: their way back to real numbers is one of float32."""
    known = {"w": np.ones((4, 3), dtype)} | parameters("wq", scale=1.0, bits=3.0) | parameters("xq")
    known |= parameters("y", scale=2.0)
    known = {name: array if name.endswith("bits") else array.astype(dtype) for name, array in known.items()}
    nodes = [quant("x", "xq"), quant("w", "wq"), helper.make_node("MatMul", ["xq", "wq"], ["h"]), quant("h", "y")]
    nodes.append(helper.make_node("Identity", ["h"], ["z"]))
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    source = model(nodes, known, inputs={"x": [1, 4]}, outputs=["y", "z"], input_type=kind)
    for output in source.graph.output:
        output.type.tensor_type.elem_type = kind
    made = anybit.convert(source, to)
    x = np.arange(4, dtype=dtype)[None]
    for name, array in anybit.run(source, x, engine="reference").items():
        found = anybit.run(made.model, x, engine="reference")[name]
        assert found.dtype == array.dtype == dtype
        np.testing.assert_array_equal(found, array)
