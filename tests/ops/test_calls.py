"""Nodes as calls of our operators: which they are, with which attributes, and everything that is wrong with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from anybit.errors import Severity
from anybit.ops.bipolar_quant import BIPOLAR_QUANT
from anybit.ops.calls import call_of, findings_of, form_findings, is_call, operator_of, traits_of
from anybit.ops.operator import DOMAIN, Attribute, Input, Operator, Types
from anybit.ops.quant import QUANT
from anybit.ops.traits import NO_TRAITS, STANDARD
from anybit.ops.trunc import TRUNC, TRUNC_1

_OWN = Operator(
    name="Own",
    aliases=("Mine",),
    inputs=(Input("X", Types.FLOAT), Input("S"), Input("Z", optional=True)),
    attributes=(
        Attribute("factor", float, 1.5),
        Attribute("count", int),
        Attribute("sizes", tuple, (1, 2)),
        Attribute("mode", str, "ROUND"),
    ),
    outputs=("Y", "Mask"),
    reference=lambda *inputs, **_: inputs[:2],
)


def _value(name: str = "x", dtype: ir.DataType | None = ir.DataType.FLOAT, shape: Any = None) -> ir.Value:
    kind = None if dtype is None else ir.TensorType(dtype)
    return ir.Value(name=name, type=kind, shape=None if shape is None else ir.Shape(shape))


def _constant(array: Any) -> ir.Value:
    return ir.node("Constant", [], {"value": ir.tensor(np.asarray(array))}).outputs[0]


def _own(*inputs: ir.Value | None, outputs: int = 1, domain: str = DOMAIN, **attributes: Any) -> ir.Node:
    given = inputs or (_value(), _value("s"))
    return ir.node("Own", given, {"count": 3} | attributes, domain=domain, num_outputs=outputs, name="own")


def test_an_operator_is_known_by_domain_name_and_version():
    node = ir.node("Trunc", [_value()], domain=DOMAIN)
    assert operator_of(node, {DOMAIN: 1}) is TRUNC_1
    assert operator_of(node, {}) is TRUNC_1
    assert operator_of(node, {DOMAIN: 2}) is TRUNC
    for other in (ir.node("Trunc", [_value()]), ir.node("Trunc", [_value()], domain="elsewhere")):
        assert operator_of(other, {"": 1, "elsewhere": 1}) is None
        assert not is_call(other, TRUNC, TRUNC_1)
    assert is_call(node, QUANT, TRUNC)
    assert not is_call(node, QUANT, BIPOLAR_QUANT)
    assert not is_call(node)
    for name in (QUANT.name, *QUANT.aliases):
        assert is_call(ir.node(name, [_value()], domain=QUANT.domain), BIPOLAR_QUANT, QUANT)


def test_traits_are_those_of_the_record_or_the_table():
    assert traits_of(ir.node("Relu", [_value()]), {}) is STANDARD["Relu"]
    assert traits_of(ir.node("Quant", [_value()], domain=DOMAIN), {DOMAIN: 1}) is QUANT.traits
    for node in (ir.node("Unheard", [_value()]), ir.node("Relu", [_value()], domain="elsewhere")):
        assert traits_of(node, {}) is NO_TRAITS


def test_a_call_has_attributes_constants_and_shapes():
    node = _own(_value(shape=[2, None]), _constant(np.float32([1, 2])), factor=0.5, sizes=[3])
    call = call_of(node, _OWN)
    assert call.node == "Own 'own'"
    assert call.attributes == {"factor": 0.5, "count": 3, "sizes": (3,), "mode": "ROUND"}
    assert call.shapes == {"X": (2, None)}
    assert {name: array.tolist() for name, array in call.constants.items()} == {"S": [1, 2]}
    assert call_of(_own(None, _constant(1.0)), _OWN).constants.keys() == {"S"}


@pytest.mark.parametrize("operator", [QUANT, BIPOLAR_QUANT, TRUNC], ids=lambda o: o.name)
def test_constants_that_are_text_are_no_numbers(operator: Operator):
    """A Constant node may hold text, and its output need not say so: the rules of the operators see no constant."""
    text = ir.node("Constant", [], {"value": ir.tensor(["a"])}).outputs[0]
    node = ir.node(operator.name, [_value(), *[text] * (len(operator.inputs) - 1)], domain=DOMAIN)
    assert call_of(node, operator).constants == {}
    assert all(finding.rule == "element-type" for finding in findings_of(node, operator))


def test_attributes_of_another_type_take_their_defaults():
    node = _own(factor="big", sizes=[0.5], mode=7)
    del node.attributes["count"]
    node.attributes["count"] = ir.RefAttr("count", "n", ir.AttributeType.INT)
    assert call_of(node, _OWN).attributes == {"factor": 1.5, "count": 0, "sizes": (1, 2), "mode": "ROUND"}
    (first, second, third) = form_findings(node, _OWN)
    assert [(f.problem, f.got, f.expected) for f in (first, second, third)] == [
        ("type of attribute 'factor'", "STRING", "float"),
        ("type of attribute 'sizes'", "FLOATS", "tuple of int"),
        ("type of attribute 'mode'", "INT", "str"),
    ]
    assert {f.rule for f in (first, second, third)} == {"attribute"}


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("inputs", [2, 3])
def test_a_call_that_is_right_has_no_findings(inputs: int, outputs: int):
    node = _own(*(_value(n) for n in "xsz"[:inputs]), outputs=outputs)
    assert list(findings_of(node, _OWN)) == []


@pytest.mark.parametrize(
    ("node", "rule", "problem", "got", "expected"),
    [
        (_own(_value()), "inputs", "number of inputs", "1", "2 .. 3: X, S, Z"),
        (_own(*(_value(n) for n in "xszw")), "inputs", "number of inputs", "4", "2 .. 3: X, S, Z"),
        (_own(outputs=3), "outputs", "number of outputs", "3", "1 .. 2: Y, Mask"),
        (_own(_value(), None), "inputs", "input S is missing", "", "X, S, Z"),
        (_own(None, _value("s"), None), "inputs", "input X is missing", "", "X, S, Z"),
        (
            _own(_value(dtype=ir.DataType.INT8), _value("s")),
            "element-type",
            "type of X",
            "int8",
            "float, double, float16",
        ),
        (_own(other=1), "attribute", "unknown attribute 'other'", "", "factor, count, sizes, mode"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_what_is_wrong_is_named(node: ir.Node, rule: str, problem: str, got: str, expected: str):
    (finding,) = findings_of(node, _OWN)
    assert (finding.rule, finding.problem, finding.node) == (rule, problem, "Own 'own'")
    assert (finding.got, finding.expected) == (got, expected)
    assert finding.severity is (Severity.WARNING if "unknown" in problem else Severity.ERROR)


def test_an_operator_of_a_fixed_number_of_inputs_and_outputs_says_so():
    node = ir.node("BipolarQuant", [_value()], domain=DOMAIN, num_outputs=2)
    inputs, outputs = form_findings(node, BIPOLAR_QUANT)
    assert inputs.expected == f"{len(BIPOLAR_QUANT.inputs)}: {', '.join(i.name for i in BIPOLAR_QUANT.inputs)}"
    assert outputs.expected == "1"


def test_an_attribute_without_a_default_has_to_be_given():
    node = _own()
    del node.attributes["count"]
    (finding,) = findings_of(node, _OWN)
    assert (finding.rule, finding.problem) == ("attribute", "attribute 'count' is missing")


def test_a_tensor_of_unknown_type_is_not_judged():
    assert list(findings_of(_own(_value(dtype=None), _value("s", None)), _OWN)) == []


def test_an_operator_without_attributes_expects_none():
    plain = Operator(name="Own", inputs=(Input("X"), Input("S")), reference=lambda *inputs: inputs[0])
    assert {f.expected for f in findings_of(_own(), plain)} == {"no attributes"}
