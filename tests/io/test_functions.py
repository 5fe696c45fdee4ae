"""Embedded functions are recognised by what they compute: any that says something else stays, and is what runs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from anybit import Session, load, to_proto
from anybit.formats.qonnx.functions import embed_functions
from anybit.io.functions import embedded
from tests.models import DOMAIN, model, parameters, quant


def _proto(input_type: int = TensorProto.FLOAT, *, mode: str = "ROUND") -> onnx.ModelProto:
    kind = helper.tensor_dtype_to_np_dtype(input_type)
    constants = {k: np.asarray(v, kind) for k, v in parameters("y", scale=0.5).items()}
    node = quant("x", "y", rounding_mode=mode)
    proto = model([node], constants, inputs={"x": ["n"]}, outputs=["y"], input_type=input_type)
    proto.graph.output[0].type.tensor_type.elem_type = input_type
    return proto


def _embedded(input_type: int = TensorProto.FLOAT) -> onnx.ModelProto:
    made = load(_proto(input_type))
    embed_functions(made)
    return to_proto(made)


def _function(proto: onnx.ModelProto, name: str) -> onnx.FunctionProto:
    return next(f for f in proto.functions if f.name == name)


def _names(proto: onnx.ModelProto) -> set[str]:
    return {name for _, name, _ in load(proto).functions}


def test_nothing_is_left_of_them():
    loaded = load(_embedded())
    assert not loaded.functions
    assert loaded.opset_imports == {"": 21, DOMAIN: 1}


def test_names_of_nodes_comments_and_versions_do_not_count():
    proto = _embedded()
    for function in proto.functions:
        function.doc_string = "rewritten by a tool"
        for position, node in enumerate(function.node):
            node.name = f"node_{position}"
        function.opset_import[0].version = 23
    assert _names(proto) == set()


def test_in_memory_too():
    made = load(_proto())
    embed_functions(made)
    assert embedded(made) == made.functions.keys()
    assert not load(made).functions
    assert made.functions


def _other_default(proto: onnx.ModelProto) -> None:
    (signed,) = (a for a in _function(proto, "Quant").attribute_proto if a.name == "signed")
    signed.i = 0


def _other_operator(proto: onnx.ModelProto) -> None:
    next(n for n in _function(proto, "Quant").node if n.op_type == "Div").op_type = "Mul"


def _other_constant(proto: onnx.ModelProto) -> None:
    node = next(n for n in _function(proto, "Quant").node if n.op_type == "Constant" and n.attribute[0].f == 2.0)
    node.attribute[0].f = 3.0


def _other_helper(proto: onnx.ModelProto) -> None:
    branch = next(n for n in _function(proto, "rounded").node if n.op_type == "If").attribute[0].g
    next(n for n in branch.node if n.op_type == "Round").op_type = "Floor"


def _other_inputs(proto: onnx.ModelProto) -> None:
    inputs = _function(proto, "Quant").input
    inputs[1], inputs[2] = inputs[2], inputs[1]


@pytest.mark.parametrize("change", [_other_default, _other_operator, _other_constant, _other_helper, _other_inputs])
def test_functions_of_another_content_stay(change: Callable[[onnx.ModelProto], None]):
    proto = _embedded()
    change(proto)
    assert _names(proto) == {"Quant", "rounded"}


def test_they_are_what_runs():
    proto = _embedded()
    _other_helper(proto)
    x = np.array([0.85], np.float32)
    assert Session(proto).run(x)["y"] == 0.5
    assert Session(_proto()).run(x)["y"] == 1.0


def test_a_version_in_which_bodies_are_no_bodies():
    proto = _embedded()
    _function(proto, "Quant").opset_import[0].version = 18
    assert "Quant" in _names(proto)


def test_a_helper_that_another_function_calls_stays():
    proto = _embedded()
    body = [helper.make_node("rounded", ["a"], ["o"], domain="anybit", rounding_mode="FLOOR")]
    imports = [helper.make_opsetid("", 21), helper.make_opsetid("anybit", 1)]
    proto.functions.append(helper.make_function("own", "Floor", ["a"], ["o"], body, imports))
    proto.graph.node.append(helper.make_node("Floor", ["y"], ["z"], domain="own"))
    proto.graph.output[0].name = "z"
    proto.opset_import.append(helper.make_opsetid("own", 1))
    assert _names(proto) == {"Floor", "rounded"}
    assert Session(proto).run(np.array([2.0], np.float32))["z"] == 2.0


@pytest.mark.parametrize(
    ("written_for", "called_on", "stays"),
    [
        (TensorProto.FLOAT, TensorProto.DOUBLE, False),
        (TensorProto.FLOAT, TensorProto.FLOAT16, True),  # it would compute in float16, the operator in float32
        (TensorProto.FLOAT16, TensorProto.FLOAT, False),
        (TensorProto.FLOAT16, TensorProto.DOUBLE, True),  # it would compute in float32
    ],
)
def test_a_function_for_another_type_stays_where_it_makes_a_difference(written_for, called_on, stays):
    proto = _proto(called_on)
    source = _embedded(written_for)
    proto.functions.extend(source.functions)
    proto.opset_import.extend(o for o in source.opset_import if o.domain == "anybit")
    assert bool(_names(proto)) == stays


def test_a_mode_that_the_function_does_not_know_makes_a_difference():
    """The operator would read half_up, the function takes what it does not know for HALF_DOWN."""
    proto = _embedded()
    next(a for a in proto.graph.node[0].attribute if a.name == "rounding_mode").s = b"half_up"
    assert _names(proto) == {"Quant", "rounded"}
    assert Session(proto).run(np.array([0.75], np.float32))["y"] == 0.5
    assert Session(_proto(mode="half_up")).run(np.array([0.75], np.float32))["y"] == 1.0


@pytest.mark.parametrize("name", ["IntQuant", "Quant"])
def test_calls_of_a_foreign_function_are_not_repaired(name):
    """Aliases, modes and types of parameters are those of our operators, not of a function that has their name."""
    body = [helper.make_node("Add", ["a", "b"], ["o"])]
    function = helper.make_function("onnx.brevitas", name, ["a", "b"], ["o"], body, [helper.make_opsetid("", 21)])
    node = helper.make_node(name, ["x", "b"], ["y"], domain="onnx.brevitas")
    imports = {"": 21, "onnx.brevitas": 1}
    proto = model([node], {"b": np.float32(2)}, inputs={"x": [1]}, outputs=["y"], imports=imports, functions=[function])
    loaded = load(proto)
    assert loaded.opset_imports == imports
    assert (loaded.graph.node(0).domain, loaded.graph.node(0).op_type) == ("onnx.brevitas", name)
    assert Session(proto).run(np.array([3.0], np.float32))["y"] == 5.0
