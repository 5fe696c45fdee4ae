"""The integer bound of a single layer is attained: the input that attains it is constructed, and run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

import anybit
from anybit.analysis.values.interpreter import analyse
from anybit.analysis.values.tensor_values import aligned
from tests.models import model, parameters, quant
from tests.properties.mac import NONE, products_of
from tests.strategies import Array, examples, seeds

# Those of the second kind do not contain 0, so that a window in the padding is worth less than one inside.
_INTERVALS = ((-4, 3), (0, 7), (-8, 0), (1, 6), (-7, -2), (5, 5))
_SCALE, _WEIGHT_SCALE = 0.5, 0.25


@dataclass(frozen=True)
class Layer:
    """A multiply-accumulate with constant integer weights.

    Attributes:
        x: Shape of the activation.
        weights: Integers.
        weights_first: Whether they are the first operand.
        channel_axis: Axis of the output that has a bound of its own for each entry.
    """

    op_type: str
    x: tuple[int, ...]
    weights: Array
    channel_axis: int
    attributes: Mapping[str, Any]
    weights_first: bool = False


def _drawn(rng: np.random.Generator, *options: Any) -> Any:
    return options[int(rng.integers(len(options)))]


def _weights(rng: np.random.Generator, shape: Sequence[int]) -> Array:
    return rng.integers(*_drawn(rng, (-8, 8), (-1, 2), (0, 4), (-3, 1)), shape)


def _windows(rng: np.random.Generator, axes: int) -> dict[str, Any]:
    found = {
        "strides": rng.integers(1, 3, axes).tolist(),
        "dilations": rng.integers(1, 3, axes).tolist(),
        "group": int(rng.integers(1, 4)),
    }
    if rng.random() < 0.7:
        found["pads"] = rng.integers(0, 4, 2 * axes).tolist()
    return found


def conv(rng: np.random.Generator) -> Layer:
    axes = int(rng.integers(1, 3))
    attributes = _windows(rng, axes)
    kernel = rng.integers(1, 4, axes).tolist()
    per_group, groups = int(rng.integers(1, 3)), attributes["group"]
    if rng.random() < 0.2:
        del attributes["pads" if "pads" in attributes else "group"]
        attributes |= {"auto_pad": _drawn(rng, "SAME_UPPER", "SAME_LOWER", "VALID"), "group": groups}
    weights = _weights(rng, [groups * int(rng.integers(1, 3)), per_group, *kernel])
    x = (1, groups * per_group, *rng.integers(5, 7, axes).tolist())
    return Layer("Conv", x, weights, 1, attributes)


def conv_transpose(rng: np.random.Generator) -> Layer:
    axes = int(rng.integers(1, 3))
    attributes = _windows(rng, axes)
    kernel = rng.integers(1, 4, axes).tolist()
    attributes["pads"] = [int(rng.integers(0, k)) for k in kernel * 2]
    if rng.random() < 0.3:
        attributes["output_padding"] = [s - 1 for s in attributes["strides"]]
    per_group, groups = int(rng.integers(1, 3)), attributes["group"]
    weights = _weights(rng, [groups * per_group, int(rng.integers(1, 3)), *kernel])
    return Layer("ConvTranspose", (1, groups * per_group, *rng.integers(3, 5, axes).tolist()), weights, 1, attributes)


def matmul(rng: np.random.Generator) -> Layer:
    terms, columns = rng.integers(1, 6, 2).tolist()
    leading = _drawn(rng, (1,), (1, 3), (1, 2, 2))
    return Layer("MatMul", (*leading, terms), _weights(rng, [terms, columns]), -1, {})


def matmul_from_the_left(rng: np.random.Generator) -> Layer:
    terms, rows = rng.integers(1, 6, 2).tolist()
    leading = _drawn(rng, (1,), (1, 2))
    weights = _weights(rng, [rows, terms])
    return Layer("MatMul", (*leading, terms, 3), weights, -2, {}, weights_first=True)


def gemm(rng: np.random.Generator) -> Layer:
    terms, columns = rng.integers(1, 6, 2).tolist()
    turned, x_turned = rng.integers(0, 2, 2).tolist()
    weights = _weights(rng, [columns, terms] if turned else [terms, columns])
    return Layer("Gemm", (terms, 2) if x_turned else (2, terms), weights, 1, {"transA": x_turned, "transB": turned})


def gemm_from_the_left(rng: np.random.Generator) -> Layer:
    terms, rows = rng.integers(1, 6, 2).tolist()
    turned = int(rng.integers(0, 2))
    weights = _weights(rng, [rows, terms])
    return Layer("Gemm", (2, terms) if turned else (terms, 2), weights, 0, {"transB": turned}, weights_first=True)


@pytest.mark.parametrize(
    "kind", [conv, conv_transpose, matmul, matmul_from_the_left, gemm, gemm_from_the_left], ids=lambda k: k.__name__
)
@examples(60)
@given(st.sampled_from(_INTERVALS), seeds)
def test_every_channel_attains_its_bounds(kind, interval, seed):
    layer = kind(np.random.default_rng(seed))
    proto = _model(layer)
    values = analyse(proto, input_ranges={"x": tuple(_SCALE * end for end in interval)})
    (accumulator,) = values.accumulators.values()
    shapes = (layer.weights.shape, layer.x) if layer.weights_first else (layer.x, layer.weights.shape)
    products = products_of(layer.op_type, layer.attributes, *shapes)
    of_x, of_w = (products.second, products.first) if layer.weights_first else (products.first, products.second)
    factors = np.where((of_w == NONE) | (of_x == NONE), 0, layer.weights.ravel()[of_w])
    session = anybit.Session(proto, engine="reference")
    for sign, bound, end in ((1, accumulator.hi, "hi"), (-1, accumulator.lo, "lo")):
        ends = np.where(sign * factors > 0, interval[1], interval[0])
        best = _by_channel(sign * (ends * factors).sum(axis=1).reshape(products.shape), layer.channel_axis)
        bounds = _by_channel(np.broadcast_to(aligned(bound, len(products.shape)), products.shape), layer.channel_axis)
        for channel, position in enumerate(best.argmax(axis=1)):
            output = _by_channel(np.arange(best.size).reshape(products.shape), layer.channel_axis)[channel, position]
            attained = _attained(session, layer, of_x[output], ends[output], int(output))
            assert attained == bounds[channel, 0] == sign * best[channel, position]
        largest_partial = np.maximum(sign * ends * factors, 0).sum(axis=1).max()
        assert getattr(accumulator.proven, end) == sign * best.max()
        assert getattr(accumulator.proven, f"partial_{end}") == sign * largest_partial


def _by_channel(outputs: Array, axis: int) -> Array:
    """(channels, all else)."""
    moved = np.moveaxis(outputs, axis, 0)
    return moved.reshape(len(moved), -1)


def _attained(session: anybit.Session, layer: Layer, places: Array, integers: Array, output: int) -> float:
    """The integer that an output element has for these integers of the activation."""
    x = np.full(int(np.prod(layer.x)) + 1, integers[0])
    x[places] = integers  # the last element takes what falls into the padding
    y = session.run((_SCALE * x[:-1]).astype(np.float32).reshape(layer.x))["y"]
    return float(y.ravel()[output]) / (_SCALE * _WEIGHT_SCALE)


def _model(layer: Layer) -> Any:
    operands = ["wq", "xq"] if layer.weights_first else ["xq", "wq"]
    nodes = [
        quant("x", "xq"),
        quant("w", "wq"),
        helper.make_node(layer.op_type, operands, ["y"], **layer.attributes),
    ]
    weights = (layer.weights * _WEIGHT_SCALE).astype(np.float32)
    initializers = {"w": weights} | parameters("xq", scale=_SCALE) | parameters("wq", scale=_WEIGHT_SCALE)
    return model(nodes, initializers, inputs={"x": layer.x}, outputs=["y"])
