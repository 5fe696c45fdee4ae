"""Equalisation: channels between a convolution and a depthwise one get ranges alike, before one scale rounds them all.

relu(W x + b) of channel c is divided by f_c > 0, which its own weights and bias take up, and the depthwise weights that
read channel c are multiplied by f_c. The float model computes the same. Weights on both sides have a scale for each
channel, so that nothing becomes coarser there (Nagel et al., 2019, equalise weights that way; here it is activations).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.analysis.values.interpreter import analyse
from anybit.arrays import Array
from anybit.graph.constants import constant
from anybit.quantization.layers import Layer
from anybit.quantization.plan import Plan
from anybit.quantization.prepare import Prepared
from anybit.quantization.recipe import Scales
from anybit.quantization.segments import Segment

Float64s = npt.NDArray[np.float64]

_HOMOGENEOUS = ("Relu", "LeakyRelu")
_MOST = 64.0  # times that a channel becomes larger
_TAIL = 0.25  # weight of the largest element beside the root mean square
_UNLIKE = 1.3  # a pair whose channels all differ by less was not equalised


@dataclass(frozen=True)
class Between:
    """A tensor between layers, whose channels may be scaled.

    Attributes:
        tensor: The tensor, (N, C, spatial...).
        maker: The convolution that makes it, by way of a Relu or directly.
        readers: The depthwise convolutions that read it; nothing else does.
    """

    tensor: ir.Value
    maker: Layer
    readers: tuple[Layer, ...]

    @property
    def names(self) -> set[str]:
        """The names of the tensor and of the weights around it."""
        return {str(v.name) for v in (self.tensor, self.maker.weights, *(r.weights for r in self.readers))}


def tensors_between(prepared: Prepared) -> list[Between]:
    """The tensors that a convolution makes and that only depthwise convolutions read."""
    layers = {layer.node: layer for layer in prepared.placement.layers if layer.node.op_type == "Conv"}
    found: list[Between] = []
    for value in prepared.placement.activations:
        maker = _maker(value, layers)
        readers = [layers[node] for node, position in value.uses() if position == 0 and node in layers]
        alone = len(readers) == len(value.uses()) and not value.is_graph_output()
        if maker is not None and readers and alone and all(_is_depthwise(r, maker) for r in readers):
            found.append(Between(value, maker, tuple(readers)))
    return found


def _maker(value: ir.Value, layers: Mapping[ir.Node, Layer]) -> Layer | None:
    node = value.producer()
    if node is not None and node.domain == "" and node.op_type in _HOMOGENEOUS:
        read = node.inputs[0]
        if read is None or len(read.uses()) != 1 or read.is_graph_output():
            return None
        node = read.producer()
    layer = None if node is None else layers.get(node)
    return layer if layer is not None and layer.bias is not None else None


def _is_depthwise(reader: Layer, maker: Layer) -> bool:
    weights = constant(reader.weights)
    return weights is not None and weights.shape[1] == 1 and len(reader.channels) == maker.channels.size


def equalized(prepared: Prepared, plan: Plan | None, blocks: Sequence[Mapping[str, Array]]) -> Prepared:
    """The model with channels of like ranges wherever a plan quantises a tensor between two layers.

    Args:
        prepared: The model; its constants are changed in place.
        plan: Which tensors are quantised; None for all. With one scale for all channels of the weights nothing is done.
        blocks: Some samples.
    """
    chosen = tensors_between(prepared)
    if plan is not None:
        bits = {t.tensor for t in (*plan.activations, *plan.weights) if t.bits is not None}
        coarse = plan.per_tensor or plan.block is not None
        chosen = [] if coarse else [place for place in chosen if place.names <= bits]
    if not chosen:
        return prepared
    scales = Scales.FLOAT if plan is None else plan.scales
    ranges = _ranges(prepared, [place.tensor for place in chosen], blocks)
    factors = [factors_of(r, scales=scales) for r in ranges]
    return _scaled(prepared, list(zip(chosen, factors, strict=True)))


def factors_of(ranges: Float64s, *, scales: Scales = Scales.FLOAT) -> Float64s:
    """f = range / largest range, from 1/64 on; powers of two where scales are.

    A channel that is always 0 has 1, as all have where a range is not finite.
    """
    largest = float(ranges.max(initial=0.0))
    if largest <= 0 or not np.isfinite(largest):
        return np.ones_like(ranges)
    factors = np.where(ranges > 0, np.maximum(ranges / largest, 1 / _MOST), 1.0)
    return np.exp2(np.rint(np.log2(factors))) if scales is Scales.POWER_OF_TWO else factors


def equalized_as(prepared: Prepared, weights: Mapping[str, Array]) -> Prepared:
    """The float model with the channels of a quantised form of it, which may have been equalised.

    Args:
        prepared: The float model; its constants are changed in place.
        weights: The weights of the quantised form by the name of the float ones.
    """
    chosen: list[tuple[Between, Float64s]] = []
    for place in tensors_between(prepared):
        names = [str(layer.weights.name) for layer in (place.maker, *place.readers)]
        if not all(name in weights for name in names):
            continue
        made = _gains(place.maker, weights[names[0]], place.maker.channels.size)
        read = _gains(place.readers[0], weights[names[1]], place.maker.channels.size)
        good = (made > 0) & (read > 0)
        factors = np.sqrt(np.divide(read, made, out=np.ones_like(read), where=good))
        if factors.min() < 1 / _UNLIKE or factors.max() > _UNLIKE:
            chosen.append((place, factors))
    return _scaled(prepared, chosen) if chosen else prepared


def _gains(layer: Layer, quantized: Array, channels: int) -> Float64s:
    """For each channel the factor of the float weights that comes nearest to the quantised ones."""
    array = constant(layer.weights)
    floats = np.asarray(np.zeros_like(quantized) if array is None else array, np.float64).reshape(channels, -1)
    other = np.asarray(quantized, np.float64).reshape(channels, -1)
    square = np.square(floats).sum(axis=1)
    return np.divide((floats * other).sum(axis=1), square, out=np.ones(channels), where=square > 0)


def _ranges(prepared: Prepared, tensors: Sequence[ir.Value], blocks: Iterable[Mapping[str, Array]]) -> list[Float64s]:
    """For each tensor the range of each channel: its root mean square, and a share of its largest element."""
    graph = prepared.work.graph
    inputs = tuple(v for v in graph.inputs if not v.is_initializer())
    backend = Segment(tuple(graph), inputs, tuple(tensors), (), prepared.work).backend()
    squares: list[Float64s | None] = [None] * len(tensors)
    peaks: list[Float64s | None] = [None] * len(tensors)
    count = 0
    for block in blocks:
        count += 1
        for number, array in enumerate(backend.run(dict(block))):
            axes = (0, *range(2, array.ndim))
            with np.errstate(over="ignore"):
                square = np.square(array, dtype=np.float64).mean(axis=axes)
            peak = np.abs(array).max(axis=axes, initial=0.0).astype(np.float64)
            before, highest = squares[number], peaks[number]
            squares[number] = square if before is None else before + square
            peaks[number] = peak if highest is None else np.maximum(highest, peak)
    return [
        np.zeros(0) if s is None or p is None else np.sqrt(s / count) + _TAIL * p
        for s, p in zip(squares, peaks, strict=True)
    ]


def _scaled(prepared: Prepared, chosen: Sequence[tuple[Between, Float64s]]) -> Prepared:
    """The model with the channels of tensors divided by factors; what is proven of its tensors is proven again."""
    for place, factors in chosen:
        bias = place.maker.bias
        for value in (place.maker.weights, *(() if bias is None else (bias,))):
            _multiply(prepared, value, 1 / factors)
        for reader in place.readers:
            _multiply(prepared, reader.weights, np.repeat(factors, reader.channels.shape[1]))
    return replace(prepared, values=analyse(prepared.work))


def _multiply(prepared: Prepared, value: ir.Value, factors: Float64s) -> None:
    """Multiplies a constant along its first axis, in both forms of the model."""
    array = constant(value)
    if array is None:
        return
    made = (array * factors.reshape(-1, *(1 for _ in array.shape[1:]))).astype(array.dtype)
    for graph in (prepared.model.graph, prepared.work.graph):
        graph.initializers[str(value.name)].const_value = ir.tensor(made, name=str(value.name))
