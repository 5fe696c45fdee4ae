"""compile_node for operators that onnx's reference computes, at every version that means something else."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anybit.errors import UnsupportedError
from anybit.ops.standard.kernels import compile_node
from tests.ops.standard.running import assert_close_to_ort, run_kernel, run_ort
from tests.strategies import Array, examples, near, positive_scales, seeds

X = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
POSITIVE = np.abs(X) + np.float32(0.1)


@pytest.mark.parametrize("opset", [9, 11, 12, 13, 21])
@pytest.mark.parametrize("axis", [None, 0, 1, 2, 3])
@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax", "Hardmax"])
def test_softmax_sees_a_matrix_before_version_13(op_type: str, axis: int | None, opset: int) -> None:
    assert_close_to_ort(op_type, [X], {} if axis is None else {"axis": axis}, opset=opset)


@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax"])
def test_softmax_of_version_11_counts_axes_from_the_end(op_type: str) -> None:
    assert_close_to_ort(op_type, [X], {"axis": -2}, opset=11)


def test_log_softmax_of_numbers_far_apart_is_finite() -> None:
    assert_close_to_ort("LogSoftmax", [np.float32([[0, -2000, 5, 1e4], [-1e17, 1e17, 0, 1]])])


@pytest.mark.parametrize("op_type", ["Max", "Mean", "Min", "Sum"])
def test_the_first_of_many_inputs_may_be_the_smaller_one(op_type: str) -> None:
    assert_close_to_ort(op_type, [X[0, 0, 0], X[0], X])


REDUCTIONS = "Max Mean Min Prod Sum L1 L2 LogSum LogSumExp SumSquare".split()


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("keepdims", [0, 1])
def test_reductions_take_axes_as_attribute_and_as_input(name: str, keepdims: int) -> None:
    for axes in ([1], [-1, 0]):
        assert_close_to_ort(f"Reduce{name}", [POSITIVE], {"axes": axes, "keepdims": keepdims}, opset=11)
        assert_close_to_ort(f"Reduce{name}", [POSITIVE, np.int64(axes)], {"keepdims": keepdims}, opset=18)
    assert_close_to_ort(f"Reduce{name}", [POSITIVE], {"keepdims": keepdims}, opset=11)
    assert_close_to_ort(f"Reduce{name}", [POSITIVE], {"keepdims": keepdims}, opset=18)


def test_reduction_over_no_axes_is_the_input() -> None:
    assert_close_to_ort("ReduceMean", [X, np.int64([])], {"noop_with_empty_axes": 1}, opset=18)


UNARY = """Abs Ceil Cos Elu Erf Exp Floor Gelu HardSigmoid HardSwish Identity LeakyRelu MeanVarianceNormalization Mish
    Neg Relu Round Selu Sigmoid Sign Sin Softplus Softsign Tan Tanh ThresholdedRelu""".split()


@pytest.mark.parametrize("op_type", UNARY)
def test_functions_of_one_number(op_type: str) -> None:
    assert_close_to_ort(op_type, [X])


@pytest.mark.parametrize("op_type", ["Log", "Reciprocal", "Sqrt"])
def test_functions_of_one_positive_number(op_type: str) -> None:
    assert_close_to_ort(op_type, [POSITIVE])


def test_gelu_by_tanh() -> None:
    assert_close_to_ort("Gelu", [X], {"approximate": "tanh"}, opset=20)


@pytest.mark.parametrize("op_type", ["Sigmoid", "Tanh", "Softplus", "Softmax"])
def test_large_arguments_neither_overflow_nor_warn(op_type: str) -> None:
    assert_close_to_ort(op_type, [np.float32([[-1000.0, 0.0, 1000.0]])])


def test_normalizations() -> None:
    channels = np.float32([0.5, 1.0, -2.0])
    assert_close_to_ort("InstanceNormalization", [X, channels, channels])
    assert_close_to_ort("LayerNormalization", [X, X[0, 0, 0], X[0, 0, 1]], {"axis": -1}, opset=17)
    assert_close_to_ort("LayerNormalization", [X, X[0], X[1]], {"axis": 1}, opset=17)
    six = np.repeat(X, 2, axis=1)
    assert_close_to_ort("GroupNormalization", [six, channels, channels], {"num_groups": 3}, opset=18)
    assert_close_to_ort("GroupNormalization", [six, np.tile(channels, 2), np.tile(channels, 2)], {"num_groups": 3})


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("op_type", "gates", "outputs"), [("LSTM", 4, 3), ("GRU", 3, 2), ("RNN", 1, 2)])
def test_recurrent_layers(op_type: str, gates: int, outputs: int, direction: str) -> None:
    rng = np.random.default_rng(3)
    directions = 2 if direction == "bidirectional" else 1
    x, w, r, b, h = (
        rng.standard_normal(shape).astype(np.float32)
        for shape in (
            (3, 2, 4),
            (directions, 3 * gates, 4),
            (directions, 3 * gates, 3),
            (directions, 6 * gates),
            (directions, 2, 3),
        )
    )
    attributes = {"hidden_size": 3, "direction": direction}
    assert_close_to_ort(op_type, [x, w, r, b], attributes, opset=14, outputs=outputs)
    states = [h, -h] if op_type == "LSTM" else [h]
    assert_close_to_ort(op_type, [x, w, r, b, None, *states], attributes, opset=14, outputs=outputs)


def test_gru_with_the_reset_after_the_product() -> None:
    rng = np.random.default_rng(4)
    x, w, r, b = (rng.standard_normal(s).astype(np.float32) for s in ((3, 2, 4), (1, 9, 4), (1, 9, 3), (1, 18)))
    assert_close_to_ort("GRU", [x, w, r, b], {"hidden_size": 3, "linear_before_reset": 1}, opset=14, outputs=2)


def test_lstm_with_peepholes() -> None:
    rng = np.random.default_rng(5)
    x, w, r, b, p = (
        rng.standard_normal(s).astype(np.float32) for s in ((3, 2, 4), (1, 12, 4), (1, 12, 3), (1, 24), (1, 9))
    )
    assert_close_to_ort("LSTM", [x, w, r, b, None, None, None, p], {"hidden_size": 3}, opset=14, outputs=3)


def test_lstm_takes_its_default_activations_by_name() -> None:
    rng = np.random.default_rng(6)
    inputs = [rng.standard_normal(s).astype(np.float32) for s in ((3, 2, 4), (1, 12, 4), (1, 12, 3))]
    attributes = {"hidden_size": 3, "activations": ["Sigmoid", "Tanh", "Tanh"]}
    assert_close_to_ort("LSTM", inputs, attributes, opset=14, outputs=3)


def test_an_operator_that_nobody_knows_is_unsupported() -> None:
    with pytest.raises(UnsupportedError, match="NoSuchOperator"):
        compile_node(ir.node("NoSuchOperator", [ir.Value(name="x")]), 21)


# Quantisation ------------------------------------------------------------------------------------------------------

INTEGERS = {
    10: (np.int8, np.uint8),
    13: (np.int8, np.uint8),
    19: (np.int8, np.uint8),
    21: (np.int8, np.uint8, np.int16, np.uint16),
}


@st.composite
def linear_quantization(draw: st.DrawFn) -> tuple[Array, Array, Array, dict[str, Any], int]:
    """X, scale, zero point, attributes, opset: whole tensor, along an axis, by blocks."""
    opset = draw(st.sampled_from(tuple(INTEGERS)))
    dtype = draw(st.sampled_from(INTEGERS[opset]))
    axis = draw(st.sampled_from((-1, 0, 1, 2)))
    kind = draw(
        st.sampled_from(
            {10: ["tensor"], 13: ["tensor", "axis"], 19: ["tensor", "axis"]}.get(opset, ["tensor", "axis", "block"])
        )
    )
    rng = np.random.default_rng(draw(seeds))
    shape = (2, 4, 6)
    scale_shape = {
        "tensor": (),
        "axis": (shape[axis],),
        "block": tuple(n // 2 if k == axis % 3 else n for k, n in enumerate(shape)),
    }
    scale = positive_scales(rng, scale_shape[kind], np.float32)
    info = np.iinfo(dtype)
    zero_point = np.asarray(rng.integers(info.min, info.max, scale.shape, endpoint=True)).astype(dtype)
    attributes = {"tensor": {}, "axis": {"axis": axis}, "block": {"axis": axis, "block_size": 2}}[kind]
    if kind == "tensor":
        along, zeros = scale, zero_point
    elif kind == "axis":
        view = [-1 if k == axis % 3 else 1 for k in range(3)]
        along, zeros = scale.reshape(view), zero_point.reshape(view)
    else:
        along, zeros = np.repeat(scale, 2, axis), np.repeat(zero_point, 2, axis)
    grid = rng.integers(info.min - 9, info.max + 9, shape).astype(np.float64)
    x = near(rng, grid, np.asarray(along), np.asarray(zeros), np.float32)
    # What a NaN, or a number beyond int32, becomes is up to the engine.
    x = np.where(np.abs(np.nan_to_num(x, nan=np.inf)) < 2**20 * along, x, np.float32(0.5)).astype(np.float32)
    return x, scale, zero_point, attributes, opset


@given(linear_quantization())
@examples(200)
def test_quantize_linear_is_exact(case: tuple[Array, Array, Array, dict[str, Any], int]) -> None:
    x, scale, zero_point, attributes, opset = case
    (ours,) = run_kernel("QuantizeLinear", [x, scale, zero_point], attributes, opset=opset)
    (theirs,) = run_ort("QuantizeLinear", [x, scale, zero_point], attributes, opset=opset)
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


@given(linear_quantization())
@examples(200)
def test_dequantize_linear_is_exact(case: tuple[Array, Array, Array, dict[str, Any], int]) -> None:
    x, scale, zero_point, attributes, opset = case
    (q,) = run_kernel("QuantizeLinear", [x, scale, zero_point], attributes, opset=opset)
    (ours,) = run_kernel("DequantizeLinear", [q, scale, zero_point], attributes, opset=opset)
    (theirs,) = run_ort("DequantizeLinear", [q, scale, zero_point], attributes, opset=opset)
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


def test_dequantize_linear_of_accumulators() -> None:
    q = np.int32([-(2**31), -5, 0, 7, 2**24 + 1, 2**31 - 1])
    (ours,) = run_kernel("DequantizeLinear", [q, np.float32(0.3)], {}, opset=13)
    np.testing.assert_array_equal(ours, run_ort("DequantizeLinear", [q, np.float32(0.3)], {}, opset=13)[0])


@pytest.mark.parametrize("dtype", [ml_dtypes.int4, ml_dtypes.uint4])
def test_quantize_linear_to_four_bits(dtype: Any) -> None:
    x = np.arange(-12, 20, 0.25, np.float32)
    zero_point = np.asarray(3, dtype)
    (q,) = run_kernel("QuantizeLinear", [x, np.float32(1), zero_point], {})
    low, high = (-8, 7) if dtype is ml_dtypes.int4 else (0, 15)
    np.testing.assert_array_equal(q.astype(np.float32), np.clip(np.rint(x) + 3, low, high))
    (back,) = run_kernel("DequantizeLinear", [q, np.float32(1), zero_point], {})
    np.testing.assert_array_equal(back, q.astype(np.float32) - 3)


def test_dynamic_quantize_linear() -> None:
    assert_close_to_ort("DynamicQuantizeLinear", [X], opset=11, outputs=3)


def test_integer_products() -> None:
    a, w = np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4), np.arange(9, dtype=np.uint8).reshape(1, 1, 3, 3)
    assert_close_to_ort("ConvInteger", [a, w, np.uint8(3).reshape(())], {"pads": [1, 1, 1, 1]}, opset=10)
    assert_close_to_ort("MatMulInteger", [a[0, 0], a[0, 0], np.array(3, np.uint8), np.array(5, np.uint8)], opset=10)


# Shapes ------------------------------------------------------------------------------------------------------------

SCALES = st.sampled_from((0.3, 0.5, 0.6, 0.7, 1.0, 1.3, 1.7, 2.0, 3.0))


@given(
    st.sampled_from(("nearest", "linear")),
    st.sampled_from(("half_pixel", "asymmetric", "pytorch_half_pixel")),
    st.sampled_from((11, 13, 18, 19)),
    st.tuples(SCALES, SCALES),
    st.sampled_from((7, 10, 15)),
)
@examples(120)
def test_resize_by_scales_has_the_size_of_float32_products(
    mode: str, coordinates: str, opset: int, scales: tuple[float, float], side: int
) -> None:
    x = np.random.default_rng(7).standard_normal((1, 2, side, 10)).astype(np.float32)
    attributes = {"mode": mode, "coordinate_transformation_mode": coordinates, "nearest_mode": "floor"}
    inputs = [x, np.float32([]), np.float32([1, 1, *scales])]
    (ours,) = run_kernel("Resize", inputs, attributes, opset=opset)
    (theirs,) = run_ort("Resize", inputs, attributes, opset=opset)
    assert ours.shape == theirs.shape
    # A source coordinate that is a whole number but for float32 rounding may be floored to either neighbour.
    agreeing = np.isclose(ours, theirs, rtol=1e-4, atol=1e-4)
    assert agreeing.all() if mode == "linear" else agreeing.mean() > 0.6


def test_resize_to_sizes() -> None:
    assert_close_to_ort("Resize", [X, None, None, np.int64([2, 3, 8, 7])], {"mode": "linear"}, opset=13)
    assert_close_to_ort("Resize", [X, None, None, np.int64([8, 7])], {"mode": "linear", "axes": [2, 3]}, opset=18)
    assert_close_to_ort("Resize", [X, None, np.float32([2, 1.5])], {"mode": "cubic", "axes": [2, 3]}, opset=18)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("scales", [[1, 1, 2, 2], [1, 1, 2, 3], [1, 1, 0.5, 0.6], [1, 1, 1, 1]])
def test_resize_10_and_upsample(mode: str, scales: list[float]) -> None:
    assert_close_to_ort("Resize", [X, np.float32(scales)], {"mode": mode}, opset=10)
    if min(scales) >= 1:
        assert_close_to_ort("Upsample", [X, np.float32(scales)], {"mode": mode}, opset=9)
        assert_close_to_ort("Upsample", [X], {"mode": mode, "scales": [float(s) for s in scales]}, opset=7)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_pad(mode: str) -> None:
    pads = [0, 1, 2, 3, 0, 2, 1, 0]
    assert_close_to_ort("Pad", [X], {"mode": mode, "pads": pads}, opset=9)
    value = np.float32(1.5).reshape(()) if mode == "constant" else None
    assert_close_to_ort("Pad", [X, np.int64(pads), value], {"mode": mode}, opset=13)
    assert_close_to_ort("Pad", [X, np.int64([1, 2, 0, 1]), value, np.int64([3, -2])], {"mode": mode}, opset=18)


def test_split_by_attribute_by_input_and_evenly() -> None:
    assert_close_to_ort("Split", [X], {"axis": 1}, opset=9, outputs=3)
    assert_close_to_ort("Split", [X], {"axis": -1, "split": [2, 3]}, opset=11, outputs=2)
    assert_close_to_ort("Split", [X, np.int64([1, 3])], {"axis": 2}, opset=13, outputs=2)
    assert_close_to_ort("Split", [X], {"axis": 3, "num_outputs": 2}, opset=18, outputs=2)


def test_old_spellings() -> None:
    assert_close_to_ort("Clip", [X], {"min": -0.5, "max": 0.5}, opset=6)
    assert_close_to_ort("Clip", [X, None, np.array(0.1, np.float32)], opset=13)
    assert_close_to_ort("Slice", [X], {"starts": [0, 1], "ends": [9, -1], "axes": [2, 3]}, opset=9)
    assert_close_to_ort("Squeeze", [X[:1]], {"axes": [0]}, opset=11)
    assert_close_to_ort("Unsqueeze", [X], {"axes": [0, -1]}, opset=11)
    assert_close_to_ort("TopK", [X], {"k": 2, "axis": 2}, opset=9, outputs=2)
    assert_close_to_ort("Dropout", [X], opset=9)
    assert_close_to_ort("Flatten", [X], {"axis": 2}, opset=9)


def test_float16_results_are_rounded_once() -> None:
    x = np.full(4096, 0.125, np.float16)
    (total,) = run_kernel("ReduceSum", [x, np.int64([0])], {"keepdims": 0}, opset=13)
    assert total.dtype == np.float16
    assert total == 512
    (third,) = run_kernel("Reciprocal", [np.array([3], np.float16)], {}, opset=13)
    assert third.item() == np.float16(1 / 3)


def test_what_depends_on_the_type_of_a_division_is_not_widened() -> None:
    x, scale = np.float32([2.5 * 0.1]), np.float32(0.1)  # in float64 the quotient is not a tie
    (q,) = run_kernel("QuantizeLinear", [x, scale, np.array(0, np.int8)], {}, opset=13)
    assert q.item() == np.rint(x / scale).item() == 2
    (y,) = run_kernel("Div", [np.float32([1]), np.float32([3])], {})
    assert y.dtype == np.float32


def test_global_max_pool_of_any_rank() -> None:
    for rank in (3, 4, 5):
        x = np.random.default_rng(rank).standard_normal((2, 3, 4, 5, 2)[:rank]).astype(np.float32)
        assert_close_to_ort("GlobalMaxPool", [x])


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("axis", [-1, 1])
def test_lp_normalization_sums_magnitudes(p: int, axis: int) -> None:
    assert_close_to_ort("LpNormalization", [X], {"p": p, "axis": axis})
    zero = np.zeros((2, 3), np.float32)
    np.testing.assert_array_equal(run_kernel("LpNormalization", [zero], {"p": p})[0], zero)


@pytest.mark.parametrize("opset", [10, 13, 19, 21, 23])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
def test_quantize_linear_saturates_however_large_the_quotient_is(dtype: Any, opset: int) -> None:
    x = np.float32([-np.inf, -3e38, -1e10, -(2.0**31), -1.5, -0.5, 0.5, 2.5, 2.0**31, 1e10, 3e38, np.inf])
    scale, zero_point = np.float32(1), dtype(3)
    info = np.iinfo(dtype)
    exact = [np.clip(np.round(v) + 3, int(info.min), int(info.max)) for v in x.astype(np.float64)]
    (y,) = run_kernel("QuantizeLinear", [x, scale, zero_point], {}, opset=opset)
    np.testing.assert_array_equal(y, np.asarray(exact).astype(dtype))


def test_quantize_linear_by_axis_and_by_blocks() -> None:
    x = X * 30
    zero_point = np.asarray([-3, 0, 100], np.int8)
    assert_close_to_ort("QuantizeLinear", [x, np.float32([0.25, 0.5, 2.0]), zero_point], {"axis": 1})
    blocks = np.abs(x[:, :, ::2]) / 10 + np.float32(0.5)
    assert_close_to_ort("QuantizeLinear", [x, blocks, blocks.astype(np.int8)], {"axis": 2, "block_size": 2})


def test_quantize_linear_divides_in_float16_unless_told_the_precision() -> None:
    x, scale = np.float16([30.25, -77.0, 65504.0]), np.float16(0.1)
    (y,) = run_kernel("QuantizeLinear", [x, scale, np.int16(1)], {}, opset=23)
    np.testing.assert_array_equal(y[:2], np.rint(x[:2] / scale) + 1)
    assert y[2] == np.iinfo(np.int16).max
    (precise,) = run_kernel("QuantizeLinear", [x, scale, np.int16(1)], {"precision": 1}, opset=23)
    np.testing.assert_array_equal(precise[:2], np.rint(x[:2].astype(np.float32) / np.float32(scale)) + 1)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("op_type", ["Gemm", "MatMul"])
def test_infinite_products_do_not_warn(op_type: str) -> None:
    x = np.float32([[np.inf, -np.inf], [1, 0]])
    (y,) = run_kernel(op_type, [x, np.ones((2, 2), np.float32)], {})
    assert np.isnan(y[0]).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", [(2, 0), (0, 3), (0,)])
def test_means_over_nothing_do_not_warn(shape: tuple[int, ...]) -> None:
    x, scale = np.zeros(shape, np.float32), np.zeros(shape[-1:], np.float32)
    for op_type, inputs, attributes in (
        ("RMSNormalization", [x, scale], {}),
        ("MeanVarianceNormalization", [x], {"axes": [0]}),
        ("ReduceMean", [x], {}),
    ):
        (y,) = run_kernel(op_type, inputs, attributes, opset=23)
        assert y.shape == (x.shape if "Normalization" in op_type else (1,) * x.ndim)
        assert not y.size or np.isnan(y).all()


@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax", "Hardmax"])
def test_kernels_that_call_kernels_take_nothing(op_type: str) -> None:
    (y,) = run_kernel(op_type, [np.zeros((0, 3), np.float32)], {}, opset=11)
    assert y.shape == (0, 3)


@pytest.mark.parametrize("shape", [(2, 4), (8,)])
def test_n_grams_skip_no_more_items_than_a_row_has(shape: tuple[int, ...]) -> None:
    given = {
        "mode": "TF",
        "min_gram_length": 1,
        "max_gram_length": 2,
        "ngram_counts": [0, 2],
        "ngram_indexes": [0, 1, 2, 3],
        "pool_int64s": [1, 2, 1, 2, 2, 1],
    }
    x = np.random.default_rng(1).integers(1, 3, shape)
    endless = run_kernel("TfIdfVectorizer", [x], {**given, "max_skip_count": 2**60})
    np.testing.assert_array_equal(endless[0], run_ort("TfIdfVectorizer", [x], {**given, "max_skip_count": 20})[0])
