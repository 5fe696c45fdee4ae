"""What counts as a constant."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from anybit.graph.constants import constant, new_initializer


def _graph(text: str) -> ir.Graph:
    return ir.from_proto(onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 21]>' + text)).graph


@pytest.mark.parametrize(
    ("attribute", "expected"),
    [
        ("value = float[2] {1, 2}", np.float32([1, 2])),
        ("value_float = 0.5", np.float32(0.5)),
        ("value_floats = [0.5, 1.5]", np.float32([0.5, 1.5])),
        ("value_int = 3", np.int64(3)),
        ("value_ints = [3, 4]", np.int64([3, 4])),
    ],
)
def test_constant_nodes(attribute: str, expected) -> None:
    graph = _graph(f"g () => (float y) {{ c = Constant <{attribute}> () y = Identity(c) }}")
    value = constant(graph[1].inputs[0])
    np.testing.assert_array_equal(value, expected)
    assert value.dtype == expected.dtype
    assert constant(graph.outputs[0]) is None


def test_initializers_unless_a_caller_can_override_them() -> None:
    graph = _graph("g (float a) => (float y) <float a = {1}, float b = {2}> { y = Add(a, b) }")
    a, b = graph[0].inputs
    assert constant(a) is None
    assert constant(b).item() == 2
    assert constant(None) is None


def test_strings_are_no_numbers() -> None:
    graph = _graph('g () => (string y) { c = Constant <value_string = "s"> () y = Identity(c) }')
    assert constant(graph[1].inputs[0]) is None


def test_new_initializers_have_names_of_their_own() -> None:
    graph = _graph("g (float x) => (float y) <float k = {1}> { y = Add(x, k) }")
    made = [new_initializer(graph, "k", np.float32([n])) for n in (1, 2)]
    assert len({v.name for v in (*made, graph.initializers["k"])}) == 3
    assert [constant(v).item() for v in made] == [1, 2]
    assert made[0].dtype == ir.DataType.FLOAT


@pytest.mark.parametrize("attribute", ['value = "s"', 'value_int = "s"', "value_ints = 1.5", "value_float = [1]"])
def test_a_value_of_another_kind_than_its_name_is_none(attribute):
    graph = _graph(f"g () => (float y) {{ c = Constant <{attribute}> () y = Identity(c) }}")
    assert constant(graph.node(0).outputs[0]) is None
