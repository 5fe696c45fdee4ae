"""Calibration: one pass over a graph and all samples, which quantises it from its inputs to its outputs.

Each segment is run on what the float model makes of the samples and on what the part that is quantised so far makes
of them. Its weights are rounded for the latter to come near the former. Tensors that no later segment reads are gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from anybit.arrays import Array
from anybit.errors import InputError
from anybit.graph.constants import constant
from anybit.grid import Grid
from anybit.quantization.accumulator import budget_of
from anybit.quantization.bias_correction import corrected_bias
from anybit.quantization.layers import Layer
from anybit.quantization.moments import Moments, row_step
from anybit.quantization.output_ranges import reading_of, refined_range
from anybit.quantization.plan import ActivationPlan, Plan
from anybit.quantization.prepare import Prepared
from anybit.quantization.ranges import ActivationHistogram, Range, find_range
from anybit.quantization.rounding import (
    Rounded,
    block_channels,
    damping_of,
    error_of,
    least_squares,
    rounded_weights,
    to_nearest,
    weight_scales,
)
from anybit.quantization.segments import Segment, segments_of
from anybit.quantization.sensitivity.divergence import squared_error
from anybit.quantization.spill import Spill, Stream

Float64s = npt.NDArray[np.float64]
Feeds = Mapping[str, Array]
_COARSE = 6  # bits of activations up to which a range is refined by what layers make of it
_STRIDE = 7  # from block to block other rows are taken


@dataclass(frozen=True)
class WeightResult:
    """Weights of a layer after rounding.

    Attributes:
        layer: The layer, in the graph that was calibrated.
        bits: Bit width.
        rounded: Integers and scales.
        array: The weights on their grid, float32, in their own shape.
        error: Squared error of the layer's output that the rounding makes, as a share of the output's square.
        channels: For each column the number of its scale, or for each weight where blocks have scales.
    """

    layer: Layer
    bits: int
    rounded: Rounded
    array: Array
    error: float
    channels: npt.NDArray[np.intp]


@dataclass(frozen=True)
class ActivationResult:
    """The quantiser of an activation.

    Attributes:
        range: Its quantiser.
        error: Squared error that it makes, as a share of the square of the tensor.
    """

    range: Range
    error: float


@dataclass
class Calibrated:
    """What one pass found.

    Attributes:
        weights: By the name of the weight.
        activations: By the name of the tensor.
        biases: New biases by the name of the old one.
        outputs: Mean squares of the float outputs, and of what the quantised ones are away from them.
        samples: How many samples there were.
    """

    weights: dict[str, WeightResult] = field(default_factory=dict[str, WeightResult])
    activations: dict[str, ActivationResult] = field(default_factory=dict[str, ActivationResult])
    biases: dict[str, Array] = field(default_factory=dict[str, Array])
    outputs: dict[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    samples: int = 0


def calibrate(
    prepared: Prepared,
    blocks: Iterable[Feeds],
    plan: Plan,
    *,
    progress: Callable[[int], None] | None = None,
) -> Calibrated:
    """Quantises a model by a plan, from its inputs to its outputs.

    Args:
        prepared: The model.
        blocks: The samples, some at a time.
        plan: Bit widths; what it leaves open is found on the samples.
        progress: Called with 1 whenever a segment is done.

    Raises:
        InputError: A tensor is not finite on the samples.
    """
    with Spill() as spill:
        return _Pass(prepared, plan, spill).run(blocks, progress)


def segments_for(prepared: Prepared, plan: Plan) -> list[Segment]:
    """The segments in which a plan is carried out."""
    bits = {t.tensor for t in plan.activations if t.bits is not None}
    cuts = {v for v in prepared.placement.activations if v.name in bits}
    weights = {t.tensor for t in plan.weights if t.bits is not None}
    wanted = {layer.node for layer in prepared.placement.layers if layer.weights.name in weights}
    return segments_of(prepared.work, cuts, wanted)


@dataclass
class _Made:
    """What a segment makes of the samples: a tensor in float, and as the quantised part before it makes it."""

    value: ir.Value
    floats: Stream
    quantized: Stream
    histogram: ActivationHistogram = field(default_factory=ActivationHistogram)
    square: float = 0.0
    error: float = 0.0

    @classmethod
    def of(cls, value: ir.Value, spill: Spill, *, same: bool) -> _Made:
        name = str(value.name)
        floats = spill.stream(name)
        return cls(value, floats, floats if same else spill.stream(name))

    def add(self, floats: Array, quantized: Array, *, counted: bool) -> None:
        self.floats.write(floats)
        if self.quantized is not self.floats:
            self.quantized.write(quantized)
        if counted:
            self.histogram.add(quantized, f"tensor '{self.value.name}'")
        if self.value.is_graph_output() and floats.dtype.kind == "f":
            square, error = squared_error(floats, quantized)
            self.square, self.error = self.square + square, self.error + error


def on_grid(rounded: Rounded, channels: npt.NDArray[np.intp]) -> Array:
    """integers * scale as float32 arithmetic has it, (G, K, O)."""
    step = rounded.scales.astype(np.float32)[channels]
    return rounded.integers.astype(np.float32) * (step if step.ndim == 3 else step[:, None])


def _rows_of_a_sample(layer: Layer, block: Array) -> int:
    """How many rows a layer reads of one sample."""
    return 1 if layer.rows is None else layer.rows(block[:1] if block.ndim > 1 else block, 1, 0).shape[2]


class _Pass:
    def __init__(self, prepared: Prepared, plan: Plan, spill: Spill) -> None:
        self.prepared, self.plan, self.spill = prepared, plan, spill
        self.activations = {t.tensor: t for t in plan.activations if t.bits is not None}
        self.weights = {t.tensor: t.bits for t in plan.weights if t.bits is not None}
        self.segments = segments_for(prepared, plan)
        self.readers: dict[ir.Value, list[Layer]] = {}
        for layer in prepared.placement.layers:
            self.readers.setdefault(layer.source, []).append(layer)
        self.floats: dict[ir.Value, Stream] = {}
        self.quantized: dict[ir.Value, Stream] = {}
        self.replaced: dict[ir.Value, Array] = {}
        self.found = Calibrated()

    def run(self, blocks: Iterable[Feeds], progress: Callable[[int], None] | None) -> Calibrated:
        self._feed(blocks)
        last = self._last_readers()
        for number, segment in enumerate(self.segments):
            self._segment(segment)
            for value in last.get(number, ()):
                self._drop(value)
            if progress is not None:
                progress(1)
        return self.found

    def _feed(self, blocks: Iterable[Feeds]) -> None:
        inputs = {str(v.name): v for v in self.prepared.work.graph.inputs}
        histograms = {name: ActivationHistogram() for name in inputs}
        for block in blocks:
            self.found.samples += max((len(a) for a in block.values() if a.ndim), default=1)
            for name, array in block.items():
                value = inputs[name]
                if value not in self.floats:
                    self.floats[value] = self.spill.stream(name)
                self.floats[value].write(array)
                if array.dtype.kind == "f":
                    histograms[name].add(array, f"input '{name}'")
        for value, stream in self.floats.items():
            self.quantized[value] = self._through(value, stream, histograms[str(value.name)])

    def _through(self, value: ir.Value, stream: Stream, histogram: ActivationHistogram) -> Stream:
        """The stream as later segments see it."""
        planned = self.activations.get(str(value.name))
        if planned is None or not histogram.elements:
            return stream
        found = self._range(value, planned, stream, histogram)
        mean_square = histogram.squares / max(histogram.elements, 1)
        self.found.activations[str(value.name)] = ActivationResult(found, found.error / max(mean_square, 1e-30))
        return stream.seen_through(found)

    def _range(self, value: ir.Value, planned: ActivationPlan, stream: Stream, histogram: ActivationHistogram) -> Range:
        bits = planned.bits or 0
        if planned.scale is not None and planned.signed is not None:
            fixed = Range(Grid(bits, signed=planned.signed), planned.scale, planned.zero_point or 0)
            return fixed.measured(histogram)
        found = find_range(
            histogram,
            bits,
            proven=self.prepared.bounds(value),
            scales=self.plan.scales,
            zero_points=self.plan.target is None and self.plan.accumulator is None and planned.zero_point is None,
            signed=planned.signed,
        )
        return self._refined(value, found, stream, histogram) if bits <= _COARSE else found

    def _refined(self, value: ir.Value, found: Range, stream: Stream, histogram: ActivationHistogram) -> Range:
        """The range near the one found with which the layers that read the tensor lose least."""
        layers = self.readers.get(value, [])
        seen = [
            reading
            for layer in layers
            if (weights := constant(layer.weights)) is not None
            and (reading := reading_of(layer, weights, self.floats[value], stream, self.found.samples)) is not None
        ]
        if not seen:
            return found
        others = any((node, position) not in {(r.node, r.x) for r in layers} for node, position in value.uses())
        return refined_range(found, seen, histogram=histogram, others=others, scales=self.plan.scales)

    def _segment(self, segment: Segment) -> None:
        for layer in segment.layers:
            if str(layer.weights.name) in self.weights:
                self._round(layer)
        if not segment.outputs:
            return
        arrays = {v: self.replaced[v] for node in segment.nodes for v in node.inputs if v in self.replaced}
        same = not arrays and all(self.quantized[v] is self.floats[v] for v in segment.inputs)
        backend = segment.backend(fed=arrays)
        before, after = ({str(v.name): a for v, a in of.items()} for of in ({v: constant(v) for v in arrays}, arrays))
        made = [_Made.of(value, self.spill, same=same) for value in segment.outputs]
        for number in range(self._blocks(segment)):
            floats = backend.run({str(v.name): self.floats[v].read(number) for v in segment.inputs} | before)
            again = floats
            if not same:
                again = backend.run({str(v.name): self.quantized[v].read(number) for v in segment.inputs} | after)
            for one, a, b in zip(made, floats, again, strict=True):
                one.add(a, b, counted=str(one.value.name) in self.activations)
        for one in made:
            self.floats[one.value] = one.floats
            self.quantized[one.value] = self._through(one.value, one.quantized, one.histogram)
            if one.value.is_graph_output():
                self.found.outputs[str(one.value.name)] = (one.square, one.error)

    def _blocks(self, segment: Segment) -> int:
        return max((len(self.floats[v]) for v in segment.inputs), default=1)

    def _round(self, layer: Layer) -> None:
        name = str(layer.weights.name)
        bits = self.weights[name]
        array = constant(layer.weights)
        if array is None:
            return
        weights = np.asarray(layer.matrix(array), np.float64)
        grid = Grid(bits, signed=True, narrow=True)
        channels = layer.channels
        if self.plan.block is not None:
            channels = block_channels(channels, weights.shape[1], self.plan.block)
        moments = self._moments(layer, weights.shape[0], weights.shape[1])
        source = self.found.activations.get(str(layer.source.name))
        budget = budget_of(self.plan.accumulator, None if source is None else source.range, weights.shape[1])
        if moments is None or not moments.rows:
            scales = weight_scales(
                weights,
                np.ones(weights.shape[:2]),
                channels,
                grid,
                scales=self.plan.scales,
                per_tensor=self.plan.per_tensor,
            )
            rounded = to_nearest(weights, scales, channels, grid)
            total = float(np.square(weights).sum())
            error = float(np.square(rounded.weights - weights).sum()) / max(total, 1e-30)
        else:
            h, c = moments.centred() if layer.is_corrected else moments.plain()
            target = least_squares(h, c, weights, damping=damping_of(weights.shape[1], moments.rows))
            rounded = rounded_weights(
                h,
                target,
                channels,
                grid,
                scales=self.plan.scales,
                per_tensor=self.plan.per_tensor,
                budget=budget,
            )
            total = float(error_of(h, np.zeros_like(target), target).sum())
            error = float(error_of(h, target, rounded.weights).sum()) / max(total, 1e-30)
        made = np.asarray(layer.tensor(on_grid(rounded, channels)), np.float32)
        rounded = Rounded(rounded.integers, rounded.scales, np.asarray(layer.matrix(made), np.float64))
        self.replaced[layer.weights] = made
        self.found.weights[name] = WeightResult(layer, bits, rounded, made, error, channels)
        if moments is not None and layer.is_corrected and layer.bias is not None and moments.rows:
            bias = corrected_bias(layer, moments, weights, rounded.weights)
            self.replaced[layer.bias] = bias
            self.found.biases[str(layer.bias.name)] = bias

    def _moments(self, layer: Layer, groups: int, inputs: int) -> Moments | None:
        if layer.rows is None:
            return None
        floats, quantized = self.floats[layer.source], self.quantized[layer.source]
        moments = Moments.of(groups, inputs)
        every = row_step(_rows_of_a_sample(layer, floats.raw(0)) * self.found.samples, inputs)
        for number in range(len(floats)):
            x = floats.read(number)
            xq = x if quantized is floats else quantized.read(number)
            moments.add(layer, xq, x, every=every, offset=number * _STRIDE)
        if not moments.is_finite:
            where = f"tensor '{layer.source.name}'"
            raise InputError(
                "too large on the calibration data", node=where, expected="numbers whose squares are finite"
            )
        return moments

    def _last_readers(self) -> Mapping[int, Sequence[ir.Value]]:
        last: dict[ir.Value, int] = {}
        for number, segment in enumerate(self.segments):
            for value in (*segment.inputs, *segment.outputs):
                last[value] = number
        result: dict[int, list[ir.Value]] = {}
        for value, number in last.items():
            result.setdefault(number, []).append(value)
        return result

    def _drop(self, value: ir.Value) -> None:
        for streams in (self.floats, self.quantized):
            stream = streams.pop(value, None)
            if stream is not None:
                self.spill.drop(stream)
