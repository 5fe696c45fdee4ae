"""Calls of ONNX Runtime's contributed operators on random bytes, and what it makes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from tests.strategies import Array

VENDOR = "com.microsoft"


@dataclass(frozen=True)
class Call:
    """One node and its inputs; the tensors are inputs of the model where they are named, else initializers."""

    op_type: str
    inputs: list[Array | None]
    attributes: dict[str, Any] = field(default_factory=dict[str, Any])
    fed: tuple[int, ...] = (0,)

    @property
    def feeds(self) -> dict[str, Array]:
        """What the model is fed."""
        return {f"i{k}": np.asarray(self.inputs[k]) for k in self.fed}

    def proto(self, *, opset: int = 21) -> onnx.ModelProto:
        """The model; its output has no type, and its inputs have no shape but their rank."""
        given = {f"i{k}": np.asarray(a) for k, a in enumerate(self.inputs) if a is not None}
        names = ["" if a is None else f"i{k}" for k, a in enumerate(self.inputs)]
        node = helper.make_node(self.op_type, names, ["y"], name="call", domain=VENDOR, **self.attributes)
        types = {n: helper.np_dtype_to_tensor_dtype(given[n].dtype) for n in self.feeds}
        graph = helper.make_graph(
            [node],
            "calls",
            [helper.make_tensor_value_info(n, t, given[n].shape) for n, t in types.items()],
            [onnx.ValueInfoProto(name="y")],
            [onnx.numpy_helper.from_array(a, n) for n, a in given.items() if n not in types],
        )
        imports = [helper.make_opsetid("", opset), helper.make_opsetid(VENDOR, 1)]
        return helper.make_model(graph, opset_imports=imports, ir_version=10)

    def expected(self) -> Array:
        """What ONNX Runtime makes of it, without any optimisation."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(self.proto().SerializeToString(), options, ["CPUExecutionProvider"])
        return session.run(None, self.feeds)[0]


Make = Callable[[np.random.Generator, Any], Call]


def every_byte(dtype: Any) -> Array:
    """All 256 bytes in order."""
    info = np.iinfo(dtype)
    return np.arange(info.min, info.max + 1).astype(dtype)


def some_bytes(rng: np.random.Generator, dtype: Any, *shape: int) -> Array:
    """Random bytes."""
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max + 1, shape).astype(dtype)


def scale(rng: np.random.Generator, low: float = 0.01, high: float = 0.2, *shape: int) -> Array:
    """Random scales."""
    return np.asarray(rng.uniform(low, high, shape), np.float32)


def zero(rng: np.random.Generator, dtype: Any) -> Array:
    """A zero point, one at the ends or in the middle more often than others."""
    info = np.iinfo(dtype)
    return np.asarray(rng.choice([info.min, info.min + 128, rng.integers(info.min, info.max + 1)]), dtype)


def ends(rng: np.random.Generator, dtype: Any, low: float = 0.01, high: float = 0.2) -> list[Array]:
    """Scale and zero point."""
    return [scale(rng, low, high), zero(rng, dtype)]


def _pair(op_type: str) -> Make:
    def make(rng: np.random.Generator, dtype: Any) -> Call:
        shapes = [((256, 1), (1, 256)), ((4, 256), (4, 256)), ((4, 1, 1), (2, 4, 5, 7)), ((2, 4, 5, 7), (7,)),
                  ((), (3, 5)), ((3, 5), ()), ((3, 1, 4), (2, 1)), ((1,), (1,)), ((2, 1, 4), (3, 1))]  # fmt: skip
        first, second = shapes[rng.integers(len(shapes))]
        a, b = some_bytes(rng, dtype, *first), some_bytes(rng, dtype, *second)
        if first == (256, 1):
            a, b = every_byte(dtype).reshape(first), every_byte(dtype).reshape(second)
        low = 0.01 if op_type == "QLinearAdd" else 0.1
        inputs = [a, *ends(rng, dtype), b, *ends(rng, dtype), *ends(rng, dtype, low, 20 * low)]
        return Call(op_type, inputs, fed=(0, 3))

    return make


def _unary(op_type: str, **attributes: Any) -> Make:
    def make(rng: np.random.Generator, dtype: Any) -> Call:
        return Call(op_type, [every_byte(dtype).reshape(16, 16), *ends(rng, dtype), *ends(rng, dtype)], attributes)

    return make


