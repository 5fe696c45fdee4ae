"""Calls that the specifications allow, drawn by hypothesis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
from hypothesis import strategies as st

from tests.ops.standard.checks.variants import MICROSOFT, Variant

_LEVELS = {
    np.int8: 10,
    np.uint8: 10,
    ml_dtypes.float8_e4m3fn: 19,
    ml_dtypes.float8_e5m2: 19,
    np.int16: 21,
    np.uint16: 21,
    ml_dtypes.int4: 21,
    ml_dtypes.uint4: 21,
    ml_dtypes.float4_e2m1fn: 23,
    ml_dtypes.int2: 25,
    ml_dtypes.uint2: 25,
}
_HALF_SINCE, _MIXED_SINCE, _PER_AXIS_SINCE, _BLOCKED_SINCE = 19, 23, 13, 21
_SIDES = st.integers(1, 5)
_BYTES = st.sampled_from([np.int8, np.uint8])


def _ones(shape: Sequence[int], dtype: Any) -> np.ndarray:
    return np.ones(tuple(shape), dtype)


@st.composite
def _granularity(draw: st.DrawFn, shape: Sequence[int], opset: int) -> tuple[tuple[int, ...], dict[str, int]]:
    """The shape of a scale, and the attributes that say how it lies on the tensor."""
    rank = len(shape)
    kinds = ["scalar", "one"] + ["axis"] * (opset >= _PER_AXIS_SINCE and rank > 0)
    match draw(st.sampled_from(kinds + ["blocks"] * (opset >= _BLOCKED_SINCE and rank > 0))):
        case "scalar":
            given = {"axis": draw(st.integers(-9, 9))} if opset >= _PER_AXIS_SINCE and draw(st.booleans()) else {}
            return (), given
        case "one":
            return (1,), {}
        case kind:
            axis = draw(st.integers(-rank, rank - 1))
            if kind == "axis":
                return (shape[axis],), {"axis": axis}
            block = draw(st.integers(1, shape[axis] + 2))
            blocks = list(shape)
            blocks[axis] = -(-shape[axis] // block)
            if blocks == [1]:  # ONNX Runtime takes it for a scalar
                return (1,), {}
            return tuple(blocks), {"axis": axis, "block_size": block}


@st.composite
def linear(draw: st.DrawFn) -> Variant:
    """QuantizeLinear or DequantizeLinear, of every version, granularity and type."""
    opset = draw(st.sampled_from([10, 11, 13, 19, 20, 21, 22, 23, 24, 25]))
    shape = draw(st.lists(_SIDES, max_size=4))
    size, attributes = draw(_granularity(shape, opset))
    level = draw(st.sampled_from([k for k, since in _LEVELS.items() if since <= opset]))
    real = draw(st.sampled_from([np.float32, np.float16])) if opset >= _HALF_SINCE else np.float32
    floating = np.dtype(level).name.startswith("float")  # ONNX Runtime wants its zero points to be 0
    given = [(np.zeros if floating else np.ones)(size, level)] if draw(st.booleans()) else []
    if draw(st.booleans()):
        x = _ones(shape, draw(st.sampled_from([level, np.int32])) if not given else level)
        return Variant("DequantizeLinear", (x, _ones(size, real), *given), attributes, opset)
    source = draw(st.sampled_from([np.float32, np.float16])) if opset >= _MIXED_SINCE else real
    if opset >= _HALF_SINCE:
        attributes["saturate"] = draw(st.integers(0, 1))
    return Variant("QuantizeLinear", (_ones(shape, source), _ones(size, real), *given), attributes, opset)


@st.composite
def _window(draw: st.DrawFn, axes: int, *, dilated: bool = True) -> tuple[list[int], list[int], dict[str, Any]]:
    """Input sizes, kernel sizes and attributes of a window that fits."""
    kernel = draw(st.lists(st.integers(1, 3), min_size=axes, max_size=axes))
    attributes: dict[str, Any] = {}
    dilations = [1] * axes
    if draw(st.booleans()):
        attributes["strides"] = draw(st.lists(st.integers(1, 3), min_size=axes, max_size=axes))
    if dilated and draw(st.booleans()):
        dilations = attributes["dilations"] = draw(st.lists(st.integers(1, 2), min_size=axes, max_size=axes))
    pads = [0] * (2 * axes)
    match draw(st.sampled_from(["pads", "auto", "none"])):
        case "pads":
            pads = attributes["pads"] = [draw(st.integers(0, k - 1)) for k in kernel * 2]
        case "auto" if all(d == 1 for d in dilations) and "strides" not in attributes:
            attributes["auto_pad"] = draw(st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
        case _:
            pass
    spatial = [
        max(1, (k - 1) * d + 1 - pads[i] - pads[i + axes]) + draw(st.integers(0, 3))
        for i, (k, d) in enumerate(zip(kernel, dilations, strict=True))
    ]
    return spatial, kernel, attributes


@st.composite
def convolutions(draw: st.DrawFn) -> Variant:
    """Conv, ConvTranspose, ConvInteger or QLinearConv of any geometry."""
    kind = draw(st.sampled_from(["Conv", "ConvTranspose", "ConvInteger", "QLinearConv"]))
    opset = draw(st.sampled_from([11, 13, 21, 22]))
    axes = draw(st.integers(1, 2 if kind == "ConvInteger" else 3))
    spatial, kernel, attributes = draw(_window(axes))
    group, per, out = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    attributes["group"] = group
    if draw(st.booleans()):
        attributes["kernel_shape"] = kernel
    x, rows = (draw(st.integers(1, 2)), group * per, *spatial), group * out
    biased = draw(st.booleans())
    if kind == "ConvTranspose":
        if min(spatial) <= 2 * max(attributes.get("pads", [0])):
            attributes.pop("pads", None)  # they might leave nothing
        inputs = [_ones(x, np.float32), _ones((group * per, out, *kernel), np.float32)]
        return Variant(kind, (*inputs, *([_ones((rows,), np.float32)] * biased)), attributes, opset)
    weights = (rows, per, *kernel)
    if kind == "Conv":
        inputs = [_ones(x, np.float32), _ones(weights, np.float32)]
        return Variant(kind, (*inputs, *([_ones((rows,), np.float32)] * biased)), attributes, opset)
    a, b = draw(_BYTES), draw(_BYTES)
    if kind == "ConvInteger":
        zeros = [_ones(draw(st.sampled_from([(), (1,)])), t) for t in (a, b)]
        return Variant(kind, (_ones(x, a), _ones(weights, b), *zeros), attributes, opset)
    size = draw(st.sampled_from([(), (1,), (rows,)]))
    one = draw(st.sampled_from([(), (1,)]))
    activations = [_ones(x, a), _ones(one, np.float32), _ones(one, a)]
    parameters = [_ones(weights, b), _ones(size, np.float32), _ones(size, b)]
    bias = [_ones((rows,), np.int32)] * biased
    return Variant(kind, (*activations, *parameters, _ones(one, np.float32), _ones(one, a), *bias), attributes, opset)


@st.composite
def pools(draw: st.DrawFn) -> Variant:
    """MaxPool, AveragePool or LpPool of any geometry, or a global one."""
    kind = draw(st.sampled_from(["MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool"]))
    spatial, kernel, attributes = draw(_window(draw(st.integers(1, 3)), dilated=kind == "MaxPool"))
    if kind.startswith("Global"):
        return Variant(kind, (_ones((1, 2, *spatial), np.float32),))
    attributes["kernel_shape"] = kernel
    if kind != "LpPool" and draw(st.booleans()):
        attributes["ceil_mode"] = draw(st.integers(0, 1))
    return Variant(kind, (_ones((1, 2, *spatial), np.float32),), attributes, draw(st.sampled_from([12, 18, 21, 22])))


@st.composite
def matrices(draw: st.DrawFn) -> Variant:
    """QLinearMatMul, MatMulInteger and ONNX Runtime's products, with parameters by column."""
    batch = draw(st.lists(_SIDES, max_size=2))
    m, k, n = draw(_SIDES), draw(_SIDES), draw(_SIDES)
    a, b = (*batch, m, k), (*batch, k, n)
    left, right = draw(_BYTES), draw(_BYTES)
    column = draw(st.sampled_from([(), (1,), (*batch, 1, n)] + [(n,)] * (not batch)))
    one = draw(st.sampled_from([(), (1,)]))
    kind = draw(st.sampled_from(["MatMul", "Gemm", "MatMulInteger", "QLinearMatMul", "QGemm", "DynamicQuantizeMatMul"]))
    match kind:
        case "MatMul":
            return Variant(kind, (_ones(a, np.float32), _ones(b if draw(st.booleans()) else b[-2:], np.float32)))
        case "Gemm":
            flags = {name: draw(st.integers(0, 1)) for name in ("transA", "transB")}
            sides = [s[::-1] if f else s for s, f in zip(((m, k), (k, n)), flags.values(), strict=True)]
            bias = draw(st.sampled_from([(), (1,), (n,), (m, 1), (1, n), (m, n)]))
            return Variant(kind, tuple(_ones(s, np.float32) for s in (*sides, bias)), flags)
        case "MatMulInteger":
            return Variant(kind, (_ones(a, left), _ones(b, right), _ones(one, left), _ones(column, right)))
        case "QLinearMatMul":
            x = [_ones(a, left), _ones(one, np.float32), _ones(one, left)]
            w = [_ones(b, right), _ones(column, np.float32), _ones(column, right)]
            return Variant(
                kind, (*x, *w, _ones(one, np.float32), _ones(one, left)), {}, draw(st.sampled_from([10, 21]))
            )
        case _:
            size = draw(st.sampled_from([(), (n,)]))
            w = [_ones((k, n), right), _ones(size, np.float32), _ones(size, right)]
    if kind == "QGemm":
        return Variant(kind, (_ones((m, k), left), _ones((), np.float32), _ones((), left), *w), domain=MICROSOFT)
    bias = [_ones((n,), np.float32)] * draw(st.booleans())
    return Variant(kind, (_ones((*batch, m, k), np.float32), *w, *bias), domain=MICROSOFT)


