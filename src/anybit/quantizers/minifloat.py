"""Minifloat: FloatQuant where its numbers are those of an ONNX element type, tried at every one of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.arrays import Array
from anybit.errors import Refusal
from anybit.graph.builder import NodeBuilder
from anybit.graph.walk import label
from anybit.ops.calls import call_of, findings_of
from anybit.ops.evaluate import evaluate_node
from anybit.ops.float_quant import FLOAT_QUANT
from anybit.ops.operator import DOMAIN
from anybit.quantizers.linear_parameters import Parameters, Scales, since

# Exponent bits, mantissa bits, bias and largest number of each type, and what it has beyond numbers.
_FORMATS: dict[ir.DataType, tuple[int, int, int, float]] = {
    ir.DataType.FLOAT8E4M3FN: (4, 3, 7, 448.0),
    ir.DataType.FLOAT8E4M3FNUZ: (4, 3, 8, 240.0),
    ir.DataType.FLOAT8E5M2: (5, 2, 15, 57344.0),
    ir.DataType.FLOAT8E5M2FNUZ: (5, 2, 16, 57344.0),
    ir.DataType.FLOAT6E2M3: (2, 3, 1, 7.5),
    ir.DataType.FLOAT6E3M2: (3, 2, 3, 28.0),
    ir.DataType.FLOAT4E2M1: (2, 1, 1, 6.0),
}
_WITHOUT_NAN = frozenset((ir.DataType.FLOAT6E2M3, ir.DataType.FLOAT6E3M2, ir.DataType.FLOAT4E2M1))
_WITHOUT_NEGATIVE_ZERO = frozenset((ir.DataType.FLOAT8E4M3FNUZ, ir.DataType.FLOAT8E5M2FNUZ))
_INFINITE = frozenset((ir.DataType.FLOAT8E5M2,))
_PARAMETERS = ("exponent_bitwidth", "mantissa_bitwidth", "exponent_bias", "max_val")


@dataclass(frozen=True)
class Minifloat:
    """y = scale * (x / scale as a number of `dtype`).

    Attributes:
        scale: float32, positive; broadcasts to x like numpy.
        dtype: Element type of the numbers.
        saturate: Whether what exceeds the largest number becomes it.
    """

    scale: Scales
    dtype: ir.DataType
    saturate: bool = True

    @property
    def has_negative_zero(self) -> bool:
        """Whether the element type has -0, as FloatQuant does."""
        return self.dtype not in _WITHOUT_NEGATIVE_ZERO

    @property
    def attributes(self) -> dict[str, int | str]:
        """Attributes of the FloatQuant that means the same."""
        infinite = int(self.dtype in _INFINITE)
        return {
            "has_inf": infinite,
            "has_nan": int(self.dtype not in _WITHOUT_NAN),
            "has_subnormal": 1,
            "saturation": int(self.saturate),
            "rounding_mode": "ROUND",
        }

    def __call__(self, x: Array) -> Array:
        """Y as FloatQuant means it."""
        return FLOAT_QUANT.evaluate([x, self.scale, *_arrays(self.dtype)], self.attributes)

    def numbers(self, x: Array) -> Array:
        """x / scale as QuantizeLinear rounds it, in the element type."""
        with np.errstate(all="ignore"):
            quotient = np.asarray(x.astype(np.float32) / self.scale)
        return _quantize(quotient, self.dtype, saturate=self.saturate)

    def dequantized(self, q: Array) -> Array:
        """q * scale, as DequantizeLinear computes it."""
        return np.asarray(q.astype(np.float32) * self.scale)


def _arrays(dtype: ir.DataType) -> list[Array]:
    return [np.asarray(p, np.float32) for p in _FORMATS[dtype]]


def minifloat_of(dtype: ir.DataType | None, parameters: Parameters, quantize: ir.Node | None) -> Minifloat | Refusal:
    """What QuantizeLinear and DequantizeLinear of a small float type mean."""
    if dtype not in _FORMATS or dtype is None:
        return Refusal(problem="element type", got="unknown" if dtype is None else dtype.name)
    if parameters.zero_point.any():
        return Refusal(problem="zero point of a float type", expected="0")
    saturate = quantize is None or bool(quantize.attributes.get_int("saturate", 1))
    if not _is_exact(dtype, saturate):
        return Refusal(problem="the element type and FloatQuant part", got=dtype.name)
    return Minifloat(parameters.scale, dtype, saturate)


def read_float_quant(node: ir.Node) -> Minifloat | Refusal:
    """The element type whose numbers a FloatQuant node of float32 has, or why there is none."""
    finding = next(iter(findings_of(node, FLOAT_QUANT)), None)
    if finding is not None:
        return Refusal(problem=finding.problem, node=label(node), got=finding.got, expected=finding.expected)
    x = node.inputs[0]
    if x is None or x.dtype != ir.DataType.FLOAT:
        got = "unknown" if x is None or x.dtype is None else x.dtype.name
        return Refusal(problem="element type of X", node=label(node), got=got, expected="FLOAT")
    call = call_of(node, FLOAT_QUANT)
    scale, parameters = call.constants.get("scale"), [call.constants.get(n) for n in _PARAMETERS]
    if scale is None or any(p is None or p.size != 1 for p in parameters):
        return Refusal(problem="a parameter is computed, or not one number", node=label(node), expected="constants")
    key = tuple(float(np.asarray(p).reshape(())) for p in parameters)
    attributes = tuple(sorted(call.attributes.items()))
    saturate = bool(call.attributes["saturation"])
    # What exceeds FLOAT8E5M2 without saturation is infinite in ONNX, and NaN in ONNX Runtime.
    for dtype in _FORMATS if saturate else _FORMATS.keys() - _INFINITE:
        if _FORMATS[dtype][:3] == key[:3] and _equals(key, attributes, dtype, saturate):
            return Minifloat(scale.astype(np.float32), dtype, saturate)
    return Refusal(
        problem="no element type has these numbers",
        node=label(node),
        got=f"FLOAT<{key[0]:g},{key[1]:g},{key[2]:g}> up to {key[3]:g}, {call.attributes['rounding_mode']}",
        expected=", ".join(d.name for d in _FORMATS),
    )


def float_quant_node(builder: NodeBuilder, x: ir.Value, value: Minifloat, name: str) -> ir.Node:
    """The FloatQuant node that means the same, in no graph yet."""
    arrays = dict(zip(("scale", *_PARAMETERS), (value.scale, *_arrays(value.dtype)), strict=True))
    constants = [builder.constant(f"{name}/{key}", np.asarray(array)) for key, array in arrays.items()]
    attributes = {
        key: ir.AttrString(key, v) if isinstance(v, str) else ir.AttrInt64(key, v)
        for key, v in value.attributes.items()
    }
    return builder.node(
        FLOAT_QUANT.name, [x, *constants], f"{name}/quant", like=x, domain=DOMAIN, attributes=attributes
    )


def _is_exact(dtype: ir.DataType, saturate: bool) -> bool:  # noqa: FBT001  it is half of the question
    attributes = tuple(sorted(Minifloat(np.ones((), np.float32), dtype, saturate).attributes.items()))
    return _equals(_FORMATS[dtype], attributes, dtype, saturate)


@cache
def _equals(
    key: tuple[float, ...],
    attributes: tuple[tuple[str, int | float | str], ...],
    dtype: ir.DataType,
    saturate: bool,  # noqa: FBT001
) -> bool:
    """Whether FloatQuant and QuantizeLinear agree on every number of the type, every tie, and beside and beyond."""
    points = _points(dtype)
    one = np.ones((), np.float32)
    try:
        ours = FLOAT_QUANT.evaluate([points, one, *(np.asarray(p, np.float32) for p in key)], dict(attributes))
        theirs = _quantize(points, dtype, saturate=saturate).astype(np.float32)
    except ValueError:  # overflow has nowhere to go
        return False
    return np.array_equal(ours, theirs, equal_nan=True)


def _points(dtype: ir.DataType) -> npt.NDArray[np.float32]:
    codes = np.arange(1 << int(dtype.bitwidth), dtype=np.uint8)
    numbers = codes.view(dtype.numpy()).astype(np.float32)
    finite = np.unique(numbers[np.isfinite(numbers)])
    largest, step = finite[-1], finite[-1] - finite[-2]
    beyond = largest + step * np.asarray([0.25, 0.5, 0.75, 1, 2, 1e4], np.float32)
    ties = (finite[1:] + finite[:-1]) / 2
    exact = np.concatenate([finite, ties, beyond, -beyond, np.asarray([np.inf, -np.inf], np.float32)])
    beside = [np.nextafter(exact, np.float32(d)) for d in (-np.inf, np.inf)]
    return np.concatenate([exact, *beside]).astype(np.float32)


def _quantize(x: Array, dtype: ir.DataType, *, saturate: bool) -> Array:
    """QuantizeLinear with scale 1, by its reference."""
    opset = since(dtype) or 0
    inputs = [ir.Value(name=n) for n in ("x", "scale", "zero_point")]
    node = ir.node("QuantizeLinear", inputs, {"saturate": int(saturate)})  # which types of less than 8 bits ignore
    zero = np.zeros((), dtype.numpy())
    results = evaluate_node(node, [x, np.ones((), np.float32), zero], {"": opset})
    if results is None:
        raise ValueError(dtype.name)
    (quantized,) = results
    return quantized
