"""QuantizeLinear and what follows from it."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from tests.ops.standard.sweep.case import Case, case, integers, normal, positive, scalar


def _linear() -> list[Case]:
    x = normal(3, 4, 6) * 40
    cases: list[Case] = []
    for dtype, since in ((np.uint8, 10), (np.int8, 10), (np.uint16, 21), (np.int16, 21)):
        zero = scalar(3, dtype)
        q = integers(3, 4, 6, low=0, high=100, dtype=dtype)
        cases += [
            case("QuantizeLinear", x, scalar(0.3), zero, since=since),
            case("DequantizeLinear", q, scalar(0.3), zero, since=since),
        ]
        after = max(since, 13)
        for axis in (0, 1, 2, -1):
            n = x.shape[axis]
            cases += [case("QuantizeLinear", x, positive(n), integers(n, low=0, dtype=dtype), since=after, axis=axis)]
            cases += [case("DequantizeLinear", q, positive(n), integers(n, low=0, dtype=dtype), since=after, axis=axis)]
        for axis, shape in ((0, (1, 4, 6)), (1, (3, 2, 6)), (2, (3, 4, 3)), (-1, (3, 4, 2))):
            block = x.shape[axis] // shape[axis]
            at = {"since": max(since, 21), "axis": axis, "block_size": block}
            cases += [case("QuantizeLinear", x, positive(*shape), integers(*shape, low=0, dtype=dtype), **at)]
            cases += [case("DequantizeLinear", q, positive(*shape), integers(*shape, low=0, dtype=dtype), **at)]
    cases += [
        case("QuantizeLinear", x, scalar(0.3), since=10),
        case("QuantizeLinear", x, positive(4), since=13),
        case("DequantizeLinear", integers(3, 4, dtype=np.int8), scalar(0.3), since=10),
    ]
    cases += [
        case("DequantizeLinear", integers(3, 4, low=-(10**6), high=10**6, dtype=np.int32), scalar(0.3), since=10),
        case("QuantizeLinear", normal(), scalar(0.3), scalar(2, np.int8), since=10),
        case("QuantizeLinear", normal(0, 3), scalar(0.3), scalar(2, np.int8), since=10),
    ]
    cases += [
        case("QuantizeLinear", x, scalar(0.3), since=21, output_dtype=3),
        case("QuantizeLinear", x.astype(np.float16), scalar(0.25, np.float16), scalar(1, np.int8), since=19),
        case("DequantizeLinear", integers(3, 4, dtype=np.int8), scalar(0.25, np.float16), scalar(1, np.int8), since=19),
    ]
    for name in ("float8_e4m3fn", "float8_e5m2"):
        dtype = getattr(ml_dtypes, name)
        cases += [case("QuantizeLinear", x, scalar(0.3), np.zeros((), dtype), since=19, saturate=s) for s in (0, 1)]
        cases += [case("DequantizeLinear", normal(9).astype(dtype), scalar(0.3), np.zeros((), dtype), since=19)]
    cases += [
        case("DynamicQuantizeLinear", v, since=11, outputs=3)
        for v in (x, np.abs(x), -np.abs(x), np.zeros((2, 2), np.float32), normal(5))
    ]
    return cases


def _quantized_products() -> list[Case]:
    x, w = integers(1, 4, 5, 5, low=0, high=255, dtype=np.uint8), integers(6, 4, 3, 3, low=-60, high=60, dtype=np.int8)
    tail = (scalar(0.5), scalar(100, np.uint8))
    head = (x, scalar(0.02), scalar(120, np.uint8), w)
    cases = [
        case("QLinearConv", *head, scalar(0.01), scalar(0, np.int8), *tail, since=10, **at)
        for at in ({}, {"pads": [1, 1, 1, 1]}, {"strides": [2, 2]}, {"auto_pad": "SAME_UPPER", "strides": [2, 2]})
    ]
    cases += [
        case(
            "QLinearConv",
            *head,
            positive(6) / np.float32(100),
            np.zeros(6, np.int8),
            *tail,
            integers(6, low=-999, high=999, dtype=np.int32),
            since=10,
        )
    ]
    a, b = integers(3, 5, low=0, high=255, dtype=np.uint8), integers(5, 4, low=-60, high=60, dtype=np.int8)
    cases += [
        case(
            "QLinearMatMul",
            a,
            scalar(0.02),
            scalar(120, np.uint8),
            b,
            scalar(0.01),
            scalar(0, np.int8),
            scalar(0.1),
            scalar(100, np.uint8),
            since=10,
        )
    ]
    cases += [
        case(
            "QLinearMatMul",
            a,
            scalar(0.02),
            scalar(120, np.uint8),
            b,
            positive(4) / np.float32(100),
            np.zeros(4, np.int8),
            scalar(0.1),
            scalar(100, np.uint8),
            since=10,
        )
    ]
    return cases


CASES = [*_linear(), *_quantized_products()]
