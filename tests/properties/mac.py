"""macs_of: which products a multiply-accumulate node adds up, found by moving indices, not by formulas."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from tests.strategies import Array

NONE = -1  # where the other factor meets padding


@dataclass(frozen=True)
class Products:
    """The products behind each output element, as flat indices of both factors.

    Attributes:
        first: Indices into the first input, [outputs, terms]; `NONE` where there is no product.
        second: Indices into the second input.
        shape: Of the output.
    """

    first: Array
    second: Array
    shape: tuple[int, ...]

    def of(self, x: Array, w: Array) -> Array:
        """The exact products of integers, [outputs, terms]."""
        left, right = (np.append(a.ravel(), 0) for a in (x, w))
        return left[self.first] * right[self.second] * (self.first != NONE)


def products_of(op_type: str, attributes: Mapping[str, Any], x: Sequence[int], w: Sequence[int]) -> Products:
    """The products that the node adds up for inputs of these shapes."""
    return _OPERATORS[op_type](attributes, tuple(x), tuple(w))


def _matmul(_: Mapping[str, Any], x: tuple[int, ...], w: tuple[int, ...]) -> Products:
    first, second = _indices(x), _indices(w)
    left = first[None, :] if len(x) == 1 else first
    right = second[:, None] if len(w) == 1 else second
    a, b = np.broadcast_arrays(left[..., :, None, :], np.swapaxes(right, -1, -2)[..., None, :, :])
    shape = a.shape[:-1]
    shape = shape if len(w) > 1 else shape[:-1]
    shape = shape if len(x) > 1 else (*shape[: len(shape) - 1 - (len(w) > 1)], *shape[len(shape) - (len(w) > 1) :])
    return Products(a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1]), shape)


def _gemm(attributes: Mapping[str, Any], x: tuple[int, ...], w: tuple[int, ...]) -> Products:
    a = _indices(x).T if attributes.get("transA", 0) else _indices(x)
    b = _indices(w).T if attributes.get("transB", 0) else _indices(w)
    plain = _matmul({}, a.shape, b.shape)
    return Products(a.ravel()[plain.first], b.ravel()[plain.second], plain.shape)


def _conv(attributes: Mapping[str, Any], x: tuple[int, ...], w: tuple[int, ...]) -> Products:
    kernel, strides, dilations = _window(attributes, w)
    pads = _pads(attributes, x[2:], kernel, strides, dilations)
    axes = len(kernel)
    padded = np.pad(_indices(x), [(0, 0), (0, 0), *zip(pads[:axes], pads[axes:], strict=True)], constant_values=NONE)
    sizes = [(padded.shape[2 + k] - dilations[k] * (kernel[k] - 1) - 1) // strides[k] + 1 for k in range(axes)]
    shape = (x[0], w[0], *sizes)
    weights, per_group = _indices(w), w[0] // attributes.get("group", 1)
    first, second = [], []
    for n, c, *position in product(*map(range, shape)):
        start = c // per_group * w[1]
        window = tuple(
            slice(p * s, p * s + d * (k - 1) + 1, d)
            for p, s, d, k in zip(position, strides, dilations, kernel, strict=True)
        )
        first.append(padded[(n, slice(start, start + w[1]), *window)].ravel())
        second.append(weights[c].ravel())
    return Products(np.array(first), np.array(second), shape)


def _conv_transpose(attributes: Mapping[str, Any], x: tuple[int, ...], w: tuple[int, ...]) -> Products:
    kernel, strides, dilations = _window(attributes, w)
    axes = len(kernel)
    pads = attributes.get("pads", [0] * 2 * axes)
    extra = attributes.get("output_padding", [0] * axes)
    groups = attributes.get("group", 1)
    sizes = [
        strides[k] * (x[2 + k] - 1) + extra[k] + dilations[k] * (kernel[k] - 1) + 1 - pads[k] - pads[k + axes]
        for k in range(axes)
    ]
    shape = (x[0], w[1] * groups, *sizes)
    found: dict[tuple[int, ...], list[tuple[int, int]]] = {index: [] for index in product(*map(range, shape))}
    inputs, weights = _indices(x), _indices(w)
    for index in product(*map(range, x)):
        n, channel, *position = index
        group = channel // (x[1] // groups)
        for c, *tap in product(range(w[1]), *map(range, kernel)):
            target = [
                p * s + t * d - pad
                for p, s, t, d, pad in zip(position, strides, tap, dilations, pads[:axes], strict=True)
            ]
            pairs = found.get((n, group * w[1] + c, *target))
            if pairs is not None:
                pairs.append((inputs[index], weights[(channel, c, *tap)]))
    terms = max(map(len, found.values()))
    table = np.array([pairs + [(NONE, NONE)] * (terms - len(pairs)) for pairs in found.values()], np.int64)
    table = table.reshape(len(found), terms, 2)
    return Products(table[..., 0], table[..., 1], shape)


def _indices(shape: tuple[int, ...]) -> Array:
    return np.arange(int(np.prod(shape))).reshape(shape)


def _window(attributes: Mapping[str, Any], w: tuple[int, ...]) -> tuple[list[int], list[int], list[int]]:
    kernel = list(w[2:])
    ones = [1] * len(kernel)
    return kernel, list(attributes.get("strides", ones)), list(attributes.get("dilations", ones))


def _pads(
    attributes: Mapping[str, Any], spatial: Sequence[int], kernel: list[int], strides: list[int], dilations: list[int]
) -> list[int]:
    automatic = attributes.get("auto_pad", "NOTSET")
    if automatic == "NOTSET":
        return list(attributes.get("pads", [0] * 2 * len(kernel)))
    if automatic == "VALID":
        return [0] * 2 * len(kernel)
    totals = [
        max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
        for n, s, d, k in zip(spatial, strides, dilations, kernel, strict=True)
    ]
    small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
    return small + large if automatic == "SAME_UPPER" else large + small


_OPERATORS: dict[str, Callable[[Mapping[str, Any], tuple[int, ...], tuple[int, ...]], Products]] = {
    "Conv": _conv,
    "ConvInteger": _conv,
    "QLinearConv": _conv,
    "ConvTranspose": _conv_transpose,
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "QLinearMatMul": _matmul,
    "Gemm": _gemm,
}
