"""Where ONNX Runtime has no kernel, or departs from the standard: formulas, brute force and the standard's examples."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tests.ops.standard.running import run_kernel
from tests.ops.standard.sweep.case import ints, normal, positive


@pytest.mark.parametrize("value", [3.0, 0.0])
def test_the_places_of_a_scalar_have_no_coordinates(value: float) -> None:
    """The standard gives NonZero of a scalar the shape (0, N), ONNX Runtime (1, N)."""
    (y,) = run_kernel("NonZero", [np.array(value, np.float32)], {}, opset=13)
    assert y.shape == (0, int(value != 0))


def test_max_unpool_counts_places_in_the_image_that_was_pooled() -> None:
    """An example of the standard's test suite; ONNX Runtime counts places in the larger output."""
    x, places = np.float32([[[[5, 6], [7, 8]]]]), np.array([[[[5, 7], [13, 15]]]])
    attributes = {"kernel_shape": [2, 2], "strides": [2, 2]}
    (y,) = run_kernel("MaxUnpool", [x, places, ints(1, 1, 5, 5)], attributes, opset=11)
    expected = np.zeros((1, 1, 5, 5), np.float32)
    expected[0, 0, [1, 1, 3, 3], [1, 3, 1, 3]] = [5, 6, 7, 8]
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 8])
def test_lrn_over_an_even_number_of_channels(size: int) -> None:
    """ONNX Runtime takes odd numbers only."""
    x = normal(2, 6, 3)
    (y,) = run_kernel("LRN", [x], {"size": size, "alpha": 0.5, "beta": 0.75, "bias": 2.0}, opset=13)
    for n, c, k in np.ndindex(*x.shape):
        around = range(max(0, c - (size - 1) // 2), min(5, c + -(-(size - 1) // 2)) + 1)
        total = sum(float(x[n, other, k]) ** 2 for other in around)
        assert y[n, c, k] == pytest.approx(x[n, c, k] / (2 + 0.5 / size * total) ** 0.75, rel=1e-6)


@pytest.mark.parametrize("op_type", ["Resize", "Upsample"])
def test_integers_between_equal_ones_are_the_same(op_type: str) -> None:
    """A third and two thirds of an integer are the integer, which ONNX Runtime sometimes cuts off to the one below."""
    x = np.repeat(np.arange(-50, 51, dtype=np.int8), 2)[None, None]
    opset, scales = (9, [1, 1, 3]) if op_type == "Upsample" else (11, [1, 1, 3])
    inputs = [x, np.float32(scales)] if op_type == "Upsample" else [x, None, np.float32(scales)]
    (y,) = run_kernel(op_type, inputs, {"mode": "linear"}, opset=opset)
    values = x[0, 0].astype(object)
    for p, value in enumerate(y[0, 0].tolist()):
        place = Fraction(p, 3) if op_type == "Upsample" else Fraction(2 * p + 1, 6) - Fraction(1, 2)
        place = min(max(place, Fraction(0)), Fraction(len(values) - 1))
        low = math.floor(place)
        high = min(low + 1, len(values) - 1)
        assert value == math.trunc(values[low] + (values[high] - values[low]) * (place - low))


@pytest.mark.parametrize("alpha", [None, 0.5])
def test_swiglu(alpha: float | None) -> None:
    """Y = A * sigmoid(alpha * A) * B; ONNX Runtime has no kernel."""
    a, b = normal(2, 3), normal(2, 3) + 1
    (y,) = run_kernel("SwiGLU", [a, b], {} if alpha is None else {"alpha": alpha}, opset=28)
    wide = a.astype(np.float64)
    np.testing.assert_allclose(y, wide / (1 + np.exp(-(alpha or 1) * wide)) * b, rtol=1e-6)
    assert y.dtype == np.float32


# Activations of recurrent layers that have parameters: what those are if not given, as of the operators of that name.
_DEFAULTS = {
    "Affine": lambda x: x,
    "ScaledTanh": np.tanh,
    "ThresholdedRelu": lambda x: np.where(x >= 1, x, 0),
    "LeakyRelu": lambda x: np.where(x < 0, 0.01 * x, x),
    "HardSigmoid": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "Elu": lambda x: np.where(x < 0, np.exp(x) - 1, x),
}


@pytest.mark.parametrize("name", _DEFAULTS)
def test_activations_have_the_parameters_of_the_operators(name: str) -> None:
    """ONNX Runtime takes 0 for those of Affine, ScaledTanh and ThresholdedRelu."""
    x, w, r = normal(3, 2, 4), normal(1, 5, 4), normal(1, 5, 5)
    y, _ = run_kernel("RNN", [x, w, r], {"hidden_size": 5, "activations": [name]}, opset=14, outputs=2)
    h = np.zeros((2, 5))
    for t in range(3):
        h = _DEFAULTS[name](x[t].astype(np.float64) @ w[0].T + h @ r[0].T)
        np.testing.assert_allclose(y[t, 0], h, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("op_type", "gates"), [("RNN", 1), ("GRU", 3), ("LSTM", 4)])
def test_recurrent_layers_with_the_batch_first(op_type: str, gates: int, direction: str) -> None:
    """ONNX Runtime has no kernel for layout 1."""
    d, outputs = (2 if direction == "bidirectional" else 1), (3 if op_type == "LSTM" else 2)
    weights = [normal(d, 5 * gates, 2), normal(d, 5 * gates, 5), normal(d, 10 * gates), np.int32([4, 1, 3])]
    x, states = normal(4, 3, 2), [normal(d, 3, 5)] * (outputs - 1)
    attributes = {"hidden_size": 5, "direction": direction}
    steps_first = run_kernel(op_type, [x, *weights, *states], attributes, opset=14, outputs=outputs)
    swapped = [np.swapaxes(s, 0, 1) for s in states]
    inputs = [np.swapaxes(x, 0, 1), *weights, *swapped]
    y, *last = run_kernel(op_type, inputs, {**attributes, "layout": 1}, opset=14, outputs=outputs)
    np.testing.assert_array_equal(y, steps_first[0].transpose(2, 0, 1, 3))
    for ours, expected in zip(last, steps_first[1:], strict=True):
        np.testing.assert_array_equal(ours, np.swapaxes(expected, 0, 1))


def test_states_of_a_cell_are_not_clipped() -> None:
    """With wide open gates an LSTM counts; `clip` bounds the gates, not the count."""
    x, zeros = np.zeros((3, 1, 1), np.float32), np.zeros((1, 4, 1), np.float32)
    bias = np.float32([[50, 50, 50, 50, 0, 0, 0, 0]])
    attributes = {"hidden_size": 1, "clip": 40.0, "activations": ["Sigmoid", "Relu", "Affine"]}
    _, _, c = run_kernel("LSTM", [x, zeros, zeros, bias], attributes, opset=14, outputs=3)
    assert c.item() == 120


_SINGLE: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "AveragePool": ([normal(1, 2, 5, 5)], {"kernel_shape": [3, 3]}),
    "BatchNormalization": ([normal(2, 3, 4), *([positive(3)] * 4)], {}),
    "Conv": ([normal(1, 2, 5, 5), normal(3, 2, 3, 3), normal(3)], {}),
    "ConvTranspose": ([normal(1, 2, 5, 5), normal(2, 3, 3, 3)], {}),
    "CumSum": ([normal(9), np.array(0)], {}),
    "Erf": ([normal(9)], {}),
    "Exp": ([normal(9)], {}),
    "Gelu": ([normal(9)], {}),
    "Gemm": ([normal(3, 4), normal(4, 2), normal(2)], {}),
    "GlobalAveragePool": ([normal(1, 2, 5, 5)], {}),
    "GRU": ([normal(3, 2, 4), normal(1, 15, 4), normal(1, 15, 5)], {"hidden_size": 5}),
    "LayerNormalization": ([normal(3, 8), normal(8), normal(8)], {}),
    "LSTM": ([normal(3, 2, 4), normal(1, 20, 4), normal(1, 20, 5)], {"hidden_size": 5}),
    "LpPool": ([normal(1, 2, 5, 5)], {"kernel_shape": [3, 3]}),
    "MatMul": ([normal(3, 4), normal(4, 2)], {}),
    "ReduceL2": ([normal(3, 40), ints(1)], {}),
    "ReduceLogSumExp": ([normal(3, 40), ints(1)], {}),
    "ReduceMean": ([normal(3, 40), ints(1)], {}),
    "ReduceSum": ([normal(3, 40), ints(1)], {}),
    "Resize": ([normal(1, 1, 4, 4), None, np.float32([1, 1, 1.5, 1.5])], {"mode": "cubic"}),
    "Sigmoid": ([normal(9)], {}),
    "Softmax": ([normal(3, 8)], {}),
    "Tanh": ([normal(9)], {}),
}


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32])
@pytest.mark.parametrize("op_type", _SINGLE)
def test_narrow_types_are_computed_in_float64_and_rounded_once(op_type: str, dtype: Any) -> None:
    """ONNX Runtime computes float16 in float32, and has few kernels for bfloat16."""
    arrays, attributes = _SINGLE[op_type]
    narrow = [x.astype(dtype) if x is not None and x.dtype == np.float32 else x for x in arrays]
    wide = [x.astype(np.float64) if x is not None and x.dtype == dtype else x for x in narrow]
    if op_type == "Resize":  # its scales are float32 whatever X is
        narrow[2] = wide[2] = arrays[2]
    (ours,) = run_kernel(op_type, narrow, attributes, opset=22)
    (exact,) = run_kernel(op_type, wide, attributes, opset=22)
    assert ours.dtype == dtype
    np.testing.assert_array_equal(ours, exact.astype(dtype))