def average_pool(rng: np.random.Generator, dtype: Any) -> Call:
    """Any form of it; ties are frequent, since half of the scales are the same at both ends."""
    rank = int(rng.integers(1, 4))
    kernel = [int(k) for k in rng.integers(1, 4, rank)]
    attributes: dict[str, Any] = {"kernel_shape": kernel, "count_include_pad": int(rng.integers(2))}
    attributes |= {"ceil_mode": int(rng.integers(2)), "channels_last": int(rng.integers(2))}
    attributes["strides"] = [int(s) for s in rng.integers(1, 3, rank)]
    match rng.integers(3):
        case 0:
            attributes["pads"] = [int(rng.integers(k)) for k in kernel] * 2
        case 1:
            attributes["auto_pad"] = str(rng.choice(["SAME_UPPER", "SAME_LOWER", "VALID"]))
        case _:
            pass
    sizes = [int(s) for s in rng.integers(5, 9, rank)]
    x = some_bytes(rng, dtype, 2, *([*sizes, 3] if attributes["channels_last"] else [3, *sizes]))
    source = scale(rng)
    y = source if rng.integers(2) else np.float32(source * rng.uniform(0.3, 1))
    return Call("QLinearAveragePool", [x, source, zero(rng, dtype), y, zero(rng, dtype)], attributes)


def _global_average(rng: np.random.Generator, dtype: Any) -> Call:
    x = some_bytes(rng, dtype, 2, 6, 7, 5)
    source = scale(rng)
    y = source if rng.integers(2) else np.float32(source * rng.uniform(0.1, 1))
    inputs: list[Array | None] = [x, source, zero(rng, dtype), y, zero(rng, dtype)]
    return Call("QLinearGlobalAveragePool", inputs, {"channels_last": int(rng.integers(2))})


def softmax(rng: np.random.Generator, dtype: Any) -> Call:
    """Along any axis, for either opset."""
    x = some_bytes(rng, dtype, *[int(s) for s in rng.integers(3, 11, int(rng.integers(1, 4)))])
    axis = int(rng.integers(-x.ndim, x.ndim))
    y = [np.float32(1 / 256) if rng.integers(2) else scale(rng, 1 / 300, 1 / 50), zero(rng, dtype)]
    attributes = {"opset": int(rng.choice([12, 13]))} | ({"axis": axis} if rng.integers(4) else {})
    return Call("QLinearSoftmax", [x, *ends(rng, dtype, 0.001, 0.1), *y], attributes)


def _concat(rng: np.random.Generator, dtype: Any) -> Call:
    parts = [some_bytes(rng, dtype, 4, int(rng.integers(1, 9))) for _ in range(int(rng.integers(1, 4)))]
    inputs = [*ends(rng, dtype), *(a for p in parts for a in (p, *ends(rng, dtype)))]
    return Call("QLinearConcat", inputs, {"axis": int(rng.choice([1, -1]))}, tuple(range(2, len(inputs), 3)))


def _where(rng: np.random.Generator, dtype: Any) -> Call:
    condition = np.asarray(rng.integers(0, 2, (16, 16)), np.bool_)
    a, b = every_byte(dtype).reshape(16, 16), some_bytes(rng, dtype, 1, 16)
    return Call(
        "QLinearWhere", [condition, a, *ends(rng, dtype), b, *ends(rng, dtype), *ends(rng, dtype)], fed=(0, 1, 4)
    )


def _weights(rng: np.random.Generator, dtype: Any, channels: int, *shape: int) -> tuple[Array, Array, Array]:
    """Weights below 7 bits, which no kernel saturates in 16 bits, with one scale or one a channel, and zero points."""
    size = (channels,) if rng.integers(2) else ()
    del dtype
    return rng.integers(-60, 61, shape).astype(np.int8), scale(rng, 0.01, 0.2, *size), np.zeros(size, np.int8)


def gemm(rng: np.random.Generator, dtype: Any, *, real: bool | None = None) -> Call:
    """With and without an output scale, C, transposition and a factor."""
    rows, terms, columns = (int(n) for n in rng.integers(1, 20, 3))
    attributes = {"transA": int(rng.integers(2)), "transB": int(rng.integers(2)), "alpha": float(rng.choice([1, 0.3]))}
    a = some_bytes(rng, dtype, *((terms, rows) if attributes["transA"] else (rows, terms)))
    b, b_scale, b_zero = _weights(
        rng, dtype, columns, *((columns, terms) if attributes["transB"] else (terms, columns))
    )
    bias = rng.integers(-3000, 3000, columns).astype(np.int32) if rng.integers(2) else None
    inputs: list[Array | None] = [a, *ends(rng, dtype), b, b_scale, b_zero, bias]
    is_real = bool(rng.integers(2)) if real is None else real
    return Call("QGemm", inputs if is_real else [*inputs, *ends(rng, dtype, 0.5, 5)], attributes)


