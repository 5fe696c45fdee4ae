"""Annotations that cannot be read or that the tensor contradicts are findings; those that may be true are none."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from anybit import check, load
from anybit.errors import Finding, Severity
from tests.models import model

_ERROR, _WARNING = Severity.ERROR, Severity.WARNING


def _annotated(entries, *, weights=None, tensor="w", element_type=TensorProto.FLOAT, shape=(2, 3)):
    """y = Identity(x), z = Identity(w), with annotations (tensor, key, text)."""
    nodes = [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Identity", ["w"], ["z"])]
    values = {"w": np.ones((2, 3), np.float32) if weights is None else weights}
    proto = model(nodes, values, inputs={"x": list(shape)}, outputs=["y", "z"], input_type=element_type)
    proto.graph.output[0].type.tensor_type.elem_type = element_type
    proto.graph.output[1].type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(values["w"].dtype)
    for name, key, text in entries:
        added = proto.graph.quantization_annotation.add(tensor_name=name or tensor)
        added.quant_parameter_tensor_names.add(key=key, value=text)
    return proto


def _found(proto) -> list[Finding]:
    return [f for f in check(proto) if f.rule == "annotation"]


@pytest.mark.parametrize("text", ["INT0", "INT", "FIXED<4>", "UINT-3", "FLOAT<99,1>", "", "quantised"])
@pytest.mark.parametrize("tensor", ["x", "w", "y"])
def test_a_number_format_that_does_not_parse_is_an_error(text, tensor):
    (finding,) = _found(_annotated([(tensor, "finn_datatype", text)]))
    assert (finding.severity, finding.node, finding.got) == (_ERROR, f"tensor '{tensor}'", repr(text))
    assert "UINTn" in finding.expected
    assert finding.hint


@pytest.mark.parametrize(
    ("weights", "text", "got"),
    [
        (np.float32([1, 9, -8]), "INT4", "9.0"),
        (np.float32([1, 2.5]), "INT4", "2.5"),
        (np.float32([1, np.nan]), "INT4", "nan"),
        (np.float32([0, 1]), "BIPOLAR", "0.0"),
        (np.float32([2]), "TERNARY", "2.0"),
        (np.float32([2]), "BINARY", "2.0"),
        (np.float32([0.25, 0.3]), "FIXED<4,2>", "0.3"),
        (np.float32([0.25, 2]), "FIXED<4,2>", "2.0"),
        (np.float32([0.1]), "FLOAT<4,3>", "0.1"),
        (np.int8([-1]), "UINT8", "-1"),
        (np.int32([200]), "INT8", "200"),
        (np.float32([np.inf]), "SCALEDINT<8>", "inf"),
    ],
)
def test_a_constant_that_is_not_in_its_format_is_an_error(weights, text, got):
    (finding,) = _found(_annotated([("w", "finn_datatype", text)], weights=weights))
    assert (finding.severity, finding.node, finding.got) == (_ERROR, "tensor 'w'", got)
    assert finding.expected == f"numbers of {text.replace('<4,3>', '<4,3,7>')}"
    assert finding.problem.startswith("1 elements")


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        (np.float32([7, -8]), "INT4"),
        (np.float32([-1, 1]), "BIPOLAR"),
        (np.float32([0.25, -2]), "FIXED<4,2>"),
        (np.float32([0.3, 5]), "SCALEDINT<2>"),
        (np.float32([0.1, np.nan]), "FLOAT32"),
        (np.float64([0.1]), "FLOAT32"),
        (np.int64([2**24 + 1]), "FLOAT32"),
        (np.int8([3, -4]), "INT3"),
        (np.bool_([True, False]), "BINARY"),
        (np.float32([480]), "FLOAT<4,3>"),
    ],
)
def test_a_constant_in_its_format_is_no_finding(weights, text):
    assert _found(_annotated([("w", "finn_datatype", text)], weights=weights)) == []


@pytest.mark.parametrize(
    ("element_type", "text", "severity"),
    [
        (TensorProto.BOOL, "INT4", _ERROR),
        (TensorProto.BOOL, "BIPOLAR", _ERROR),
        (TensorProto.INT8, "FIXED<4,2>", _ERROR),
        (TensorProto.INT8, "FLOAT<4,3,7>", _ERROR),
        (TensorProto.INT8, "INT16", _WARNING),
        (TensorProto.INT8, "UINT8", _WARNING),
        (TensorProto.UINT8, "INT4", _WARNING),
        (TensorProto.UINT8, "BIPOLAR", _WARNING),
        (TensorProto.BOOL, "BINARY", None),
        (TensorProto.INT8, "INT8", None),
        (TensorProto.INT8, "UINT7", None),
        (TensorProto.INT8, "FIXED<6,6>", None),
        (TensorProto.INT8, "SCALEDINT<8>", None),
        (TensorProto.INT64, "FLOAT32", None),
        (TensorProto.FLOAT, "INT32", None),
        (TensorProto.FLOAT16, "INT4", None),
    ],
)
def test_a_format_is_held_against_the_element_type(element_type, text, severity):
    found = _found(_annotated([("x", "finn_datatype", text)], element_type=element_type))
    assert [(f.node, f.severity, f.got) for f in found] == ([("tensor 'x'", severity, text)] if severity else [])


@pytest.mark.parametrize(
    ("key", "text", "severity"),
    [
        ("tensor_layout", "['N', 'C'", _ERROR),
        ("tensor_layout", "['N', 2]", _ERROR),
        ("tensor_layout", "NC", _ERROR),
        ("tensor_layout", "['N', 'C', 'H', 'W']", _WARNING),
        ("tensor_layout", "[]", _WARNING),
        ("tensor_layout", "['N', 'C']", None),
        ("tensor_sparsity", "{", _ERROR),
        ("tensor_sparsity", "[1]", _ERROR),
        ("tensor_sparsity", "{'dw': {'kernel_shape': [3, 3]}}", None),
        ("SCALE_TENSOR", "anything", None),
    ],
)
def test_layout_and_sparsity_are_read(key, text, severity):
    found = _found(_annotated([("x", key, text)]))
    assert [(f.node, f.severity) for f in found] == ([("tensor 'x'", severity)] if severity else [])


def test_the_layout_of_a_tensor_of_unknown_rank_is_no_finding():
    proto = _annotated([("x", "tensor_layout", "['N', 'C', 'H', 'W']")])
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    assert _found(proto) == []


def test_an_annotation_of_no_tensor_is_a_warning_and_survives_loading():
    proto = _annotated([("ghost", "finn_datatype", "INT4")])
    for source in (proto, proto.SerializeToString(), load(proto)):
        (finding,) = _found(source)
        assert (finding.severity, finding.node) == (_WARNING, "tensor 'ghost'")


def test_two_annotations_that_differ_are_an_error_and_equal_ones_are_not():
    (finding,) = _found(_annotated([("w", "finn_datatype", "INT4"), ("w", "finn_datatype", "INT5")]))
    assert (finding.severity, finding.got) == (_ERROR, "'INT4' and 'INT5'")
    assert _found(_annotated([("w", "finn_datatype", "INT4"), ("w", "finn_datatype", "INT4")])) == []


def test_tensors_of_branches_are_looked_at():
    branches = [
        helper.make_graph(
            [helper.make_node("Identity", [f"w{k}"], [f"y{k}"])], f"b{k}", [],
            [helper.make_tensor_value_info(f"y{k}", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(np.float32([9]), f"w{k}")],
        )
        for k in range(2)
    ]  # fmt: skip
    for k, branch in enumerate(branches):
        added = branch.quantization_annotation.add(tensor_name=f"w{k}")
        added.quant_parameter_tensor_names.add(key="finn_datatype", value="INT4")
    node = helper.make_node("If", ["c"], ["y"], then_branch=branches[0], else_branch=branches[1])
    proto = model([node], {"c": np.bool_(1)}, inputs={}, outputs=["y"])
    assert {(f.node, f.severity) for f in _found(proto)} == {("tensor 'w0'", _ERROR), ("tensor 'w1'", _ERROR)}
