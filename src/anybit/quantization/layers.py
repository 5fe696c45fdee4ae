"""Layers: nodes that multiply by constant weights, as matrix products of rows of what they read.

Row r of group g of the input and column o of the weights make y[g, r, o] = sum over k of x[g, r, k] * w[g, k, o].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.arrays import Array
from anybit.errors import InputError
from anybit.graph.constants import constant
from anybit.graph.walk import label
from anybit.ops.standard.windows import Windows

Float64s = npt.NDArray[np.float64]
_RECURRENT = ("GRU", "LSTM", "RNN")


@dataclass(frozen=True)
class Layer:
    """A node that multiplies by constant weights.

    Attributes:
        node: The node.
        x: The position of the input that is multiplied.
        weight: The position of the weights.
        outputs: The axis of the weights along which its outputs differ, each with a scale of its own.
        bias: The value that holds the constant bias; None where there is none.
        matrix: The weights as (groups, K, columns).
        tensor: The weights back in their own shape.
        channels: For each group and column, the number of the output channel.
        rows: Of what the layer reads about every n-th row, from an offset on, as (groups, K, rows); None where rounding
            knows nothing of it.
    """

    node: ir.Node
    x: int
    weight: int
    outputs: int
    bias: ir.Value | None
    matrix: Callable[[Array], Array]
    tensor: Callable[[Array], Array]
    channels: npt.NDArray[np.intp]
    rows: Callable[[Array, int, int], Array] | None

    @property
    def weights(self) -> ir.Value:
        """The constant that holds the weights."""
        value = self.node.inputs[self.weight]
        if value is None:  # `layer_of` made sure of it
            raise ValueError(f"{label(self.node)} has no weights")
        return value

    @property
    def source(self) -> ir.Value:
        """The tensor that is multiplied by the weights."""
        value = self.node.inputs[self.x]
        if value is None:
            raise ValueError(f"{label(self.node)} reads nothing")
        return value

    @property
    def names(self) -> tuple[str, ...]:
        """The names by which a recipe may call the layer."""
        found = (self.node.name, *(o.name for o in self.node.outputs), self.weights.name)
        return tuple(str(n) for n in found if n)

    @property
    def is_corrected(self) -> bool:
        """Whether a bias makes up for what the means of its outputs lose: it has one, and a channel for each column."""
        return self.bias is not None and self.node.op_type != "ConvTranspose"


def layers_of(node: ir.Node) -> list[Layer]:
    """The node's products with constant weights: none for most nodes, one for each weight of a recurrent one."""
    if node.domain != "":
        return []
    if node.op_type in _RECURRENT:
        return [layer for position in (1, 2) if (layer := _recurrent(node, position)) is not None]
    makers = {"Conv": _conv, "ConvTranspose": _conv_transpose, "Gemm": _gemm, "MatMul": _matmul}
    maker = makers.get(node.op_type)
    layer = None if maker is None else maker(node)
    return [] if layer is None else [layer]


def _weights(node: ir.Node, position: int) -> Array | None:
    value = node.inputs[position] if position < len(node.inputs) else None
    array = constant(value)
    if array is None or array.dtype.name not in ("float32", "float64") or not array.size:
        return None
    return array if value is not None and value.is_initializer() else None


def _bias(node: ir.Node, position: int) -> ir.Value | None:
    value = node.inputs[position] if position < len(node.inputs) else None
    return value if value is not None and value.is_initializer() and constant(value) is not None else None


