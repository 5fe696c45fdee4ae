"""What the expander does to a graph: names, shared constants, subgraphs, refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnxscript import opset21, script
from onnxscript.values import Opset

from anybit import load
from anybit.errors import InvalidModelError, UnsupportedError
from anybit.ops.expand import Expander
from anybit.ops.operator import Input, Operator
from anybit.ops.quant import QUANT
from tests.models import model, parameters, quant
from tests.ops.running import assert_same, expanded_model, session

HEADER = '<ir_version: 10, opset_import: ["" : 21, "qonnx.custom_op.general" : 1]>'
CONSTANTS = "float s = {0.5}, float z = {0}, float b = {4}"


def _expanded(text: str) -> onnx.ModelProto:
    model = ir.from_proto(onnx.parser.parse_model(HEADER + text))
    expander = Expander(model.graph)
    for node in list(model.graph.all_nodes()):
        if node.op_type == "Quant":
            expander.expand(node, QUANT)
    del model.opset_imports[QUANT.domain]
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto)
    return proto


def _call(x: str, y: str) -> str:
    return f"{y} = qonnx.custom_op.general.Quant({x}, s, z, b)"


def test_names_types_and_shapes_of_inputs_and_outputs_stay() -> None:
    proto = _expanded(f"g (float[2,N] x) => (float[2,N] y) <{CONSTANTS}> {{ {_call('x', 'y')} }}")
    before = onnx.parser.parse_model(HEADER + "g (float[2,N] x) => (float[2,N] y) { y = Identity(x) }")
    assert list(proto.graph.input) == list(before.graph.input)
    assert list(proto.graph.output) == list(before.graph.output)
    assert {n.op_type for n in proto.graph.node} == {"Div", "Clip", "Round", "Mul"}


def test_a_result_that_is_used_twice() -> None:
    proto = _expanded(f"g (float[3] x) => (float[3] y, float[3] v) <{CONSTANTS}> {{ {_call('x', 'y')} v = Add(y, y) }}")
    y, v = session(proto, optimize=False).run(None, {"x": np.float32([0.6, 9, -9])})
    assert_same(y, np.float32([0.5, 3.5, -4]))
    assert_same(v, 2 * y)


def test_calls_share_their_constants() -> None:
    calls = " ".join(_call(f"t{k}", f"t{k + 1}") for k in range(5))
    between = ", ".join(f"float[3] t{k}" for k in range(1, 5))
    proto = _expanded(f"g (float[3] t0) => (float[3] t5) <{CONSTANTS}, {between}> {{ {calls} }}")
    added = [i.name for i in proto.graph.initializer if i.name not in "szb"]
    assert len(added) == 3  # scale, lower and upper bound
    assert len({o for n in proto.graph.node for o in n.output}) == sum(len(n.output) for n in proto.graph.node)


def test_a_call_inside_a_subgraph_that_captures_its_input() -> None:
    proto = _expanded(
        f"""g (bool c, float[3] x) => (float[3] y) <{CONSTANTS}> {{
            y = If (c) <then_branch = t () => (float[3] p) {{ {_call("x", "p")} }},
                        else_branch = e () => (float[3] n) {{ m = Neg(x) {_call("m", "n")} }}>
        }}"""
    )
    run = session(proto, optimize=True)
    for condition, expected in ((True, [0.5, 3.5, -4.0]), (False, [-0.5, -4.0, 3.5])):
        (y,) = run.run(None, {"c": np.array(condition), "x": np.float32([0.6, 9, -9])})
        assert y.tolist() == expected


def test_an_initializer_that_is_also_an_input_can_be_overridden() -> None:
    proto = _expanded(f"g (float[1] x, float s) => (float[1] y) <{CONSTANTS}> {{ {_call('x', 'y')} }}")
    run = session(proto, optimize=True)
    x = np.float32([1.3])
    assert run.run(None, {"x": x})[0].item() == 1.5
    assert run.run(None, {"x": x, "s": np.array(1, np.float32)})[0].item() == 1.0


def test_a_name_that_the_graph_has_already_is_not_made_again() -> None:
    proto = _expanded(
        f'g (float[2] x, float[2] "y/1") => (float[2] y, float[2] v) <{CONSTANTS}>'
        f'{{ {_call("x", "y")} v = Add("y/1", y) }}'
    )
    run = session(proto, optimize=False)
    assert run.run(None, {"x": np.float32([1, 2]), "y/1": np.float32([5, 5])})[1].tolist() == [6, 7]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_constant_x_is_computed_as_the_reference_does(dtype) -> None:
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal(500).astype(dtype), *(np.asarray(p, dtype) for p in (0.037, 0, 7))]
    proto = expanded_model(QUANT, inputs, {})
    assert [n.op_type for n in proto.graph.node] == ["Identity"]
    (y,) = session(proto, optimize=False).run(None, {})
    assert_same(y, QUANT.evaluate(inputs, {}))


def test_an_operator_without_a_body_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match="Quant 'call'"):
        expanded_model(replace(QUANT, body=None), [np.dtype(np.float32)] * 4, {})


def test_a_condition_that_is_computed_is_refused_where_no_branches_are_wanted() -> None:
    head = "g (float[1] x, float b) => (float[1] y) <float s = {0.5}, float z = {0}>"
    text = head + " { y = qonnx.custom_op.general.Quant(x, s, z, b) }"
    graph = ir.from_proto(onnx.parser.parse_model(HEADER + text)).graph
    (node,) = graph
    with pytest.raises(UnsupportedError, match=r"Quant 'y'.*run time"):
        Expander(graph, branches=False).expand(node, QUANT)
    assert list(graph) == [node]
    assert all({user for user, _ in v.uses()} == {node} for v in graph.inputs)
    assert "If" in {n.op_type for n in Expander(graph).expand(node, QUANT)}


def test_a_missing_input_is_refused_by_name() -> None:
    with pytest.raises(InvalidModelError, match=r"Quant 'y'.*bitwidth"):
        _expanded("g (float[1] x, float s, float z) => (float[1] y) { y = qonnx.custom_op.general.Quant(x, s, z) }")


def _check_signs(**changes) -> None:
    """Zeros that have to keep their sign have, behind the expanded node, the one that the reference gives them."""
    known = parameters("y", **changes)
    loaded = load(model([quant("x", "y")], known, inputs={"x": ["N"]}, outputs=["y"]))
    x = np.float32([-9, -0.3, -0.1, -0.0, 0.0, 0.1, 0.3, 9])
    expected = QUANT.evaluate([x, *known.values()], {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"})
    Expander(loaded.graph).expand(loaded.graph.node(0), QUANT, zero_signs=True)
    del loaded.opset_imports[QUANT.domain]
    for optimize in (False, True):
        (y,) = session(ir.to_proto(loaded), optimize=optimize).run(None, {"x": x})
        np.testing.assert_array_equal(y, expected)
        np.testing.assert_array_equal(np.signbit(y), np.signbit(expected))


@pytest.mark.parametrize("scale", [0.5, 1.0, [0.5]])
@pytest.mark.parametrize("zeropt", [0.0, -0.0, 1.0, [0.0]])
def test_zeros_have_the_sign_that_the_operator_gives_them(scale, zeropt):
    _check_signs(scale=scale, zeropt=zeropt)


def test_a_call_without_a_scale_and_zero_point_to_apply_keeps_no_node_for_them():
    loaded = load(model([quant("x", "y")], parameters("y", scale=1.0), inputs={"x": ["N"]}, outputs=["y"]))
    Expander(loaded.graph).expand(loaded.graph.node(0), QUANT)
    assert [n.op_type for n in loaded.graph] == ["Clip", "Round"]


@pytest.mark.parametrize("bits", [4.0, [[4.0], [3.0]]])
def test_bounds_of_channels_are_no_clip(bits):
    """Clip takes one lower and one upper bound."""
    source = model([quant("x", "y")], parameters("y", bits=bits), inputs={"x": ["N", 2, 3]}, outputs=["y"])
    loaded = load(source)
    Expander(loaded.graph).expand(loaded.graph.node(0), QUANT)
    del loaded.opset_imports[QUANT.domain]
    bounding = [n.op_type for n in loaded.graph if n.op_type in ("Clip", "Max", "Min")]
    assert bounding == (["Clip"] if np.ndim(bits) == 0 else ["Max", "Min"])
    x = np.linspace(-5, 5, 12, dtype=np.float32).reshape(2, 2, 3)
    expected = QUANT.evaluate(
        [x, *parameters("y", bits=bits).values()], {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"}
    )
    (y,) = session(ir.to_proto(loaded), optimize=False).run(None, {"x": x})
    np.testing.assert_array_equal(y, expected)


def test_nothing_outside_of_the_graph_reads_what_is_in_it():
    """The Max that became part of a Clip would keep the Div before it alive when the result is not used."""
    loaded = load(model([quant("x", "y")], parameters("y"), inputs={"x": ["N", 3]}, outputs=["y"]))
    expander = Expander(loaded.graph)
    expander.expand(loaded.graph.node(0), QUANT)
    inside = set(loaded.graph)
    for node in loaded.graph:
        for output in node.outputs:
            assert {user for user, _ in output.uses()} <= inside


_OWN = Opset("own.ops", 1)


@script(_OWN, default_opset=opset21)
def _clipped(X):
    return opset21.Min(
        opset21.Max(X, opset21.Constant(value_float=-1.0)),
        opset21.Constant(value_float=2.0),
    )


@script(_OWN, default_opset=opset21)
def _shifted(X):
    return opset21.Min(
        opset21.Add(X, opset21.Constant(value_float=1.0)),
        opset21.Constant(value_float=2.0),
    )


@script(_OWN, default_opset=opset21)
def _apart(X):
    negated = opset21.Neg(X)
    lifted = opset21.Max(X, opset21.Constant(value_float=0.0))
    return opset21.Add(opset21.Min(negated, opset21.Constant(value_float=2.0)), lifted)


@script(_OWN, default_opset=opset21)
def _by_itself(X):
    return opset21.Min(X, opset21.Constant(value_float=2.0))


@script(_OWN, default_opset=opset21)
def _turned(X):
    return opset21.Min(
        opset21.Constant(value_float=2.0),
        opset21.Max(X, opset21.Constant(value_float=-1.0)),
    )


@script(_OWN, default_opset=opset21)
def _by_channel(X):
    return opset21.Min(
        opset21.Max(X, opset21.Constant(value_floats=[-1.0, -2.0, 0.0])),
        opset21.Constant(value_float=2.0),
    )


@pytest.mark.parametrize(
    ("body", "meaning", "operators"),
    [
        (_clipped, lambda x: np.clip(x, -1, 2), ["Clip"]),
        (_shifted, lambda x: np.minimum(x + 1, 2), ["Add", "Min"]),
        (_apart, lambda x: np.minimum(-x, 2) + np.maximum(x, 0), ["Neg", "Max", "Min", "Add"]),
        (_by_itself, lambda x: np.minimum(x, 2), ["Min"]),
        (_turned, lambda x: np.clip(x, -1, 2), ["Max", "Min"]),
        (_by_channel, lambda x: np.minimum(np.maximum(x, np.float32([-1, -2, 0])), 2), ["Max", "Min"]),
    ],
    ids=lambda v: getattr(v, "name", ""),
)
def test_a_clip_is_a_maximum_whose_minimum_is_taken(body, meaning, operators):
    own = Operator(name="Own", domain="own.ops", inputs=(Input("X"),), reference=meaning, body=body)
    source = ir.from_proto(onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21, "own.ops" : 1]> g (float[N,3] x) => (float[N,3] y)'
        "{ y = own.ops.Own(x) }"
    ))  # fmt: skip
    made = Expander(source.graph).expand(source.graph.node(0), own)
    assert [node.op_type for node in made] == operators
    del source.opset_imports["own.ops"]
    x = np.linspace(-5, 5, 12, dtype=np.float32).reshape(4, 3)
    (y,) = session(ir.to_proto(source), optimize=False).run(None, {"x": x})
    np.testing.assert_array_equal(y, meaning(x))
