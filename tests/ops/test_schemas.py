"""onnx's checker and shape inference go through our operators once their schemas are registered."""

from __future__ import annotations

import subprocess
import sys

import onnx
import pytest
from onnx import TensorProto, helper

from anybit.ops.operator import DOMAIN, Attribute, Input, Operator
from anybit.ops.registry import operators
from anybit.ops.schemas import _schema, register_schemas


@pytest.fixture(autouse=True, scope="module")
def _registered() -> None:
    register_schemas()


def _model(
    op_type: str, parameters: list[str], *, version: int, x: int = TensorProto.FLOAT, **attributes
) -> onnx.ModelProto:
    attributes = _required(op_type) | attributes
    node = helper.make_node(op_type, ["X", *parameters], ["Y"], domain=DOMAIN, **attributes)
    relu = helper.make_node("Relu", ["Y"], ["Z"])
    inputs = [helper.make_tensor_value_info("X", x, ["N", 3, 4])]
    inputs += [helper.make_tensor_value_info(p, TensorProto.FLOAT, []) for p in parameters]
    graph = helper.make_graph([node, relu], "g", inputs, [onnx.ValueInfoProto(name="Z")])
    imports = [helper.make_opsetid("", 21), helper.make_opsetid(DOMAIN, version)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def _required(op_type: str) -> dict[str, str]:
    """The text attributes that a call must give."""
    known = [o for o in operators() if o.domain == DOMAIN and o.name == op_type]
    return {a.name: "text" for o in known for a in o.attributes if a.kind is str and a.default is None}


CALLS = [
    (name, operator.since, [i.name for i in operator.inputs[1:]])
    for operator in operators()
    if operator.domain == DOMAIN and operator.infer is None
    for name in (operator.name, *operator.aliases)
]


def _inferred(model: onnx.ModelProto) -> onnx.ValueInfoProto:
    done = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    return done.graph.output[0]


@pytest.mark.parametrize(("name", "version", "parameters"), CALLS)
@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_type_and_shape_of_x_go_through_every_operator(
    name: str, version: int, parameters: list[str], dtype: int
) -> None:
    z = _inferred(_model(name, parameters, version=version, x=dtype))
    assert z.type.tensor_type.elem_type == dtype
    assert [d.dim_param or d.dim_value for d in z.type.tensor_type.shape.dim] == ["N", 3, 4]


@pytest.mark.parametrize(("name", "version", "parameters"), CALLS)
def test_the_checker_accepts_every_operator(name: str, version: int, parameters: list[str]) -> None:
    model = _model(name, parameters, version=version)
    model.graph.output[0].CopyFrom(_inferred(model))
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize(
    ("name", "version", "parameters", "attributes"),
    [
        ("Quant", 1, ["scale", "zeropt"], {}),
        ("Quant", 1, ["scale", "zeropt", "bitwidth"], {"signed": "yes"}),
        ("Quant", 1, ["scale", "zeropt", "bitwidth"], {"sigend": 1}),
        ("Trunc", 1, ["s", "z", "i", "os", "o"], {}),
        ("Trunc", 2, ["s", "z", "i", "o"], {}),
    ],
)
def test_the_checker_refuses_what_the_schema_does_not_have(
    name: str, version: int, parameters: list[str], attributes
) -> None:
    model = _model(name, parameters, version=version, **attributes)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("Z", TensorProto.FLOAT, ["N", 3, 4]))
    with pytest.raises(onnx.checker.ValidationError):
        onnx.checker.check_model(model, full_check=True)


def test_an_integer_x_is_refused() -> None:
    with pytest.raises((onnx.shape_inference.InferenceError, onnx.checker.ValidationError)):
        _inferred(_model("Quant", ["scale", "zeropt", "bitwidth"], version=1, x=TensorProto.INT32))


def test_registering_twice_changes_nothing() -> None:
    before = len(onnx.defs.get_all_schemas_with_history())
    register_schemas()
    assert len(onnx.defs.get_all_schemas_with_history()) == before


def test_defaults_stand_in_the_schema() -> None:
    attributes = onnx.defs.get_schema("Quant", 1, DOMAIN).attributes
    assert {n: helper.get_attribute_value(a.default_value) for n, a in attributes.items()} == {
        "signed": 1, "narrow": 0, "rounding_mode": b"ROUND"
    }  # fmt: skip
    assert not any(a.required for a in attributes.values())


def test_an_attribute_without_default_is_required() -> None:
    operator = Operator(name="R", inputs=(Input("X"),), attributes=(Attribute("a", float),), reference=max)
    assert _schema("R", operator).attributes["a"].required


def test_versions_of_trunc_have_schemas_of_their_own() -> None:
    assert [len(onnx.defs.get_schema("Trunc", v, DOMAIN).inputs) for v in (1, 2, 3)] == [5, 6, 6]


def test_a_fresh_process_knows_our_operators_after_registering_and_not_before() -> None:
    model = _model("Quant", ["scale", "zeropt", "bitwidth"], version=1)
    code = (
        "import sys, onnx\n"
        "model = onnx.ModelProto.FromString(bytes.fromhex(sys.argv[1]))\n"
        "shape = lambda: onnx.shape_inference.infer_shapes(model).graph.output[0].type.tensor_type.shape.dim\n"
        "assert not shape()\n"
        "from anybit.ops.schemas import register_schemas\n"
        "register_schemas(); register_schemas()\n"
        "print([d.dim_param or d.dim_value for d in shape()])\n"
    )
    arguments = [sys.executable, "-c", code, model.SerializeToString().hex()]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.stdout == "['N', 3, 4]\n", done.stderr
