"""The result of analyse as a mapping: names and values that are there, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

import anybit
from anybit.analysis.values.interpreter import values_of
from anybit.errors import AnybitError, UnknownTensorError
from tests import models


def _names(proto: onnx.ModelProto) -> set[str]:
    graph = proto.graph
    outputs = {o for n in graph.node for o in n.output if o}
    return {v.name for v in graph.input} | {t.name for t in graph.initializer} | outputs


def _branch(name: str, tensor: str, factor: str) -> onnx.GraphProto:
    nodes = [
        helper.make_node("Mul", ["x", factor], [tensor]),
        helper.make_node("Neg", [tensor], [f"{name}_out"]),
        helper.make_node("Abs", [f"{name}_out"], [f"{name}_own"]),
    ]
    return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(f"{name}_own", TensorProto.FLOAT, None)])


def _choice(condition: list[str]) -> onnx.ModelProto:
    """If with branches that name an inner tensor alike."""
    node = helper.make_node(
        "If", ["c"], ["y"], then_branch=_branch("then", "t", "two"), else_branch=_branch("else", "t", "three")
    )
    arrays = {"two": np.float32(2), "three": np.float32(3)}
    proto = models.model([node], arrays, inputs={"x": [2]}, outputs=["y"])
    if condition:
        proto.graph.input.add().CopyFrom(helper.make_tensor_value_info("c", TensorProto.BOOL, []))
    else:
        proto.graph.initializer.add().CopyFrom(onnx.numpy_helper.from_array(np.array(True), "c"))
    return proto


def test_no_constant_is_kept_with_what_is_known_of_it() -> None:
    """The weights of a large model would be held twice."""
    nodes = [helper.make_node("Neg", ["c"], ["d"]), helper.make_node("Add", ["x", "d"], ["y"])]
    arrays = {"c": np.arange(6, dtype=np.float32).reshape(2, 3), "unread": np.ones(5, np.float32)}
    values = anybit.analyse(models.model(nodes, arrays, inputs={"x": [2, 3]}, outputs=["y"]))
    assert {str(v.name) for v in values.tensors} == {"c", "d", "unread", "x", "y"}
    assert all(known.constant is None for known in values.tensors.values())
    assert (values["c"].lo.min(), values["c"].hi.max(), values["d"].lo.min()) == (0, 5, -5)


def test_names_and_values_are_keys() -> None:
    proto = models.mlp()
    values = anybit.analyse(proto, input_ranges={"x": (0, 1)})
    assert isinstance(values, Mapping)
    assert set(values) == set(values.keys()) == _names(proto)
    assert len(values) == len(list(values)) == len(list(values.items()))
    by_value = {str(v.name): v for v in values.tensors}
    for name, known in values.items():
        assert name in values
        assert values[str(name)] is known
        assert values[by_value[name]] is known
        assert by_value[name] in values
        assert values.get(name) is known
    assert (values["x"].lo, values["x"].hi) == (0, 1)
    assert dict(values)["x"] is values["x"]


@pytest.mark.parametrize("key", ["", "nope", "X", 0, -1, None, 1.5, ("x",), ir.Value(name="x"), b"x", slice(1)])
def test_what_is_not_there_is_a_key_error(key: object) -> None:
    values = anybit.analyse(models.mlp())
    assert key not in values
    with pytest.raises(KeyError) as error:
        values[key]  # pyright: ignore[reportArgumentType]
    assert isinstance(error.value, AnybitError)
    assert "no such tensor" in str(error.value)
    assert "'" not in str(error.value)[:1]
    assert values.get(key) is None  # pyright: ignore[reportArgumentType, reportCallIssue]


def test_values_of_another_model_are_not_there() -> None:
    """Before, they were answered -inf..inf: those of the caller's own ir.Model, of which analyse takes a copy."""
    model = ir.from_proto(models.mlp())
    values = anybit.analyse(model)
    for value in (model.graph.inputs[0], model.graph.outputs[0]):
        assert value not in values
        with pytest.raises(UnknownTensorError, match="model that was analysed"):
            values[value]
        assert values[str(value.name)] is not None


def test_a_tensor_of_a_branch_that_is_never_taken_is_there_and_unknown() -> None:
    values = anybit.analyse(_choice([]), input_ranges={"x": (1, 2)})
    (node,) = (n for n in values.model.graph if n.op_type == "If")
    never = node.attributes["else_branch"].as_graph()
    for value in (o for n in never for o in n.outputs):
        assert value in values
        assert (values[value].lo, values[value].hi) == (-np.inf, np.inf)
    assert "else_own" in values
    assert (values["else_own"].lo, values["else_own"].hi) == (-np.inf, np.inf)
    assert (values["then_own"].lo, values["then_own"].hi) == (2, 4)


