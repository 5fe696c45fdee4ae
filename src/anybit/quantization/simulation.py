"""Simulation: a float model with some tensors quantised and the rest in float, run from what is known of it.

The float model is run once, and what flows between its segments is kept. To quantise some tensors then costs a run of
the segments behind the first of them: a search can ask thousands of times.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.engines.onnxruntime.backend import OrtBackend
from anybit.graph.constants import constant
from anybit.grid import Grid
from anybit.quantization.layers import Layer
from anybit.quantization.moments import Float64s, Moments, row_step
from anybit.quantization.prepare import Prepared
from anybit.quantization.ranges import ActivationHistogram, Range, find_range
from anybit.quantization.recipe import Scales
from anybit.quantization.rounding import (
    Feedback,
    Rounded,
    damped,
    rounded_weights,
    to_nearest,
    weight_scales,
    with_feedback,
)
from anybit.quantization.segments import Segment, segments_of
from anybit.quantization.spill import Spill, Stream

_FINE = 6  # bits from which on a quick search rounds to nearest


class Simulation:
    """A model on some samples, of which any tensors can be quantised.

    Use it in a ``with`` block: its streams are files of a temporary folder.

    Args:
        prepared: The model.
        blocks: The samples, some at a time, see `anybit.quantization.samples.blocks_of`.
        scales: Which numbers a scale may be.
        per_tensor: One scale for a weight in place of one for each output channel.
        zero_points: Whether zero points other than 0 may be chosen.
        quick: Whether weights are rounded with feedback only, without descent: for searches.
        folder: Where the temporary folder is made.
        compared: For how many of the blocks, the first ones, `outputs` returns what the model makes of them; None means
            all. Ranges and weights fit all of them.

    Attributes:
        prepared: The model.
        samples: How many samples there are.
        activations: Names of the tensors that can get a quantiser, in order.
        weights: Names of the weights that can, in order.
    """

    def __init__(
        self,
        prepared: Prepared,
        blocks: Iterable[Mapping[str, Array]],
        *,
        scales: Scales = Scales.FLOAT,
        per_tensor: bool = False,
        zero_points: bool = True,
        quick: bool = False,
        folder: Path | None = None,
        compared: int | None = None,
    ) -> None:
        self.prepared = prepared
        self._compared = compared
        self._options = (scales, per_tensor, zero_points)
        self._quick = quick
        self._spill = Spill(folder)
        self._placed = set(prepared.placement.activations)
        self.activations = tuple(str(v.name) for v in prepared.placement.activations)
        self._layers = {str(layer.weights.name): layer for layer in prepared.placement.layers}
        self.weights = tuple(self._layers)
        wanted = {layer.node for layer in prepared.placement.layers}
        self._segments = segments_of(prepared.work, self._placed, wanted)
        self._backends: dict[int, OrtBackend] = {}
        self._fed: dict[int, OrtBackend] = {}
        self._histograms: dict[ir.Value, ActivationHistogram] = {}
        self._ranges: dict[tuple[str, int], Range] = {}
        self._rounded: dict[tuple[str, int], Rounded] = {}
        self._moments: dict[str, Float64s | None] = {}
        self._feedback: dict[str, Feedback] = {}
        self._streams: dict[ir.Value, Stream] = {}
        self.samples = 0
        self._run_in_float(blocks)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._spill.__exit__(kind, error, trace)

    def outputs(
        self, activations: Mapping[str, int] | None = None, weights: Mapping[str, int] | None = None
    ) -> dict[str, Array]:
        """What the model returns with these tensors quantised to these bit widths and all others in float.

        Ranges are those of least squared error on the float tensors, weights are rounded for float inputs.

        Args:
            activations: Bits by name of the activation.
            weights: Bits by name of the weight.

        Returns:
            The outputs by name, samples along the first axis.
        """
        moved: dict[ir.Value, list[Array]] = {}
        bits, wanted = dict(activations or {}), dict(weights or {})
        self._quantize_known(self.prepared.work.graph.inputs, bits, moved)
        last = self._last_readers()
        for number, segment in enumerate(self._segments):
            names = [str(layer.weights.name) for layer in segment.layers]
            own = {name: wanted[name] for name in names if name in wanted}
            if own or any(v in moved for v in segment.inputs):
                self._run_quantized(number, segment, own, bits, moved)
            else:
                self._quantize_known(segment.outputs, bits, moved)
            for value in last.get(number, ()):
                moved.pop(value, None)
        return {str(v.name): self._joined(v, moved) for v in self.prepared.work.graph.outputs}

    def _quantize_known(
        self, values: Iterable[ir.Value], bits: Mapping[str, int], moved: dict[ir.Value, list[Array]]
    ) -> None:
        """Those of the tensors that are quantised, from what the float model makes of them."""
        for value in values:
            if str(value.name) in bits and value in self._streams:
                found = self.range_of(str(value.name), bits[str(value.name)])
                stream = self._streams[value]
                moved[value] = [found.quantized(stream.read(index)) for index in self._indices([value])]

    def _joined(self, value: ir.Value, moved: Mapping[ir.Value, list[Array]]) -> Array:
        blocks = moved[value] if value in moved else [self._streams[value].read(i) for i in self._indices([value])]
        return np.concatenate(blocks) if blocks[0].ndim else blocks[0]

    def _indices(self, values: Iterable[ir.Value]) -> range:
        """The blocks of these tensors on which outputs are compared."""
        return range(max((len(self._streams[v]) for v in values), default=1))[: self._compared]

    def range_of(self, activation: str, bits: int) -> Range:
        """The quantiser of an activation for a bit width."""
        key = (activation, bits)
        if key not in self._ranges:
            value = next(v for v in self._placed if v.name == activation)
            scales, _, zero_points = self._options
            self._ranges[key] = find_range(
                self._histograms[value],
                bits,
                proven=self.prepared.bounds(value),
                scales=scales,
                zero_points=zero_points,
            )
        return self._ranges[key]

    def rounded(self, weight: str, bits: int) -> Rounded:
        """The integers and scales of a weight for a bit width."""
        key = (weight, bits)
        if key not in self._rounded:
            self._rounded[key] = self._round(self._layers[weight], bits)
        return self._rounded[key]

    def state_range(self, activation: str, stated: Range) -> None:
        """Sets the quantiser that an activation gets for its bit width."""
        self._ranges[activation, stated.grid.bits] = stated

    def state_weights(self, weight: str, bits: int, array: Array) -> None:
        """Sets what a weight becomes for a bit width."""
        matrix = np.asarray(self._layers[weight].matrix(array), np.float64)
        self._rounded[weight, bits] = Rounded(np.zeros_like(matrix), np.ones(1), matrix)

    def histogram(self, activation: str) -> ActivationHistogram:
        """What an activation holds on the samples."""
        return self._histograms[next(v for v in self._placed if v.name == activation)]

    def _run_in_float(self, blocks: Iterable[Mapping[str, Array]]) -> None:
        inputs = {str(v.name): v for v in self.prepared.work.graph.inputs}
        for block in blocks:
            self.samples += max((len(a) for a in block.values() if a.ndim), default=1)
            for name, array in block.items():
                self._write(inputs[name], array)
        for number, segment in enumerate(self._segments):
            backend = self._backend(number)
            if not segment.outputs:
                continue
            for index in range(max((len(self._streams[v]) for v in segment.inputs), default=1)):
                made = backend.run({str(v.name): self._streams[v].read(index) for v in segment.inputs})
                for value, array in zip(segment.outputs, made, strict=True):
                    self._write(value, array)

    def _write(self, value: ir.Value, array: Array) -> None:
        if value not in self._streams:
            self._streams[value] = self._spill.stream(str(value.name))
        self._streams[value].write(array)
        if value in self._placed:
            self._histograms.setdefault(value, ActivationHistogram()).add(array, f"tensor '{value.name}'")

    def _run_quantized(
        self,
        number: int,
        segment: Segment,
        own: Mapping[str, int],
        bits: Mapping[str, int],
        moved: dict[ir.Value, list[Array]],
    ) -> None:
        if not segment.outputs:
            return
        backend, arrays = self._with_weights(number, segment, own) if own else (self._backend(number), {})
        made: list[list[Array]] = [[] for _ in segment.outputs]
        for index in self._indices(segment.inputs):
            feeds = {
                str(v.name): moved[v][index] if v in moved else self._streams[v].read(index) for v in segment.inputs
            }
            for place, array in enumerate(backend.run(feeds | arrays)):
                made[place].append(array)
        for value, arrays in zip(segment.outputs, made, strict=True):
            name = str(value.name)
            found = self.range_of(name, bits[name]) if name in bits else None
            moved[value] = arrays if found is None else [found.quantized(a) for a in arrays]

    def _backend(self, number: int) -> OrtBackend:
        if number not in self._backends:
            self._backends[number] = self._segments[number].backend()
        return self._backends[number]

    def _with_weights(
        self, number: int, segment: Segment, own: Mapping[str, int]
    ) -> tuple[OrtBackend, dict[str, Array]]:
        """What runs the segment with its weights as inputs, and these: those of `own` are quantised."""
        weights = [layer.weights for layer in segment.layers]
        if number not in self._fed:
            self._fed[number] = segment.backend(fed=weights)
        arrays = {str(v.name): known for v in weights if (known := constant(v)) is not None}
        for name, bits in own.items():
            made = self._layers[name].tensor(self.rounded(name, bits).weights)
            arrays[name] = np.ascontiguousarray(made, np.float32)
        return self._fed[number], arrays

    def _round(self, layer: Layer, bits: int) -> Rounded:
        array = constant(layer.weights)
        weights = np.asarray(layer.matrix(np.zeros(0) if array is None else array), np.float64)
        grid = Grid(bits, signed=True, narrow=True)
        scales, per_tensor, _ = self._options
        h = self._covariance(layer, weights)
        if h is None:
            even = np.ones(weights.shape[:2])
            found = weight_scales(weights, even, layer.channels, grid, scales=scales, per_tensor=per_tensor)
            return to_nearest(weights, found, layer.channels, grid)
        if self._quick:
            h = damped(h, 1e-4)
            importance = np.einsum("gkk->gk", h)
            found = weight_scales(
                weights, importance, layer.channels, grid, scales=scales, per_tensor=per_tensor, coarse=True
            )
            if bits >= _FINE:
                return to_nearest(weights, found, layer.channels, grid)
            name = str(layer.weights.name)
            if name not in self._feedback:
                self._feedback[name] = Feedback.of(h)
            return with_feedback(self._feedback[name], weights, found, layer.channels, grid)
        return rounded_weights(h, weights, layer.channels, grid, scales=scales, per_tensor=per_tensor)

    def _covariance(self, layer: Layer, weights: Float64s) -> Float64s | None:
        name = str(layer.weights.name)
        if name not in self._moments:
            moments = Moments.of(weights.shape[0], weights.shape[1])
            stream = self._streams.get(layer.source)
            if layer.rows is None or stream is None:
                self._moments[name] = None
                return None
            first = stream.raw(0)
            rows = layer.rows(first[:1] if first.ndim > 1 else first, 1, 0).shape[2] * self.samples
            for number, block in enumerate(stream):
                moments.add(layer, block, block, every=row_step(rows, weights.shape[1]), offset=7 * number)
            self._moments[name] = moments.plain()[0]
        return self._moments[name]

    def _last_readers(self) -> Mapping[int, list[ir.Value]]:
        last: dict[ir.Value, int] = {}
        for number, segment in enumerate(self._segments):
            for value in segment.inputs:
                last[value] = number
        result: dict[int, list[ir.Value]] = {}
        for value, number in last.items():
            if not value.is_graph_output():
                result.setdefault(number, []).append(value)
        return result
