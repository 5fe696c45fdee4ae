"""Calls of QuantizeLinear and DequantizeLinear that a clause of their specification forbids."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import ml_dtypes
import numpy as np
from onnx import TensorProto

from tests.ops.standard.checks.variants import MICROSOFT, Variant, floats, signed, sums, unsigned

_X = signed(4, 6)


def _dequantize(*inputs, rule, opset=21, runs="", domain="", output_type=0, **attributes) -> Variant:
    kind = "DequantizeLinear"
    return Variant(kind, (_X, *inputs), attributes, opset, domain, rule, runs, output_type=output_type)


def _both(*parameters, rule, opset=21, runs="", **attributes) -> Iterator[Variant]:
    """The same scale and zero point for both operators."""
    yield _dequantize(*parameters, rule=rule, opset=opset, runs=runs, **attributes)
    yield Variant("QuantizeLinear", (floats(4, 6), *parameters), attributes, opset, "", rule, runs)


def _shapes() -> Iterator[Variant]:
    for opset in (10, 11, 12):
        text = "the scale is a scalar"
        yield from _both(floats(6), signed(6), rule="scale-shape", opset=opset, runs=text)
    for opset in (13, 19, 21, 23, 24, 25):
        yield from _both(floats(5), signed(5), rule="scale-shape", opset=opset)
        yield from _both(floats(5), rule="scale-shape", opset=opset)
        yield from _both(floats(6), rule="scale-shape", opset=opset, axis=0)
        yield from _both(floats(4, 1), rule="scale-shape", opset=opset)
        yield from _both(floats(1, 1), rule="scale-shape", opset=opset)
        yield from _both(floats(0), rule="scale-shape", opset=opset)
        yield from _both(floats(6), rule="axis", opset=opset, axis=2)
        yield from _both(floats(6), rule="axis", opset=opset, axis=-3)
        yield from _both(floats(6), signed(), rule="zero-point-shape", opset=opset)
        yield from _both(floats(), signed(6), rule="zero-point-shape", opset=opset)
        yield from _both(floats(6), signed(4), rule="zero-point-shape", opset=opset)
    yield Variant("DequantizeLinear", (signed(8), floats(8)), {}, rule="axis")
    yield Variant("QuantizeLinear", (floats(), floats(2)), {}, rule="axis")


def _blocks() -> Iterator[Variant]:
    for opset in (21, 23, 24, 25):
        for shape in ((4, 4), (4, 2), (3, 3), (1, 3), (4, 3, 1), (12,)):
            yield from _both(floats(*shape), rule="block-size", opset=opset, block_size=2)
        for shape in ((3, 6), (2, 3), (4, 3)):
            yield from _both(floats(*shape), rule="block-size", opset=opset, block_size=2, axis=0)
        yield from _both(floats(4, 3), signed(4, 2), rule="zero-point-shape", opset=opset, block_size=2)
        yield from _both(floats(4, 3), rule="axis", opset=opset, block_size=2, axis=2)
        yield from _both(floats(4, 3), rule="block-size", opset=opset, block_size=-2)
        for shape in ((), (1,), (6,)):
            yield from _both(floats(*shape), rule="block-size", opset=opset, block_size=4)
        yield from _both(floats(4, 3), rule="scale-shape", opset=opset)
    yield Variant("DequantizeLinear", (signed(8), floats(1)), {"block_size": 4, "axis": 0}, rule="block-size")


def _types() -> Iterator[Variant]:
    x = floats(4, 6)
    one = floats()
    kinds = {
        np.int16: 21,
        np.uint16: 21,
        ml_dtypes.int4: 21,
        ml_dtypes.uint4: 21,
        ml_dtypes.float8_e4m3fn: 19,
        ml_dtypes.float8_e5m2: 19,
        ml_dtypes.float4_e2m1fn: 23,
        ml_dtypes.int2: 25,
        ml_dtypes.uint2: 25,
    }
    for kind, since in kinds.items():
        for opset in (o for o in (10, 13, 19, 21, 23, 24) if o < since):
            yield Variant("QuantizeLinear", (x, one, np.zeros((), kind)), {}, opset, rule="element-type")
            yield Variant("DequantizeLinear", (np.zeros((4, 6), kind), one), {}, opset, rule="element-type")
    for opset in (10, 13, 19, 21, 23, 25):
        yield Variant("QuantizeLinear", (x, floats(dtype=np.float64)), {}, opset, rule="element-type")
        yield Variant("QuantizeLinear", (floats(4, 6, dtype=np.float64), one), {}, opset, rule="element-type")
        yield Variant("QuantizeLinear", (x, one, sums()), {}, opset, rule="element-type")
        yield Variant("QuantizeLinear", (x, one, one), {}, opset, rule="element-type")
        yield Variant("DequantizeLinear", (_X, one, unsigned()), {}, opset, rule="element-type")
        yield Variant("DequantizeLinear", (_X, floats(dtype=np.float64)), {}, opset, rule="element-type")
        yield Variant("DequantizeLinear", (floats(4, 6), one), {}, opset, rule="element-type")
        yield Variant("DequantizeLinear", (np.ones((4, 6), np.int64), one), {}, opset, rule="element-type")
    for opset in (10, 13):
        half = floats(dtype=np.float16)
        yield Variant("QuantizeLinear", (floats(4, 6, dtype=np.float16), half), {}, opset, rule="element-type")
        yield Variant("DequantizeLinear", (_X, half), {}, opset, rule="element-type")
    for opset in (19, 21):
        yield Variant("QuantizeLinear", (x, floats(dtype=np.float16)), {}, opset, rule="element-type")
        yield Variant("QuantizeLinear", (sums(4, 6), one), {}, opset, rule="element-type")
    text = "a tensor of int32 has no zero point"
    for opset in (10, 13, 19, 21, 25):
        call = Variant("DequantizeLinear", (sums(4, 6), one, sums(value=3)), {}, opset, rule="zero-point")
        yield replace(call, runs=text)


def _attributes() -> Iterator[Variant]:
    x, one = floats(4, 6), floats()
    for opset in (21, 23, 24, 25):
        for number in (TensorProto.FLOAT, TensorProto.INT32, TensorProto.BOOL, 99, -1):
            yield Variant("QuantizeLinear", (x, one), {"output_dtype": number}, opset, rule="output-type")
        differs = {"output_dtype": TensorProto.UINT8}
        yield Variant("QuantizeLinear", (x, one, signed()), differs, opset, rule="output-type")
    for opset in (23, 24, 25):
        for number in (TensorProto.DOUBLE, TensorProto.INT8, TensorProto.INT32, 99):
            yield Variant("QuantizeLinear", (x, one), {"precision": number}, opset, rule="output-type")
        for number in (TensorProto.DOUBLE, TensorProto.INT8, 99):
            yield Variant("DequantizeLinear", (_X, one), {"output_dtype": number}, opset, rule="output-type")
    for opset in (19, 21, 25):
        truth = "a flag"
        yield Variant("QuantizeLinear", (x, one), {"saturate": 2}, opset, rule="attribute", runs=truth)
        yield Variant("QuantizeLinear", (x, one), {"saturate": -1}, opset, rule="attribute", runs=truth)
    later = {"axis": (10,), "saturate": (10, 13), "block_size": (13, 19), "output_dtype": (13, 19), "precision": (21,)}
    for name, opsets in later.items():
        for opset in opsets:
            yield Variant("QuantizeLinear", (x, one), {name: 1}, opset, rule="attribute")
    yield Variant("DequantizeLinear", (_X, one), {"output_dtype": TensorProto.FLOAT}, 21, rule="attribute")
    yield Variant("DequantizeLinear", (_X, one), {"saturate": 1}, 21, rule="attribute")
    yield Variant("QuantizeLinear", (x, floats(6)), {"axis": 1.0}, rule="attribute")
    yield Variant("QuantizeLinear", (x, floats(6)), {"axis": [1]}, rule="attribute")
    yield Variant("QuantizeLinear", (x,), {}, rule="inputs")
    yield Variant("QuantizeLinear", (x, None, signed()), {}, rule="inputs")
    yield Variant("QuantizeLinear", (x, one, signed(), signed()), {}, rule="inputs")
    yield Variant("QuantizeLinear", (x, one), {}, rule="outputs", outputs=2)
    yield Variant("DynamicQuantizeLinear", (x,), {}, rule="outputs", outputs=2)
    yield Variant("DynamicQuantizeLinear", (x, unsigned()), {}, rule="inputs", outputs=3)
    yield Variant("DynamicQuantizeLinear", (unsigned(4),), {}, rule="element-type", outputs=3)
    yield Variant("DynamicQuantizeLinear", (floats(4, dtype=np.float16),), {}, rule="element-type", outputs=3)
    yield Variant("DynamicQuantizeLinear", (x,), {}, 10, rule="operator", outputs=3)


def _vendor() -> Iterator[Variant]:
    def vendor(*inputs, rule, runs="", **attributes) -> Variant:
        return _dequantize(*inputs, rule=rule, runs=runs, domain=MICROSOFT, **attributes)

    yield vendor(floats(5), rule="scale-shape", axis=1)
    yield vendor(floats(6), rule="axis", axis=2)
    yield vendor(floats(4, 1), rule="scale-shape", axis=0)
    yield vendor(floats(6), signed(), rule="zero-point-shape", axis=1)
    yield vendor(floats(6), rule="axis", runs="without axis it is per tensor")
    yield vendor(floats(4, 3), rule="attribute", axis=1, block_size=2)
    yield vendor(floats(), unsigned(), rule="element-type")
    for x, scale in ((sums(4, 6), floats()), (floats(4, 6), floats(dtype=np.float16))):
        yield Variant("QuantizeLinear", (x, scale), {}, domain=MICROSOFT, rule="element-type")
    yield Variant("QuantizeLinear", (floats(4, 6), floats(5)), {"axis": 1}, domain=MICROSOFT, rule="scale-shape")


VARIANTS = (*_shapes(), *_blocks(), *_types(), *_attributes(), *_vendor())
