"""Multiply-accumulates: convolutions, matrix products, with weights and of activations, real and of integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.graphs.builder import Builder, Unfit
from tests.graphs.quantisers import as_float32, as_own, quant_of, quantize, scales, weight


def _activation(b: Builder, rank: int | None = None) -> str:
    """The input of a product, in most cases behind a quantiser."""
    x = b.pick(lambda a: a.ndim >= 2, rank=rank)
    return quant_of(b, x) if b.chance(0.5) else x


def _groups(b: Builder, channels: int) -> int:
    return int(b.choose([g for g in (1, 1, 2, 3, channels) if channels % g == 0]))


def windows(b: Builder, spatial: Sequence[int]) -> tuple[list[int], dict[str, Any]]:
    """A kernel and its strides, dilations and pads."""
    axes = len(spatial)
    kernel = [int(min(k, size)) for k, size in zip(b.rng.integers(1, 4, axes), spatial, strict=True)]
    attributes: dict[str, Any] = {"kernel_shape": kernel}
    if b.chance(0.5):
        attributes["strides"] = b.rng.integers(1, 3, axes).tolist()
    if b.chance(0.5):
        dilations = b.rng.integers(1, 3, axes).tolist()
        if all((k - 1) * d < size for k, d, size in zip(kernel, dilations, spatial, strict=True)):
            attributes["dilations"] = dilations
    if b.chance(0.6):
        attributes["pads"] = b.rng.integers(0, 3, 2 * axes).tolist()
    elif b.chance(0.3):
        # ONNX Runtime pads otherwise than the standard for dilated windows, and for strides beyond the kernel.
        dilated = max(attributes.get("dilations", [1])) > 1
        beyond = any(s > k for s, k in zip(attributes.get("strides", [1] * axes), kernel, strict=True))
        kind = b.choose(["SAME_UPPER", "SAME_LOWER", "VALID"])
        attributes |= {} if dilated | beyond else {"auto_pad": kind}
    return kernel, attributes


def convolution(b: Builder) -> None:
    x = _activation(b, rank=int(b.choose([3, 4])))
    channels, *spatial = b.samples[x].shape[1:]
    kernel, attributes = windows(b, spatial)
    groups = _groups(b, channels)
    outputs = groups * int(b.rng.integers(1, 3))
    inputs = [x, weight(b, [outputs, channels // groups, *kernel])]
    if b.chance(0.3):
        inputs.append(weight(b, [outputs]))
    b.put("Conv", inputs, group=groups, **attributes)


def transposed_convolution(b: Builder) -> None:
    x = _activation(b, rank=int(b.choose([3, 4])))
    channels, *spatial = b.samples[x].shape[1:]
    kernel, attributes = windows(b, spatial)
    attributes.pop("auto_pad", None)
    if b.chance(0.3) and "strides" in attributes:
        attributes["output_padding"] = [s - 1 for s in attributes["strides"]]
    groups = _groups(b, channels)
    per_group = int(b.rng.integers(1, 3))
    inputs = [x, weight(b, [channels, per_group, *kernel], axis=1)]
    if b.chance(0.3):
        inputs.append(weight(b, [groups * per_group]))
    b.put("ConvTranspose", inputs, group=groups, **attributes)


def matmul(b: Builder) -> None:
    x = _activation(b)
    shape = b.samples[x].shape
    columns = int(b.rng.integers(1, 5))
    if b.chance(0.3) and len(shape) >= 3:
        b.put("MatMul", [weight(b, [columns, shape[-2]], axis=0), x])
        return
    stacked = [*shape[1:-2]] if b.chance(0.2) else []
    w = [shape[-1]] if b.chance(0.1) else [*stacked, shape[-1], columns]
    b.put("MatMul", [x, weight(b, w, axis=len(w) - 1)])


def matmul_of_activations(b: Builder) -> None:
    x = _activation(b)
    array = b.samples[x]
    order = [*range(array.ndim - 2), array.ndim - 1, array.ndim - 2]
    y = b.node("Transpose", [x if b.chance(0.4) else _like(b, array)], perm=order)[0]
    if b.chance(0.3):
        y = quant_of(b, y)
    b.put("MatMul", [x, y])


def _like(b: Builder, array: Any) -> str:
    return b.pick(lambda a: a.shape == array.shape)


def gemm(b: Builder) -> None:
    x = _activation(b, rank=2)
    features, columns = b.samples[x].shape[1], int(b.rng.integers(1, 5))
    turned = int(b.rng.integers(0, 2))
    inputs = [x, weight(b, [columns, features] if turned else [features, columns], axis=0 if turned else 1)]
    if b.opset < 11 or b.chance(0.6):
        inputs.append(weight(b, b.choose([[columns], [1, columns], [1]])))
    attributes: dict[str, Any] = {"transB": turned}
    if b.chance(0.4):
        attributes |= {"alpha": float(b.choose([0.5, 2.0, -1.0, 0.3])), "beta": float(b.choose([0.5, 0.0, 3.0]))}
    b.put("Gemm", inputs, **attributes)


def gemm_from_the_left(b: Builder) -> None:
    x = _activation(b, rank=2)
    rows, features = int(b.rng.integers(1, 4)), b.samples[x].shape[1]
    bias = [weight(b, [1])] if b.opset < 11 else []
    b.put("Gemm", [weight(b, [rows, features], axis=0), x, *bias], transB=1)


def integer_product(b: Builder) -> None:
    """MatMulInteger or ConvInteger, and the way back to real numbers."""
    convolve = b.chance(0.5)
    x = b.pick(lambda a: a.ndim == 4 if convolve else a.ndim >= 2)
    q, scale, zero = quantize(b, x)
    if b.initializers[scale].ndim:
        raise Unfit
    shape = b.samples[q].shape
    attributes: dict[str, Any] = {}
    if convolve:
        kernel, attributes = windows(b, shape[2:])
        w_shape = [2, shape[1], *kernel]
    else:
        w_shape = [shape[-1], 3]
    dtype = b.choose((np.int8, np.uint8))
    w = b.constant(b.rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, w_shape, endpoint=True), dtype)
    w_zero = b.constant(b.rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max), dtype)
    y = b.node("ConvInteger" if convolve else "MatMulInteger", [q, w, zero, w_zero], **attributes)[0]
    y = as_own(b, b.node("Cast", [y], to=1)[0])
    b.put("Mul", [y, b.constant(b.initializers[scale].astype(np.float64) / 64)])


def quantised_product(b: Builder) -> None:
    """QLinearMatMul or QLinearConv between QuantizeLinear and DequantizeLinear."""
    convolve = b.chance(0.5)
    x = b.pick(lambda a: a.ndim == 4 if convolve else a.ndim >= 2)
    q, scale, zero = quantize(b, x)
    if b.initializers[scale].ndim:
        raise Unfit
    shape = b.samples[q].shape
    attributes: dict[str, Any] = {}
    kernel: list[int] = []
    if convolve:
        kernel, attributes = windows(b, shape[2:])
    w = b.constant(b.rng.integers(-128, 128, [2, shape[1], *kernel] if convolve else [shape[-1], 3]), np.int8)
    dtype = b.samples[q].dtype
    out_scale = b.constant(scales(b, (), 4.0 * float(np.abs(b.samples[x]).max()), 8), np.float32)
    out_zero = b.constant(b.rng.integers(0, 100), dtype)
    w_scale, w_zero = b.constant(1 / 128, np.float32), b.constant(0, np.int8)
    inputs = [q, scale, zero, w, w_scale, w_zero, out_scale, out_zero]
    if convolve and b.chance(0.5):
        inputs.append(b.constant(b.rng.integers(-500, 500, [2]), np.int32))
    y = b.node("QLinearConv" if convolve else "QLinearMatMul", inputs, **attributes)[0]
    b.pool.append(as_own(b, b.node("DequantizeLinear", [y, out_scale, out_zero])[0]))


def einsum(b: Builder) -> None:
    x = as_float32(b, _activation(b, rank=3))
    y = b.node("Einsum", [x, x], equation="bij,bkj->bik")[0]
    b.pool.append(as_own(b, y))


STEPS = {
    "convolution": convolution,
    "transposed_convolution": transposed_convolution,
    "matmul": matmul,
    "matmul_of_activations": matmul_of_activations,
    "gemm": gemm,
    "gemm_from_the_left": gemm_from_the_left,
    "integer_product": integer_product,
    "quantised_product": quantised_product,
    "einsum": einsum,
}
