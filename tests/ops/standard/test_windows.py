"""Convolution and pooling, every way to pad and to step, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.ops.standard.running import assert_accumulates_like_ort, assert_close_to_ort, run_kernel, run_ort
from tests.strategies import examples, seeds

AUTO_PADS = st.sampled_from(("NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"))


def _each(draw: st.DrawFn, rank: int, low: int, high: int) -> list[int]:
    return draw(st.lists(st.integers(low, high), min_size=rank, max_size=rank))


@st.composite
def windows(draw: st.DrawFn, *, pooling: bool) -> tuple[list[int], list[int], dict[str, Any]]:
    """Spatial shape, kernel shape and the attributes that all of Conv and the pools have."""
    rank = draw(st.integers(1, 3))
    kernel = _each(draw, rank, 1, 4 if rank < 3 else 2)
    dilations = _each(draw, rank, 1, 3 if rank < 3 else 2)
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    spatial = [e + extra for e, extra in zip(extent, _each(draw, rank, 0, 5), strict=True)]
    attributes: dict[str, Any] = {"strides": _each(draw, rank, 1, 3), "auto_pad": draw(AUTO_PADS)}
    if attributes["auto_pad"].startswith("SAME"):  # ONNX Runtime has no dilation here, and crops where a step is longer
        attributes["strides"] = [min(s, k) for s, k in zip(attributes["strides"], kernel, strict=True)]
    else:
        attributes["dilations"] = dilations
    if attributes["auto_pad"] == "NOTSET":
        most = [k - 1 for k in kernel] if pooling else [3] * rank
        attributes["pads"] = [draw(st.integers(0, m)) for m in most * 2]
    return spatial, kernel, attributes


@given(
    windows(pooling=False),
    st.sampled_from([(1, 1, 1), (1, 3, 2), (2, 2, 1), (2, 1, 3), (4, 1, 1)]),
    st.booleans(),
    seeds,
)
@examples(250)
def test_conv(window, groups: tuple[int, int, int], biased: bool, seed: list[int]) -> None:
    spatial, kernel, attributes = window
    group, inner, outer = groups
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2, group * inner, *spatial)).astype(np.float32)
    w = rng.standard_normal((group * outer, inner, *kernel)).astype(np.float32)
    inputs = [x, w, *([rng.standard_normal(group * outer).astype(np.float32)] if biased else [])]
    assert_accumulates_like_ort("Conv", inputs, {**attributes, "group": group})


@st.composite
def transposed(draw: st.DrawFn) -> tuple[list[int], list[int], dict[str, Any]]:
    rank = draw(st.integers(1, 2))
    kernel, dilations, strides = (_each(draw, rank, 1, high) for high in (4, 2, 3))
    spatial = _each(draw, rank, 1, 5)
    attributes: dict[str, Any] = {"strides": strides, "dilations": dilations}
    attributes["output_padding"] = [draw(st.integers(0, s - 1)) for s in strides]
    full = [
        (i - 1) * s + (k - 1) * d + 1 + o
        for i, s, k, d, o in zip(spatial, strides, kernel, dilations, attributes["output_padding"], strict=True)
    ]
    match draw(st.sampled_from(("pads", "output_shape", "VALID", "SAME_UPPER", "SAME_LOWER"))):
        case "pads":
            attributes["pads"] = _each(draw, 2 * rank, 0, 2)
            assume(all(f > b + e for f, b, e in zip(full, attributes["pads"], attributes["pads"][rank:], strict=False)))
        case "output_shape":
            attributes["output_shape"] = [draw(st.integers(max(1, f - 3), f)) for f in full]
            attributes["auto_pad"] = draw(st.sampled_from(("NOTSET", "SAME_UPPER", "SAME_LOWER")))
        case mode:
            attributes["auto_pad"] = mode
            if (
                mode != "VALID"
            ):  # ONNX Runtime makes less than `input * stride` where the kernel does not reach that far
                attributes["output_padding"] = [0] * rank
                kernel = [max(k, s) for k, s in zip(kernel, strides, strict=True)]
    return spatial, kernel, attributes


@given(transposed(), st.sampled_from([(1, 1, 1), (1, 3, 2), (2, 2, 1), (2, 1, 3)]), st.booleans(), seeds)
@examples(250)
def test_conv_transpose(window, groups: tuple[int, int, int], biased: bool, seed: list[int]) -> None:
    spatial, kernel, attributes = window
    group, inner, outer = groups
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2, group * inner, *spatial)).astype(np.float32)
    w = rng.standard_normal((group * inner, outer, *kernel)).astype(np.float32)
    inputs = [x, w, *([rng.standard_normal(group * outer).astype(np.float32)] if biased else [])]
    assert_accumulates_like_ort("ConvTranspose", inputs, {**attributes, "group": group})


@given(windows(pooling=True), st.sampled_from((0, 1)), st.sampled_from((np.float32, np.int8, np.uint8)), seeds)
@examples(250)
def test_max_pool(window, ceil_mode: int, dtype: Any, seed: list[int]) -> None:
    spatial, kernel, attributes = window
    x = (np.random.default_rng(seed).standard_normal((2, 2, *spatial)) * 50).astype(np.int32).astype(dtype)
    assert_close_to_ort("MaxPool", [x], {**attributes, "kernel_shape": kernel, "ceil_mode": ceil_mode})


@given(windows(pooling=True), st.sampled_from((0, 1)), st.sampled_from((0, 1)), seeds)
@examples(250)
def test_average_pool(window, ceil_mode: int, count_include_pad: int, seed: list[int]) -> None:
    spatial, kernel, attributes = window
    x = np.random.default_rng(seed).standard_normal((2, 2, *spatial)).astype(np.float32)
    attributes |= {"kernel_shape": kernel, "ceil_mode": ceil_mode, "count_include_pad": count_include_pad}
    assert_accumulates_like_ort("AveragePool", [x], attributes)


@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool"])
def test_a_window_that_starts_in_the_padding_beyond_the_input_is_dropped(op_type: str) -> None:
    x = np.arange(1, 5, dtype=np.float32).reshape(1, 1, 4)
    attributes = {"kernel_shape": [2], "strides": [3], "pads": [0, 1], "ceil_mode": 1}
    (ours,) = run_kernel(op_type, [x], attributes)
    assert ours.tolist() == run_ort(op_type, [x], attributes)[0].tolist()


@pytest.mark.parametrize("spatial", [(5,), (3, 4), (2, 3, 2)])
def test_global_average_pool(spatial: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, *spatial)).astype(np.float32)
    assert_close_to_ort("GlobalAveragePool", [x])


@pytest.mark.parametrize("op_type", ["Conv", "ConvTranspose"])
def test_float16_is_accumulated_wide_and_rounded_once(op_type: str) -> None:
    x = np.full((1, 4096, 1), 0.125, np.float16)
    w = np.ones((1, 4096, 1) if op_type == "Conv" else (4096, 1, 1), np.float16)
    (y,) = run_kernel(op_type, [x, w], {})
    assert y.dtype == np.float16
    assert y.item() == 512


def test_conv_sums_beyond_the_integers_of_float32() -> None:
    x = np.float32([[[2.0**24], [1.0], [1.0]]])
    (y,) = run_kernel("Conv", [x, np.ones((1, 3, 1), np.float32)], {})
    assert y.item() == 2.0**24 + 2