@st.composite
def packed(draw: st.DrawFn) -> Variant:
    """MatMulNBits and GatherBlockQuantized of every width and block size."""
    bits, block = draw(st.sampled_from([2, 4, 8])), draw(st.sampled_from([16, 32, 64]))
    if draw(st.booleans()):
        rows, terms = draw(_SIDES), draw(st.integers(1, 100))
        blocks = -(-terms // block)
        kinds = [None, (np.uint8, -(-blocks * bits // 8)), *([(np.float32, blocks)] * (bits == 4))]
        zeros = draw(st.sampled_from(kinds))
        shape = draw(st.sampled_from([(rows, blocks), (rows * blocks,)]))
        inputs = [_ones((2, terms), np.float32), _ones((rows, blocks, block * bits // 8), np.uint8)]
        given = None if zeros is None else _ones((rows, zeros[1]), zeros[0])
        bias = [None, _ones((rows,), np.float32)] if draw(st.booleans()) else []
        attributes = {"K": terms, "N": rows, "bits": bits, "block_size": block}
        call = (*inputs, _ones(shape, np.float32), given, *bias)
        return Variant("MatMulNBits", call, attributes, domain=MICROSOFT)
    length = draw(st.integers(1, 4)) * block
    rows = draw(_SIDES)
    indices = np.zeros(2, draw(st.sampled_from([np.int32, np.int64])))
    attributes = {"gather_axis": 0, "quantize_axis": draw(st.sampled_from([1, -1])), "block_size": block}
    scales = _ones((rows, length // block), np.float32)
    if bits == 4 and draw(st.booleans()):
        data = _ones((rows, length), ml_dtypes.uint4)
        return Variant("GatherBlockQuantized", (data, indices, scales), attributes, domain=MICROSOFT)
    data = _ones((rows, length * bits // 8), np.uint8)
    return Variant("GatherBlockQuantized", (data, indices, scales), {**attributes, "bits": bits}, domain=MICROSOFT)


@st.composite
def byte_operators(draw: st.DrawFn) -> Variant:
    """QLinearAdd, QLinearMul, QLinearSigmoid, QLinearConcat."""
    shape, kind = draw(st.lists(_SIDES, min_size=1, max_size=3)), draw(_BYTES)
    tensor = [_ones(shape, kind), _ones((), np.float32), _ones((), kind)]
    match draw(st.sampled_from(["QLinearAdd", "QLinearMul", "QLinearSigmoid", "QLinearConcat"])):
        case "QLinearSigmoid":
            return Variant("QLinearSigmoid", (*tensor, *tensor[1:]), domain=MICROSOFT)
        case "QLinearConcat":
            axis = draw(st.integers(-len(shape), len(shape) - 1))
            return Variant("QLinearConcat", (*tensor[1:], *tensor, *tensor), {"axis": axis}, domain=MICROSOFT)
        case name:
            other = [1 if draw(st.booleans()) else d for d in shape][draw(st.integers(0, len(shape) - 1)) :]
            return Variant(name, (*tensor, _ones(other, kind), *tensor[1:], *tensor[1:]), domain=MICROSOFT)


calls = st.one_of(linear(), convolutions(), pools(), matrices(), packed(), byte_operators())
