"""MultiThreshold against exact arithmetic, its body against its reference, and the rules of its nodes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from onnx import TensorProto, helper

from anybit.ops.multi_threshold import MULTI_THRESHOLD
from anybit.ops.schemas import register_schemas
from tests.models import model
from tests.ops import exact
from tests.ops.calling import call, rules
from tests.ops.running import assert_same, run_body, run_expanded, run_folded
from tests.strategies import Case, examples, multi_threshold_cases


@given(multi_threshold_cases())
@examples(300)
def test_reference_is_exact_arithmetic_rounded_where_the_formula_rounds(case: Case) -> None:
    a = case.attributes
    axis = -1 if a["data_layout"].endswith("C") and a["data_layout"] != "NC" else 1
    expected = exact.multi_threshold(*case.inputs, axis, a["out_scale"], a["out_bias"])
    assert_same(MULTI_THRESHOLD.evaluate(case.inputs, case.attributes), expected)


@given(multi_threshold_cases())
@examples(300)
def test_whole_body_is_the_reference(case: Case) -> None:
    assert_same(
        run_body(MULTI_THRESHOLD, case.inputs, case.attributes), MULTI_THRESHOLD.evaluate(case.inputs, case.attributes)
    )


@given(multi_threshold_cases())
@examples(300)
def test_body_with_parameters_as_graph_inputs_is_the_reference(case: Case) -> None:
    expected = MULTI_THRESHOLD.evaluate(case.inputs, case.attributes)
    assert_same(run_expanded(MULTI_THRESHOLD, case.inputs, case.attributes), expected)


@given(multi_threshold_cases())
@examples(300)
def test_body_with_constant_parameters_is_the_reference(case: Case) -> None:
    assert_same(
        run_folded(MULTI_THRESHOLD, case.inputs, case.attributes),
        MULTI_THRESHOLD.evaluate(case.inputs, case.attributes),
    )


def test_thresholds_in_any_order_repeated_and_not_numbers() -> None:
    thresholds = np.float32([[3.0, np.nan, 1.0, 1.0, np.inf]])
    x = np.float32([[0.5, 1.0, 3.0, np.inf, np.nan, -np.inf]])
    y = MULTI_THRESHOLD.reference(x, thresholds)
    assert y.tolist() == [[0.0, 2.0, 3.0, 4.0, 0.0, 0.0]]


def test_thresholds_are_compared_exactly_in_the_wider_type() -> None:
    above = np.nextafter(1.0, 2.0)  # a float64 that float32 would round to 1
    assert MULTI_THRESHOLD.reference(np.float32([[1.0]]), np.array([[above]])).item() == 0
    assert run_folded(MULTI_THRESHOLD, [np.float32([[1.0]]), np.array([[above]])], {}).item() == 0


def test_attributes_have_the_precision_of_the_file() -> None:
    x, thresholds = np.array([[2.0]]), np.array([[1.0]])
    attributes = {"out_scale": 0.1, "out_bias": 0.7}
    expected = np.float64(np.float32(0.1)) + np.float64(np.float32(0.7))
    assert MULTI_THRESHOLD.evaluate([x, thresholds], attributes).item() == expected
    assert run_body(MULTI_THRESHOLD, [x, thresholds], attributes).item() == expected


def test_float16_overflows_to_infinity() -> None:
    assert MULTI_THRESHOLD.reference(np.float16([[1]]), np.float16([[0]]), out_scale=1e6).item() == np.inf


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_channels_stand_where_the_layout_says(layout: str) -> None:
    x = np.ones((1, 2, 2, 2), np.float32)
    y = MULTI_THRESHOLD.reference(x, np.float32([[0.0], [5.0]]), data_layout=layout)
    assert (y[..., 0] == 1).all() == (layout == "NHWC")
    assert (y[:, 0] == 1).all() == (layout == "NCHW")


def test_refusals() -> None:
    x, thresholds = np.zeros((2, 3), np.float32), np.zeros((1, 2), np.float32)
    for dtype in (np.int64, np.uint64, np.bool_):
        with pytest.raises(TypeError, match="32 bits"):
            MULTI_THRESHOLD.reference(x.astype(dtype), thresholds)
    with pytest.raises(ValueError, match="rank"):
        MULTI_THRESHOLD.reference(x[0], thresholds)
    with pytest.raises(ValueError, match="rank"):
        MULTI_THRESHOLD.reference(x, thresholds[0])
    with pytest.raises(ValueError, match="channels"):
        MULTI_THRESHOLD.reference(x, np.zeros((2, 2), np.float32))
    with pytest.raises(ValueError, match="data_layout"):
        MULTI_THRESHOLD.reference(x, thresholds, data_layout="CN")


@pytest.mark.parametrize(
    ("rows", "attributes", "expected"),
    [
        ((1, 4), {}, []),
        ((3, 4), {"out_dtype": "UINT4", "data_layout": "NC"}, []),
        ((2, 4), {"data_layout": "NHWC"}, ["thresholds"]),
        ((4, 4), {}, ["thresholds"]),
        ((4,), {}, ["thresholds"]),
        ((1, 4), {"data_layout": "nchw"}, ["layout"]),
        ((1, 4), {"out_dtype": "INT"}, ["number-format"]),
    ],
)
def test_rules(rows: tuple[int, ...], attributes, expected: list[str]) -> None:
    made = call(MULTI_THRESHOLD, {"thresholds": np.zeros(rows)}, attributes=attributes)
    assert rules(MULTI_THRESHOLD, made) == expected


def test_rules_need_a_channel_axis() -> None:
    assert rules(MULTI_THRESHOLD, call(MULTI_THRESHOLD, {"thresholds": np.zeros((1, 2))}, x_shape=(3,))) == [
        "thresholds"
    ]
    assert rules(MULTI_THRESHOLD, call(MULTI_THRESHOLD, {}, x_shape=None)) == []


def test_number_format_is_that_of_the_attribute() -> None:
    assert str(MULTI_THRESHOLD.number_format(call(MULTI_THRESHOLD, {}, attributes={"out_dtype": "INT4"}))) == "INT4"
    assert MULTI_THRESHOLD.number_format(call(MULTI_THRESHOLD, {})) is None


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (TensorProto.FLOAT16, TensorProto.FLOAT16),
        (TensorProto.FLOAT, TensorProto.FLOAT),
        (TensorProto.DOUBLE, TensorProto.DOUBLE),
        (TensorProto.INT8, TensorProto.FLOAT),
        (TensorProto.UINT32, TensorProto.FLOAT),
    ],
)
def test_the_type_that_is_inferred_is_a_float(given, made):
    register_schemas()
    node = helper.make_node("MultiThreshold", ["x", "t"], ["y"], domain=MULTI_THRESHOLD.domain)
    proto = model([node], {"t": np.zeros((1, 3), np.float32)}, inputs={"x": [2, "C", 4]}, outputs=[], input_type=given)
    proto.graph.output.add(name="y")
    inferred = onnx.shape_inference.infer_shapes(proto, strict_mode=True).graph.output[0].type.tensor_type
    assert inferred.elem_type == made
    assert [d.dim_param or d.dim_value for d in inferred.shape.dim] == [2, "C", 4]


def test_nothing_is_inferred_without_an_input():
    register_schemas()
    node = helper.make_node("MultiThreshold", ["", "t"], ["y"], domain=MULTI_THRESHOLD.domain)
    proto = model([node], {"t": np.zeros((1, 3), np.float32)}, inputs={"x": [2]}, outputs=[])
    inferred = onnx.shape_inference.infer_shapes(proto, strict_mode=True)
    assert [v.name for v in inferred.graph.value_info] == []