def _conv(node: ir.Node) -> Layer | None:
    weights = _weights(node, 1)
    bias = _bias(node, 2)
    if weights is None or (bias is None and len(node.inputs) > 2 and node.inputs[2] is not None):
        return None
    groups = node.attributes.get_int("group", 1)
    outputs, shape = len(weights), weights.shape
    attributes = {name: a.value for name, a in node.attributes.items()}

    def rows(x: Array, every: int, offset: int) -> Array:
        windows = Windows.of(x.shape[2:], shape[2:], attributes)
        padding = windows.padding(x.shape[2:])
        padded = np.pad(x, [(0, 0), (0, 0), *padding]) if any(map(any, padding)) else x
        chosen = _spread(windows.output, every, offset)
        per_group = _channels_of_a_group(node, x, groups)
        seen = [padded[(..., *tap)][(..., *chosen)] for _, tap in windows.taps()]
        positions = seen[0].shape[2:]
        result = np.empty((groups, per_group, len(seen), len(x), *positions), x.dtype)
        for number, tap in enumerate(seen):
            by_group = tap.reshape(len(x), groups, per_group, *positions)
            result[:, :, number] = np.moveaxis(by_group, 0, 2)
        return result.reshape(groups, per_group * len(seen), -1)

    return Layer(
        node=node,
        x=0,
        weight=1,
        outputs=0,
        bias=bias,
        matrix=lambda w: w.reshape(groups, outputs // groups, -1).swapaxes(1, 2),
        tensor=lambda m: np.ascontiguousarray(m.swapaxes(1, 2)).reshape(shape),
        channels=np.arange(outputs).reshape(groups, -1),
        rows=rows,
    )


def _channels_of_a_group(node: ir.Node, x: Array, groups: int) -> int:
    if x.shape[1] % groups:
        raise misfit(node, f"{x.shape[1]} channels", f"a multiple of {groups}")
    return x.shape[1] // groups


def misfit(node: ir.Node, got: str, expected: str) -> InputError:
    """The error that the data of a layer are not those of its weights."""
    return InputError("the input does not fit the weights", node=label(node), got=got, expected=expected)


def _spread(sizes: Sequence[int], every: int, offset: int) -> tuple[slice, ...]:
    """Slices of the axes of an image that keep about one of so many positions."""
    slices: list[slice] = []
    for size in reversed(sizes):
        step = max(1, min(every, size))
        slices.append(slice(offset % step, None, step))
        every //= step
        offset //= step
    return tuple(reversed(slices))


def _conv_transpose(node: ir.Node) -> Layer | None:
    weights = _weights(node, 1)
    bias = _bias(node, 2)
    if weights is None or (bias is None and len(node.inputs) > 2 and node.inputs[2] is not None):
        return None
    groups = node.attributes.get_int("group", 1)
    shape = weights.shape
    taps = int(np.prod(shape[2:]))

    def rows(x: Array, every: int, offset: int) -> Array:
        per_group = _channels_of_a_group(node, x, groups)
        flat = x[(..., *_spread(x.shape[2:], every, offset))].reshape(len(x), groups, per_group, -1)
        return flat.transpose(1, 2, 0, 3).reshape(groups, per_group, -1)

    channels = np.arange(groups * shape[1]).reshape(groups, shape[1])
    return Layer(
        node=node,
        x=0,
        weight=1,
        outputs=1,
        bias=bias,
        matrix=lambda w: w.reshape(groups, shape[0] // groups, -1),
        tensor=lambda m: m.reshape(shape),
        channels=np.repeat(channels, taps, axis=1),
        rows=rows,
    )


def _gemm(node: ir.Node) -> Layer | None:
    weights = _weights(node, 1)
    scaled = any(node.attributes.get_float(n, 1.0) != 1 for n in ("alpha", "beta"))
    bias = _bias(node, 2)
    known = bias is not None or len(node.inputs) < 3 or node.inputs[2] is None
    if weights is None or scaled or node.attributes.get_int("transA", 0) or not known:
        return None
    return _dense(node, weights, bias, transposed=bool(node.attributes.get_int("transB", 0)))


def _matmul(node: ir.Node) -> Layer | None:
    weights = _weights(node, 1)
    if weights is None or weights.ndim != 2:
        return None
    return _dense(node, weights, _added(node.outputs[0]), transposed=False)


def _added(value: ir.Value) -> ir.Value | None:
    """The constant that alone is added to a product."""
    uses = value.uses()
    if value.is_graph_output() or len(uses) != 1:
        return None
    reader, position = next(iter(uses))
    if reader.domain != "" or reader.op_type != "Add":
        return None
    return _bias(reader, 1 - position)


def _dense(node: ir.Node, weights: Array, bias: ir.Value | None, *, transposed: bool) -> Layer:
    columns = weights.shape[0 if transposed else 1]
    array = constant(bias)
    fits = array is not None and array.size == columns and array.shape[-1:] == (columns,)
    return Layer(
        node=node,
        x=0,
        weight=1,
        outputs=0 if transposed else 1,
        bias=bias if fits else None,
        matrix=lambda w: (w.T if transposed else w)[None],
        tensor=lambda m: np.ascontiguousarray(m[0].T if transposed else m[0]),
        channels=np.arange(columns)[None],
        rows=lambda x, every, offset: x.reshape(1, -1, x.shape[-1])[:, offset % every :: every].swapaxes(1, 2),
    )


def _recurrent(node: ir.Node, position: int) -> Layer | None:
    """One of the weights (directions, rows, K) of a recurrent node; what its hidden state holds is not looked at."""
    weights = _weights(node, position)
    if weights is None or weights.ndim != 3:
        return None
    directions, outputs, _ = weights.shape
    return Layer(
        node=node,
        x=0,
        weight=position,
        outputs=1,
        bias=None,
        matrix=lambda w: w.swapaxes(1, 2),
        tensor=lambda m: np.ascontiguousarray(m.swapaxes(1, 2)),
        channels=np.arange(directions * outputs).reshape(directions, outputs),
        rows=None,
    )


def scale_tensor(layer: Layer, scales: Float64s, *, per_tensor: bool) -> Array:
    """Scales by channel in a shape that broadcasts to the weights."""
    if per_tensor:
        return np.asarray(scales.reshape(-1)[0], np.float32)
    shape: list[int] = [1] * len(_shape(layer))
    shape[layer.outputs] = _shape(layer)[layer.outputs]
    if layer.node.op_type in _RECURRENT:
        shape[0] = _shape(layer)[0]
    if layer.node.op_type == "ConvTranspose" and scales.size != shape[1]:  # one for each channel of each group
        groups = scales.size // shape[1]
        per_input = np.repeat(scales.reshape(groups, shape[1]), _shape(layer)[0] // groups, axis=0)
        return per_input.reshape(*per_input.shape, *(1 for _ in shape[2:])).astype(np.float32)
    return scales.reshape(shape).astype(np.float32)


def _shape(layer: Layer) -> tuple[Any, ...]:
    array = constant(layer.weights)
    return () if array is None else array.shape