def convolution(rng: np.random.Generator, dtype: Any) -> Call:
    """With channels last, in two groups."""
    x = some_bytes(rng, dtype, 2, 6, 5, 4)
    w, w_scale, w_zero = _weights(rng, dtype, 6, 6, 2, 3, 3)
    bias = rng.integers(-3000, 3000, 6).astype(np.int32) if rng.integers(2) else None
    inputs: list[Array | None] = [x, *ends(rng, dtype), w, w_scale, w_zero, *ends(rng, dtype, 0.5, 5), bias]
    return Call("QLinearConv", inputs, {"channels_last": 1, "pads": [1, 0, 1, 1], "strides": [2, 1], "group": 2})


def _to_float(rng: np.random.Generator, dtype: Any) -> Call:
    b, b_scale, b_zero = _weights(rng, dtype, 5, 7, 5)
    bias = rng.normal(size=5).astype(np.float32) if rng.integers(2) else None
    a_zero = zero(rng, np.uint8)
    return Call(
        "MatMulIntegerToFloat", [some_bytes(rng, np.uint8, 2, 4, 7), b, scale(rng), b_scale, a_zero, b_zero, bias]
    )


def _dynamic(rng: np.random.Generator, dtype: Any) -> Call:
    b, b_scale, _ = _weights(rng, dtype, 5, 7, 5)
    bias = rng.normal(size=5).astype(np.float32) if rng.integers(2) else None
    x = (3 * rng.normal(size=(4, 7))).astype(np.float32)
    return Call("DynamicQuantizeMatMul", [x, b, b_scale, None, bias])


def _max_pool(rng: np.random.Generator, dtype: Any) -> Call:
    return Call("NhwcMaxPool", [some_bytes(rng, dtype, 2, 6, 5, 3)], {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1]})


def _nbits(rng: np.random.Generator, dtype: Any) -> Call:
    """The identity as input, so that the weights come out without sums."""
    del dtype
    bits, terms, rows, block = int(rng.choice([2, 4])), 40, 6, 16
    w = some_bytes(rng, np.uint8, rows, 3, block * bits // 8)
    zeros: list[Array | None] = [None, some_bytes(rng, np.uint8, rows, -(-3 * bits // 8)), scale(rng, 0, 9, rows, 3)]
    bias = rng.normal(size=rows).astype(np.float32) if rng.integers(2) else None
    scales = scale(rng, -0.2, 0.2, rows, 3)
    inputs = [np.eye(terms, dtype=np.float32), w, scales, zeros[rng.integers(3)], None, bias]
    return Call("MatMulNBits", inputs, {"bits": bits, "block_size": block, "K": terms, "N": rows})


def _gather(rng: np.random.Generator, dtype: Any) -> Call:
    del dtype
    bits = int(rng.choice([2, 4, 8]))
    data = some_bytes(rng, np.uint8, 32, 64 * bits // 8)
    zeros = some_bytes(rng, np.uint8, 32, -(-4 * bits // 8)) if rng.integers(2) else None
    inputs = [data, np.array([[0, 31], [7, -1]]), scale(rng, 0.1, 1, 32, 4), zeros]
    return Call("GatherBlockQuantized", inputs, {"bits": bits, "block_size": 16, "quantize_axis": 1}, fed=(1,))


def _linear(op_type: str) -> Make:
    def make(rng: np.random.Generator, dtype: Any) -> Call:
        wide = np.uint16 if dtype is np.uint8 else np.int16
        x = some_bytes(rng, wide, 4, 5) if op_type == "DequantizeLinear" else rng.normal(size=(4, 5)).astype(np.float32)
        return Call(op_type, [x, scale(rng), np.asarray(rng.integers(0, 99), wide)])

    return make


CALLS: dict[str, Make] = {
    "DequantizeLinear": _linear("DequantizeLinear"),
    "DynamicQuantizeMatMul": _dynamic,
    "GatherBlockQuantized": _gather,
    "MatMulIntegerToFloat": _to_float,
    "MatMulNBits": _nbits,
    "NhwcMaxPool": _max_pool,
    "QGemm": gemm,
    "QLinearAdd": _pair("QLinearAdd"),
    "QLinearAveragePool": average_pool,
    "QLinearConcat": _concat,
    "QLinearConv": convolution,
    "QLinearGlobalAveragePool": _global_average,
    "QLinearLeakyRelu": _unary("QLinearLeakyRelu", alpha=0.2),
    "QLinearMul": _pair("QLinearMul"),
    "QLinearSigmoid": _unary("QLinearSigmoid"),
    "QLinearSoftmax": softmax,
    "QLinearWhere": _where,
    "QuantizeLinear": _linear("QuantizeLinear"),
}
"""What makes a random call, by operator."""
