"""MatMul, Gemm, BatchNormalization and LRN against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ops.standard.running import assert_accumulates_like_ort, assert_close_to_ort, run_kernel
from tests.strategies import examples, flags, seeds

FACTORS = st.sampled_from((1.0, 0.5, 0.1, -2.0, 0.0))
SHAPES_OF_C = st.sampled_from((None, (), (1,), (4,), (3, 1), (1, 4), (3, 4)))


@given(flags, flags, FACTORS, FACTORS, SHAPES_OF_C, seeds)
@examples(150)
def test_gemm(
    trans_a: int, trans_b: int, alpha: float, beta: float, c: tuple[int, ...] | None, seed: list[int]
) -> None:
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((5, 3) if trans_a else (3, 5)).astype(np.float32)
    b = rng.standard_normal((4, 5) if trans_b else (5, 4)).astype(np.float32)
    inputs = [a, b, *([] if c is None else [np.asarray(rng.standard_normal(c)).astype(np.float32)])]
    attributes = {"transA": trans_a, "transB": trans_b, "alpha": alpha, "beta": beta}
    assert_accumulates_like_ort("Gemm", inputs, attributes)


@pytest.mark.parametrize(
    ("left", "right"), [((3, 4), (4, 2)), ((4,), (4, 2)), ((3, 4), (4,)), ((2, 1, 3, 4), (5, 4, 2)), ((0, 4), (4, 2))]
)
def test_matmul(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal(shape).astype(np.float32) for shape in (left, right)]
    assert_accumulates_like_ort("MatMul", inputs, {})


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint32])
def test_matmul_of_integers_is_exact(dtype: Any) -> None:
    big = np.array([[2**30 + 1]], dtype)
    (y,) = run_kernel("MatMul", [big, np.array([[1]], dtype)], {})
    assert y.dtype == dtype
    assert y.item() == 2**30 + 1


@pytest.mark.parametrize("opset", [7, 9, 14, 15])
@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 3, 4, 5), (1, 3, 2, 2, 2)])
def test_batch_normalization(opset: int, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal(shape).astype(np.float32)
    scale, bias, mean = rng.standard_normal((3, 3)).astype(np.float32)
    variance = np.float32([1e-6, 0.5, 3.0])
    assert_close_to_ort("BatchNormalization", [x, scale, bias, mean, variance], {"epsilon": 1e-3}, opset=opset)


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("shape", [(1, 6, 2, 2), (3, 2, 4, 1)])
def test_lrn_sums_over_the_channels_around(size: int, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    assert_close_to_ort("LRN", [x], {"size": size, "alpha": 0.7, "beta": 0.6, "bias": 2.0})
