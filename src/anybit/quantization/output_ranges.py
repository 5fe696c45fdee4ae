"""Ranges by outputs: the scale of an activation with which the layers that read it come nearest to what they make.

The squared error of the tensor counts each element by itself. What a layer makes of it sums errors: those of rounding
cancel each other, those of clipping, which neighbours share, do not. Channels count as much as weights make of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from anybit.arrays import Array
from anybit.quantization.layers import Layer
from anybit.quantization.ranges import ActivationHistogram, Range
from anybit.quantization.recipe import Scales
from anybit.quantization.spill import Stream

Float32s = npt.NDArray[np.float32]

_ROWS = 1024  # that are looked at of what a layer reads
_ELEMENTS = 1 << 20
_BLOCKS = 8
_FACTORS = (0.72, 0.85, 1.0, 1.15, 1.32, 1.52, 1.75, 2.0, 2.3)
_FINE = (0.94, 1.06)
_BEYOND = 1.05  # no scale is tried that reaches so far beyond the elements
_WORTH = 0.995
_STRIDE = 7


@dataclass(frozen=True)
class Reading:
    """Some rows of what a layer reads of a tensor.

    Attributes:
        floats: The rows as the float model makes them, (G, K, R).
        rows: The same rows before the quantiser that is sought, (G, K, R).
        weights: The weights of the layer, (G, K, O).
        centred: Whether a bias makes up for means.
    """

    floats: Float32s
    rows: Float32s
    weights: Float32s
    centred: bool

    def loss(self, quantizer: Range) -> float:
        """The squared error of the layer's outputs as a share of their square; each may be scaled to fit."""
        exact = self._outputs(self.floats)
        made = self._outputs(quantizer.quantized(self.rows))
        square = np.einsum("gor,gor->go", exact, exact, dtype=np.float64)
        product = np.einsum("gor,gor->go", exact, made, dtype=np.float64)
        own = np.einsum("gor,gor->go", made, made, dtype=np.float64)
        explained = np.divide(product**2, own, out=np.zeros_like(own), where=own > 0)
        total = float(square.sum())
        return float((square - explained).sum()) / total if total > 0 else 0.0

    def _outputs(self, rows: Float32s) -> Float32s:
        made = self.weights.swapaxes(1, 2) @ rows
        return made - made.mean(axis=2, keepdims=True) if self.centred else made


def reading_of(layer: Layer, weights: Array, floats: Stream, quantized: Stream, samples: int) -> Reading | None:
    """Rows from all over the samples; None where nothing is known of the rows of the layer."""
    if layer.rows is None or not len(floats):
        return None
    matrix = np.asarray(layer.matrix(weights), np.float32)
    first = floats.raw(0)
    in_sample = layer.rows(first[:1] if first.ndim > 1 else first, 1, 0).shape[2]
    widest = max(matrix.shape[1], matrix.shape[2])
    wanted = max(64, min(_ROWS, _ELEMENTS // (matrix.shape[0] * widest)))
    step = -(-len(floats) // _BLOCKS)
    every = max(1, in_sample * samples // (step * wanted))
    taken: list[tuple[Array, Array]] = []
    for number in range(0, len(floats), step):
        x = layer.rows(floats.raw(number), every, number * _STRIDE)
        taken.append((x, x if quantized is floats else layer.rows(quantized.raw(number), every, number * _STRIDE)))
    a, b = (np.concatenate([np.asarray(pair[i], np.float32) for pair in taken], axis=2) for i in (0, 1))
    return Reading(a, b, matrix, layer.is_corrected) if a.shape[2] > 1 else None


def refined_range(
    found: Range,
    readings: Sequence[Reading],
    *,
    histogram: ActivationHistogram,
    others: bool,
    scales: Scales,
) -> Range:
    """The quantiser near a given one with which the readers of the tensor lose least.

    Args:
        found: Where the search begins.
        readings: What layers read of the tensor.
        histogram: What the tensor holds.
        others: Whether something else reads it, too: then the error of the tensor itself counts as one reader more.
        scales: Which numbers a scale may be.
    """
    square = max(histogram.squares / max(histogram.elements, 1), 1e-30)

    def loss(quantizer: Range) -> float:
        total = sum(reading.loss(quantizer) for reading in readings)
        return total + quantizer.measured(histogram).error / square if others else total

    whole = _whole(found, histogram)
    best, least = found, loss(found)
    for factors in ((0.5, 2.0),) if scales is Scales.POWER_OF_TWO else (_FACTORS, _FINE):
        start = best
        for factor in factors:
            scale = float(np.float32(start.scale * factor))
            if factor == 1 or (scale > whole * _BEYOND and scales is not Scales.POWER_OF_TWO):
                continue
            tried = replace(start, scale=scale)
            lost = loss(tried)
            if lost < least * _WORTH:
                best, least = tried, lost
    return best.measured(histogram)


def _whole(found: Range, histogram: ActivationHistogram) -> float:
    """The scale at which nothing is clipped."""
    above, below = found.grid.hi - found.zero_point, found.zero_point - found.grid.lo
    return max(histogram.highest / max(above, 1), -histogram.lowest / below if below else 0.0)
