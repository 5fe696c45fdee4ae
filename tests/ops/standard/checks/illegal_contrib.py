"""Calls of ONNX Runtime's own operators that their documents forbid."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np

from tests.ops.standard.checks.variants import MICROSOFT, Variant, floats, signed, sums, unsigned


def _call(op_type: str, inputs: Any, rule: str, runs: str = "", **attributes: Any) -> Variant:
    return Variant(op_type, tuple(inputs), attributes, domain=MICROSOFT, rule=rule, runs=runs)


def _changed(inputs: tuple[Any, ...], changes: dict[int, Any]) -> tuple[Any, ...]:
    return tuple(changes.get(k, v) for k, v in enumerate(inputs))


def _four_bit(*shape: int) -> np.ndarray:
    return np.ones(shape, ml_dtypes.uint4)


def _matmul_nbits() -> Iterator[Variant]:
    good = (floats(3, 64), unsigned(5, 2, 16), floats(5, 2), None, None, None)
    sizes = {"K": 64, "N": 5, "bits": 4, "block_size": 32}
    for changes, rule in (
        ({2: floats(5, 1)}, "scale-shape"),
        ({2: floats(2, 5)}, "scale-shape"),
        ({2: floats(5, 2, 1)}, "scale-shape"),
        ({3: unsigned(5, 2)}, "zero-point-shape"),
        ({3: floats(5, 1)}, "zero-point-shape"),
        ({0: floats(3, 63)}, "operand-shape"),
        ({1: unsigned(5, 2, 15)}, "operand-shape"),
        ({1: unsigned(5, 32)}, "operand-shape"),
        ({1: unsigned(4, 2, 16)}, "operand-shape"),
        ({1: signed(5, 2, 16)}, "element-type"),
        ({0: floats(3, 64, dtype=np.float16)}, "element-type"),
        ({4: sums(63, value=0)}, "operand-shape"),
        ({4: sums(64, value=9)}, "operand-shape"),
        ({5: floats(4)}, "bias-shape"),
        ({5: floats(1, 5)}, "bias-shape"),
    ):
        yield _call("MatMulNBits", _changed(good, changes), rule, **sizes)
    halves = _changed(good, {3: floats(5, 2, dtype=np.float16)})
    yield _call("MatMulNBits", halves, "element-type", "bytes, or of the type of A", **sizes)
    for bits in (1, 3, 5, 6, 7, 9, 16):
        inputs = (floats(3, 64), unsigned(5, 2, 4 * bits), floats(5, 2))
        yield _call("MatMulNBits", inputs, "attribute", **{**sizes, "bits": bits})
    for block in (8, 24, 0, -32):
        yield _call("MatMulNBits", good[:3], "block-size", **{**sizes, "block_size": block})
    for name, value in (("K", 0), ("N", -5), ("K", 65)):
        rule = "operand-shape" if value == 65 else "attribute"
        yield _call("MatMulNBits", good[:3], rule, **{**sizes, name: value})
    for name in ("K", "N", "block_size"):
        yield _call("MatMulNBits", good[:3], "attribute", **{k: v for k, v in sizes.items() if k != name})
    yield _call("MatMulNBits", good[:3], "attribute", "one of 0 to 4", accuracy_level=5, **sizes)
    yield _call("MatMulNBits", good[:3], "attribute", unknown=1, **sizes)


def _gather() -> Iterator[Variant]:
    indices = np.array([0, 1], np.int64)
    axes = {"gather_axis": 0, "quantize_axis": 1, "block_size": 16}
    for inputs, rule, changes in (
        ((_four_bit(4, 32), indices, floats(4, 3)), "scale-shape", {}),
        ((_four_bit(4, 32), indices, floats(8)), "scale-shape", {}),
        ((_four_bit(4, 32), indices, floats(4, 4)), "block-size", {"block_size": 8}),
        ((_four_bit(4, 32), indices, floats(4, 2)), "block-size", {"block_size": 24}),
        ((_four_bit(4, 32), indices, floats(4, 1)), "block-size", {"block_size": 0}),
        ((_four_bit(4, 32), indices, floats(4, 2)), "axis", {"quantize_axis": 2}),
        ((_four_bit(4, 32), indices, floats(4, 2)), "axis", {"gather_axis": 2}),
        ((_four_bit(4, 32), indices, floats(4, 2), _four_bit(4, 1)), "zero-point-shape", {}),
        ((_four_bit(4, 32), indices, floats(4, 2), unsigned(4, 2)), "element-type", {}),
        ((_four_bit(4, 32), indices, floats(4, 2)), "attribute", {"bits": 8}),
        ((unsigned(4, 16), indices, floats(4, 2)), "attribute", {"bits": 3}),
        ((unsigned(4, 16), indices, floats(4, 2), unsigned(4, 2)), "zero-point-shape", {"bits": 4}),
        ((unsigned(4, 16), indices, floats(4, 2)), "axis", {"bits": 4, "gather_axis": 1}),
        ((unsigned(32, 2), indices, floats(2, 4)), "axis", {"bits": 4, "quantize_axis": 0}),
    ):
        yield _call("GatherBlockQuantized", inputs, rule, **{**axes, **changes})


def _bytes() -> Iterator[Variant]:
    good = (unsigned(2, 3), floats(), unsigned(), unsigned(2, 3), floats(), unsigned(), floats(), unsigned())
    for kind in ("QLinearAdd", "QLinearMul"):
        for changes, rule in (
            ({1: floats(3)}, "scale-shape"),
            ({1: floats(1)}, "scale-shape"),
            ({2: unsigned(3)}, "zero-point-shape"),
            ({6: floats(3)}, "scale-shape"),
            ({3: unsigned(4)}, "operand-shape"),
            ({3: signed(2, 3)}, "element-type"),
            ({2: signed()}, "element-type"),
            ({1: None}, "inputs"),
        ):
            yield _call(kind, _changed(good, changes), rule)
    image = (unsigned(1, 4, 6, 6), floats(), unsigned(), floats(), unsigned())
    for changes, rule, kernel in (
        ({}, "kernel-shape", [2]),
        ({1: floats(4)}, "scale-shape", [2, 2]),
        ({4: signed()}, "element-type", [2, 2]),
    ):
        yield _call("QLinearAveragePool", _changed(image, changes), rule, kernel_shape=kernel)
    for changes, rule in (
        ({0: unsigned(2, 3)}, "operand-shape"),
        ({1: floats(4)}, "scale-shape"),
        ({2: None}, "inputs"),
    ):
        yield _call("QLinearGlobalAveragePool", _changed(image, changes), rule)
    unary = (unsigned(2, 3), floats(), unsigned(), floats(), unsigned())
    for kind in ("QLinearLeakyRelu", "QLinearSigmoid"):
        yield _call(kind, _changed(unary, {1: floats(3)}), "scale-shape")
        yield _call(kind, _changed(unary, {2: unsigned(3)}), "zero-point-shape")
        yield _call(kind, _changed(unary, {3: floats(3)}), "scale-shape")
    yield _call("QLinearSoftmax", unary, "axis", axis=2, opset=13)
    yield _call("QLinearSoftmax", unary, "attribute", axis=1)
    part = (unsigned(2, 3), floats(), unsigned())
    whole = (floats(), unsigned(), *part, *part)
    lax = "one scale a tensor"
    for changes, rule, runs in (
        ({5: unsigned(3, 3)}, "operand-shape", ""),
        ({5: signed(2, 3), 7: signed()}, "element-type", ""),
        ({3: floats(3)}, "operand-shape", lax),
    ):
        yield _call("QLinearConcat", _changed(whole, changes), rule, runs, axis=1)
    yield _call("QLinearConcat", whole[:-1], "inputs", axis=1)
    yield _call("QLinearConcat", whole, "axis", axis=2)
    chosen = (np.ones((2, 3), bool), *part, *part, floats(), unsigned())
    yield _call("QLinearWhere", _changed(chosen, {1: unsigned(4, 3)}), "operand-shape")
    yield _call("QLinearWhere", _changed(chosen, {2: floats(3)}), "scale-shape", lax)


def _products() -> Iterator[Variant]:
    a, b = floats(3, 5), signed(5, 7)
    for inputs, rule in (
        ((a, b, floats(5)), "scale-shape"),
        ((a, signed(4, 7), floats()), "operand-shape"),
        ((a, b, floats(), None, floats(6)), "bias-shape"),
        ((a, b, floats(), None, floats(1)), "bias-shape"),
        ((a, b, floats(dtype=np.float16)), "element-type"),
    ):
        yield _call("DynamicQuantizeMatMul", inputs, rule)
    u = unsigned(3, 5)
    for inputs, rule in (
        ((u, b, floats(5), floats()), "scale-shape"),
        ((u, b, floats(3), floats()), "scale-shape"),
        ((u, b, floats(), floats(5)), "scale-shape"),
        ((u, b, floats(), floats(), unsigned(3)), "zero-point-shape"),
        ((u, signed(4, 7), floats(), floats()), "operand-shape"),
        ((u, b, floats(), floats(), None, None, floats(6)), "bias-shape"),
    ):
        yield _call("MatMulIntegerToFloat", inputs, rule)
    good = (u, floats(), unsigned(), b, floats(), signed(), None, floats(), unsigned())
    both = "both or none"
    for changes, rule, runs in (
        ({3: signed(4, 7)}, "operand-shape", ""),
        ({0: unsigned(1, 3, 5)}, "operand-shape", ""),
        ({1: floats(3)}, "scale-shape", ""),
        ({4: floats(7)}, "zero-point-shape", ""),
        ({4: floats(5), 5: signed(5)}, "scale-shape", ""),
        ({6: sums(4)}, "bias-shape", ""),
        ({7: None}, "inputs", both),
    ):
        yield _call("QGemm", _changed(good, changes), rule, runs)
    packed = (floats(3, 64), unsigned(160), floats(10))
    sizes = {"K": 64, "N": 5, "block_size": 32, "quant_type": 1}
    for changes, rule, attributes, runs in (
        ({1: unsigned(161)}, "operand-shape", {}, "the size is not looked at"),
        ({2: floats(9)}, "operand-shape", {}, ""),
        ({0: floats(3, 63)}, "operand-shape", {}, ""),
        ({}, "attribute", {"quant_type": 2}, ""),
        ({}, "block-size", {"block_size": 24}, ""),
    ):
        yield _call("MatMulBnb4", _changed(packed, changes), rule, runs, **{**sizes, **attributes})


def _attention() -> Iterator[Variant]:
    good = (unsigned(1, 3, 8), signed(8, 24), floats(24), floats(), floats(), None, unsigned(), signed())
    for changes, rule, heads in (
        ({}, "operand-shape", 3),
        ({}, "attribute", 0),
        ({2: floats(8)}, "bias-shape", 2),
        ({1: signed(7, 24)}, "operand-shape", 2),
        ({1: signed(8, 23), 2: floats(23)}, "operand-shape", 2),
        ({0: unsigned(3, 8)}, "operand-shape", 2),
        ({3: floats(8)}, "scale-shape", 2),
        ({4: floats(23)}, "scale-shape", 2),
        ({6: unsigned(8)}, "zero-point-shape", 2),
        ({5: sums(3)}, "operand-shape", 2),
    ):
        yield _call("QAttention", _changed(good, changes), rule, num_heads=heads)
    yield _call("QAttention", (*good, floats(2, 1, 2, 3, 5)), "operand-shape", num_heads=2)
    lstm = (floats(3, 1, 4), unsigned(1, 4, 20), unsigned(1, 5, 20), *[None] * 5, floats(1), unsigned(1), floats(1))
    for changes in ({1: unsigned(1, 4, 19)}, {2: unsigned(1, 5, 19)}, {8: floats(2)}, {8: floats(1, 19)}):
        rule = "scale-shape" if 8 in changes else "operand-shape"
        yield _call("DynamicQuantizeLSTM", (*_changed(lstm, changes), unsigned(1)), rule, hidden_size=5)


VARIANTS = (*_matmul_nbits(), *_gather(), *_bytes(), *_products(), *_attention())
