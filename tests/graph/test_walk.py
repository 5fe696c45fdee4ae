"""Dimensions as people read them."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from anybit.graph.walk import dimension_text, is_made_up


@pytest.mark.parametrize(
    ("dimension", "text"),
    [
        (3, "3"),
        (0, "0"),
        ("N", "N"),
        (ir.SymbolicDim("batch"), "batch"),
        (ir.SymbolicDim(None), "?"),
        (None, "?"),
        ("?", "?"),
        (ir.SymbolicDim("unk__0"), "?"),
        ("unk__417", "?"),
        ("/encoder/Reshape_3_o0__d2", "?"),
        ("unk__", "unk__"),
        ("my_unk__1", "my_unk__1"),
        ("d1", "d1"),
    ],
)
def test_sizes_and_names_are_shown_and_made_up_names_are_not(dimension, text):
    assert dimension_text(dimension) == text


def test_the_names_that_onnx_gives_are_known_as_made_up():
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])
    y = helper.make_tensor_value_info("y", TensorProto.INT64, None)
    graph = helper.make_graph([helper.make_node("NonZero", ["x"], ["y"])], "g", [x], [y])
    inferred = onnx.shape_inference.infer_shapes(helper.make_model(graph))
    rows, columns = inferred.graph.output[0].type.tensor_type.shape.dim
    assert rows.dim_value == 2
    assert is_made_up(columns.dim_param)