def test_a_name_that_two_branches_share_is_asked_for_by_value() -> None:
    values = anybit.analyse(_choice(["c"]), input_ranges={"x": (1, 2)})
    assert "t" not in values
    assert "t" not in list(values)
    with pytest.raises(UnknownTensorError, match="several tensors have this name"):
        values["t"]
    named = [v for v in values.tensors if v.name == "t"]
    assert sorted(float(values[v].hi) for v in named) == [4, 6]
    assert all(v in values for v in named)
    assert len(values) == len(list(values))
    assert all(name in values for name in values)


def test_the_outermost_graph_has_the_name_where_a_subgraph_has_it_too() -> None:
    proto = _choice(["c"])
    proto.graph.node.append(helper.make_node("Add", ["x", "two"], ["t"]))
    values = anybit.analyse(proto, input_ranges={"x": (1, 2)})
    assert (values["t"].lo, values["t"].hi) == (3, 4)


def test_tensors_of_functions_have_the_names_of_inlining() -> None:
    body = [helper.make_node("Abs", ["a"], ["t"]), helper.make_node("Neg", ["t"], ["b"])]
    function = helper.make_function("own", "F", ["a"], ["b"], body, [helper.make_opsetid("", 21)])
    nodes = [helper.make_node("F", ["x"], ["m"], domain="own"), helper.make_node("F", ["m"], ["y"], domain="own")]
    proto = models.model(nodes, {}, inputs={"x": [2]}, outputs=["y"], imports={"": 21, "own": 1}, functions=[function])
    values = anybit.analyse(proto, input_ranges={"x": (-3, 2)})
    assert {"x", "m", "y"} <= set(values)
    assert len(values) == 5
    assert len(set(values)) == 5
    assert (values["y"].lo, values["y"].hi) == (-3, 0)
    assert {str(v.name) for v in values.tensors} == set(values)


def test_text_and_sequences_are_there() -> None:
    nodes = [
        helper.make_node("SequenceConstruct", ["x", "x"], ["s"]),
        helper.make_node("SequenceAt", ["s", "i"], ["y"]),
    ]
    proto = models.model(nodes, {"i": np.array(0)}, inputs={"x": [2]}, outputs=["y"])
    values = anybit.analyse(proto)
    assert set(values) == {"x", "i", "s", "y"}
    assert values["s"].lo == -np.inf


def test_an_empty_output_is_no_key() -> None:
    node = helper.make_node("MaxPool", ["x"], ["y", ""], kernel_shape=[2, 2])
    values = anybit.analyse(models.model([node], {}, inputs={"x": [1, 1, 4, 4]}, outputs=["y"]))
    assert set(values) == {"x", "y"}
    assert "" not in values


def _loop() -> onnx.ModelProto:
    """A Loop that quantises, over an input that it captures."""
    body = helper.make_graph(
        [
            helper.make_node("Add", ["s", "x"], ["grown"]),
            helper.make_node("Clip", ["grown", "zero", "ten"], ["next"]),
            helper.make_node("Identity", ["going"], ["on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("s", TensorProto.FLOAT, [2]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [2]),
        ],
    )
    arrays = {"trips": np.array(3), "zero": np.float32(0), "ten": np.float32(10), "start": np.zeros(2, np.float32)}
    node = helper.make_node("Loop", ["trips", "", "start"], ["y"], body=body)
    return models.model([node], arrays, inputs={"x": [2]}, outputs=["y"])


@pytest.mark.parametrize("proto", [models.mlp(), _choice(["c"]), _loop()], ids=["mlp", "if", "loop"])
def test_what_is_known_of_a_model_is_known_of_its_copy(proto: onnx.ModelProto) -> None:
    values = anybit.analyse(proto)
    copy = values.model.clone()
    found, expected = values.of_copy(copy), values_of(copy)
    assert found.model is copy
    assert set(found.tensors) == set(expected.tensors)
    for value, known in expected.tensors.items():
        assert repr(found.tensors[value]) == repr(known)
    assert repr(list(found.accumulators.items())) == repr(list(expected.accumulators.items()))
    assert dict(found.unfollowed) == dict(expected.unfollowed)


def test_a_model_of_another_form_is_no_copy() -> None:
    values = anybit.analyse(models.mlp())
    with pytest.raises(ValueError, match="zip"):
        values.of_copy(ir.from_proto(_loop()))


def test_what_constants_alone_make_is_known_exactly() -> None:
    """Of a Softmax of unknown numbers no more is known than that its results lie between 0 and 1."""
    c = np.float32([0.5, -1.0, 3.0])
    nodes = [helper.make_node("Softmax", ["c"], ["s"]), helper.make_node("Mul", ["x", "s"], ["y"])]
    values = anybit.analyse(
        models.model(nodes, {"c": c}, inputs={"x": [3]}, outputs=["y"]), input_ranges={"x": (-1.0, 2.0)}
    )
    expected = np.exp(c.astype(np.float64)) / np.exp(c.astype(np.float64)).sum()
    assert values["s"].is_point
    np.testing.assert_allclose(values["s"].lo, expected, rtol=1e-6)
    np.testing.assert_allclose(values["y"].lo, -expected, rtol=1e-6)
    np.testing.assert_allclose(values["y"].hi, 2 * expected, rtol=1e-6)
