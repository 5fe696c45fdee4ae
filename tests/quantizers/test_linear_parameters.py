"""Scales and zero points: read as the ONNX specification spreads them, and written so that they are read again."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from ml_dtypes import iinfo
from onnx import defs, helper
from onnx.reference import ReferenceEvaluator

from anybit.errors import Refusal
from anybit.quantizers.linear_parameters import Parameters, parameters_of, range_of, since, spelling_of
from tests.strategies import Array

_INTEGERS = [ir.DataType[f"{sign}INT{bits}"] for sign in ("", "U") for bits in (2, 4, 8, 16)] + [ir.DataType.INT32]


@pytest.mark.parametrize("dtype", _INTEGERS)
def test_integers_of_a_type_are_those_of_numpy(dtype: ir.DataType):
    info = iinfo(dtype.numpy())
    assert range_of(dtype) == (info.min, info.max)


@pytest.mark.parametrize("dtype", [ir.DataType.FLOAT, ir.DataType.FLOAT8E4M3FN, ir.DataType.INT64, ir.DataType.BOOL])
def test_other_types_have_no_range(dtype: ir.DataType):
    assert range_of(dtype) is None


@pytest.mark.parametrize("dtype", [d for d in ir.DataType if not d.name.startswith("FLOAT6E")])  # which we do not read
def test_types_are_known_since_the_opset_whose_schema_has_them(dtype: ir.DataType):
    """By the schemas that the onnx package has."""
    newest = defs.onnx_opset_version()
    quantized = {"QuantizeLinear": "output", "DequantizeLinear": "input"}
    first: list[int] = []
    for op_type, side in quantized.items():
        for opset in range(10, newest + 1):
            schema = defs.get_schema(op_type, opset, "")
            name = (schema.outputs if side == "output" else schema.inputs)[0].type_str
            (allowed,) = (c.allowed_type_strs for c in schema.type_constraints if c.type_param_str == name)
            if f"tensor({dtype.name.lower()})" in allowed:
                first.append(opset)
                break
    if since(dtype) is not None and since(dtype) > newest:
        pytest.skip("newer than the onnx package")
    assert since(dtype) == min(first, default=None)


def _node(
    scale: Array,
    zero: Array | None,
    shape: list[int | None] | None,
    op_type: str = "DequantizeLinear",
    **attributes: Any,
) -> ir.Node:
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.INT8), shape=None if shape is None else ir.Shape(shape))
    given = [scale] if zero is None else [scale, zero]
    names = ("scale", "zero")
    values = [ir.Value(name=n, const_value=ir.tensor(a)) for n, a in zip(names, given, strict=False)]
    node = ir.node(op_type, [x, *values], attributes, name="dq")
    ir.Graph([x], node.outputs, nodes=[node], initializers=values, opset_imports={"": 21})
    return node


_SHAPE = [2, 3, 4]
_RNG = np.random.default_rng(0)


def _scales(*shape: int) -> Array:
    return _RNG.uniform(0.1, 2, shape).astype(np.float32)


def _zeros(*shape: int) -> Array:
    return np.asarray(_RNG.integers(-9, 10, shape), np.int8)


@pytest.mark.parametrize(
    ("shape", "attributes"),
    [
        ((), {}),
        ((1,), {}),
        ((2,), {"axis": 0}),
        ((3,), {}),
        ((3,), {"axis": 1}),
        ((3,), {"axis": -2}),
        ((4,), {"axis": 2}),
        ((4,), {"axis": -1}),
        ((2,), {"axis": -3}),
        ((2, 3, 2), {"axis": 2, "block_size": 2}),
        ((2, 2, 4), {"axis": 1, "block_size": 2}),
        ((1, 3, 4), {"axis": 0, "block_size": 2}),
        ((2, 3, 2), {"axis": -1, "block_size": 3}),
    ],
)
@pytest.mark.parametrize("has_zero", [True, False])
def test_parameters_broadcast_to_what_the_onnx_reference_computes(shape, attributes, has_zero: bool):
    scale, zero = _scales(*shape), _zeros(*shape) if has_zero else None
    x = np.asarray(_RNG.integers(-128, 128, _SHAPE), np.int8)
    found = parameters_of(_node(scale, zero, [*_SHAPE], **attributes))
    assert isinstance(found, Parameters)
    actual = (x - found.zero_point).astype(np.float32) * found.scale
    if attributes.get("block_size") == 3:  # the last block is cut: the reference of onnx takes no such ones
        expected = (x - (0 if zero is None else zero.repeat(3, 2)[..., :4])) * scale.repeat(3, 2)[..., :4]
    else:
        names = ["x", "scale"] + ["zero"] * has_zero
        node = helper.make_node("DequantizeLinear", names, ["y"], **attributes)
        known = {"scale": scale} | ({} if zero is None else {"zero": zero})
        graph = helper.make_graph(
            [node],
            "dq",
            [helper.make_tensor_value_info("x", onnx.TensorProto.INT8, _SHAPE)],
            [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
            [onnx.numpy_helper.from_array(a, n) for n, a in known.items()],
        )
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
        expected = ReferenceEvaluator(proto).run(None, {"x": x})[0]
    np.testing.assert_array_equal(actual, expected)


_ONE = np.float32(1)
_REFUSED: dict[str, tuple[ir.Node, str]] = {
    "empty": (_node(_scales(0), None, [2, 3]), "empty"),
    "double": (_node(np.float64(1), None, [2, 3]), "type of the scale"),
    "zero": (_node(np.float32([1, 0, 1]), None, [2, 3]), "the scale"),
    "negative": (_node(np.float32([1, -1, 1]), None, [2, 3]), "the scale"),
    "infinite": (_node(np.float32([1, np.inf, 1]), None, [2, 3]), "the scale"),
    "no number": (_node(np.float32([1, np.nan, 1]), None, [2, 3]), "the scale"),
    "unknown rank": (_node(_scales(3), None, None), "unknown rank"),
    "axis above": (_node(_scales(3), None, [2, 3], axis=2), "axis"),
    "axis below": (_node(_scales(3), None, [2, 3], axis=-3), "axis"),
    "too long": (_node(_scales(4), None, [2, 3]), "shape of a parameter"),
    "a matrix": (_node(_scales(2, 3), None, [2, 3]), "shape of a parameter"),
    "a matrix along a free axis": (_node(_scales(2, 3), None, [2, None]), "shape of a parameter"),
    "zero points that do not fit": (_node(_ONE, _zeros(4), [2, 3]), "shape of a parameter"),
    "blocks of a free axis": (_node(_scales(2, 2), None, [2, None], block_size=2), "shape of a parameter"),
    "too few blocks": (_node(_scales(2, 2), None, [2, 6], block_size=2), "shape of a parameter"),
    "blocks of another rank": (_node(_scales(3), None, [2, 6], block_size=2), "shape of a parameter"),
    "other rows of blocks": (_node(_scales(4, 3), None, [2, 6], block_size=2), "shape of a parameter"),
    "an axis that is a text": (_node(_scales(3), None, [2, 3], axis="1"), "attribute 'axis'"),
    "float16 arithmetic": (_node(_ONE, None, [2, 3], "QuantizeLinear", precision=10), "attribute 'precision'"),
    "a type that is none": (_node(_ONE, None, [2, 3], output_dtype=999), "attribute 'output_dtype'"),
    "float16 outputs": (_node(_ONE, None, [2, 3], output_dtype=10), "attribute 'output_dtype'"),
}


@pytest.mark.parametrize("name", _REFUSED)
def test_what_cannot_be_told_is_refused(name: str):
    node, problem = _REFUSED[name]
    found = parameters_of(node)
    assert isinstance(found, Refusal)
    assert problem in found.problem
    assert found.node == f"{node.op_type} 'dq'"


def test_computed_parameters_are_refused():
    node = _node(_ONE, np.int8(0), [2, 3])
    for place in (1, 2):
        known = node.inputs[place]
        node.replace_input_with(place, ir.Value(name="c"))
        assert "computed" in str(parameters_of(node))
        node.replace_input_with(place, known)


@pytest.mark.parametrize(
    "node",
    [
        _node(_ONE, None, [2, 3], "QuantizeLinear", output_dtype=17),  # float8 integers
        _node(_ONE, None, [2, 3], precision=1),
        _node(_scales(5), None, [2, None]),
        _node(_scales(3), None, [None, 3]),
    ],
)
def test_what_says_the_same_in_other_words_is_read(node: ir.Node):
    assert isinstance(parameters_of(node), Parameters)


def test_parameters_are_the_same_where_they_are_equal_everywhere():
    one, rows = Parameters(_ONE, np.zeros(())), Parameters(np.float32([[1], [1]]), np.zeros((3,)))
    assert one.same(rows)
    assert rows.same(one)
    assert not one.same(Parameters(np.float32([1, 2]), np.zeros(())))
    assert not one.same(Parameters(_ONE, np.float64([0, 1])))
    assert not Parameters(np.float32([1, 1]), np.zeros(())).same(Parameters(np.float32([1, 1, 1]), np.zeros(())))


def _blocks(axis: int, size: int, shape: tuple[int, ...]) -> Array:
    """Other numbers for each block, the whole shape."""
    counts = [-(-d // size) if a == axis else d for a, d in enumerate(shape)]
    return _scales(*counts).repeat(size, axis).take(range(shape[axis]), axis)


@pytest.mark.parametrize(
    ("scale", "shape", "form"),
    [
        (_scales(), None, (None, 0)),
        (np.full((1, 3, 1), 0.5, np.float32), None, (None, 0)),
        (_scales(3, 1), (2, 3, 4), (1, 0)),
        (_scales(4), (2, 3, 4), (2, 0)),
        (_scales(2, 1, 1), (2, 3, 4), (0, 0)),
        (np.repeat(_scales(3, 1), 4, 1), (2, 3, 4), (1, 0)),
        (np.repeat(_scales(3, 1), 2, 1), (5, 3, 2), (1, 0)),
        (np.repeat(_scales(1, 3), 2, 0), (5, 2, 3), (2, 0)),
        (np.repeat(_scales(2, 1, 3), 2, 1)[:1], (1, 2, 3), (2, 0)),
        (_scales(4), (None, 3, 4), (2, 0)),
        (_blocks(2, 2, (2, 3, 4)), (2, 3, 4), (2, 2)),
        (_blocks(1, 2, (2, 3, 4)), (2, 3, 4), (1, 2)),
        (_scales(3, 4), (2, 3, 4), (0, 2)),
        (_blocks(0, 4, (12, 3)), (12, 3), (0, 4)),
        (_blocks(1, 6, (4, 15)), (4, 15), (1, 6)),
    ],
)
def test_parameters_are_written_so_that_they_are_read_again(scale: Array, shape: Any, form: Any):
    zero = np.where(scale > scale.mean(), 1.0, 0.0)
    parameters = Parameters(scale, zero)
    spelling = spelling_of(parameters, shape)
    assert not isinstance(spelling, Refusal)
    assert (spelling.axis, spelling.block_size) == form
    assert spelling.since == (21 if spelling.block_size else 13 if spelling.axis is not None else 1)
    sizes = None if shape is None else [*shape]
    node = _node(spelling.scale, spelling.zero_point.astype(np.int8), sizes, **{
        name: a.value for name, a in spelling.attributes.items()
    })  # fmt: skip
    found = parameters_of(node)
    assert isinstance(found, Parameters)
    assert found.same(parameters)


@pytest.mark.parametrize(
    ("scale", "shape", "problem"),
    [
        (_scales(3), None, "unknown rank"),
        (_scales(3, 4), (None, 3, 4), "free shape"),
        (_scales(2, 3, 4), (2, 3, 4), "several axes"),
    ],
)
def test_parameters_without_a_form_are_refused(scale: Array, shape: Any, problem: str):
    found = spelling_of(Parameters(scale, np.zeros(())), shape)
    assert isinstance(found, Refusal)
    assert problem in found.problem
