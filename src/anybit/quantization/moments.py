"""Moments: sums of products of what a layer reads, quantised and in float, from which its weights are rounded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anybit.arrays import Array
from anybit.quantization.layers import Layer, misfit

Float64s = npt.NDArray[np.float64]

_ROWS = 8192  # rows that are enough for a layer of few inputs
_ROWS_PER_INPUT = 12


@dataclass
class Moments:
    """Sums over rows xq of quantised and xf of float inputs, in float64; products of a block are summed in float32.

    Products are those of what a row is away from an origin near the mean: inputs that hardly change have small ones.

    Attributes:
        quantized: sum of (xq - o)(xq - o)', (G, K, K).
        mixed: sum of (xq - o)(xf - o)', (G, K, K).
        sum_quantized: sum of xq - o over the same rows, (G, K).
        sum_float: sum of xf - o, (G, K).
        origin: o, the mean of xq over the rows of the first block, (G, K).
        rows: How many rows these are.
        mean_quantized: sum of xq over all rows, (G, K).
        mean_float: sum of xf over all rows, (G, K).
        all_rows: How many these are.
    """

    quantized: Float64s
    mixed: Float64s
    sum_quantized: Float64s
    sum_float: Float64s
    mean_quantized: Float64s
    mean_float: Float64s
    origin: Float64s
    rows: int = 0
    all_rows: int = 0

    @classmethod
    def of(cls, groups: int, inputs: int) -> Moments:
        """No rows yet."""
        square, line = (groups, inputs, inputs), (groups, inputs)
        a, b, c, d, e = (np.zeros(line) for _ in range(5))
        return cls(np.zeros(square), np.zeros(square), a, b, c, d, e)

    def add(self, layer: Layer, quantized: Array, floats: Array, *, every: int, offset: int = 0) -> None:
        """Adds what a layer reads of a block: some rows to the products, all rows to the means.

        Raises:
            InputError: It does not fit the weights.
        """
        if layer.rows is None:
            return
        xq = np.asarray(layer.rows(quantized, every, offset), np.float32)
        if xq.shape[1] != self.origin.shape[1]:
            raise misfit(layer.node, f"{xq.shape[1]} numbers", f"{self.origin.shape[1]}, as a row of the weights has")
        if not self.rows and xq.shape[2]:
            self.origin = xq.mean(axis=2, dtype=np.float64).astype(np.float32).astype(np.float64)
        origin = self.origin.astype(np.float32)[:, :, None]
        xq = xq - origin
        xf = xq if floats is quantized else np.asarray(layer.rows(floats, every, offset), np.float32) - origin
        with np.errstate(over="ignore", invalid="ignore"):
            product = xq @ xq.swapaxes(1, 2)
            self.quantized += product
            self.mixed += product if xf is xq else xq @ xf.swapaxes(1, 2)
        self.sum_quantized += xq.sum(axis=2, dtype=np.float64)
        self.sum_float += xf.sum(axis=2, dtype=np.float64)
        self.rows += xq.shape[2]
        total_q, rows = _row_sums(layer, quantized)
        total_f = total_q if floats is quantized else _row_sums(layer, floats)[0]
        self.mean_quantized += total_q
        self.mean_float += total_f
        self.all_rows += rows

    @property
    def is_finite(self) -> bool:
        """Whether no product left the range of float32."""
        return bool(np.isfinite(self.quantized).all() and np.isfinite(self.mixed).all())

    def centred(self) -> tuple[Float64s, Float64s]:
        """Covariances of xq with xq and with xf: what matters where a bias makes up for the means."""
        count = max(self.rows, 1)
        mean_q, mean_f = self.sum_quantized / count, self.sum_float / count
        return (
            self.quantized / count - mean_q[:, :, None] * mean_q[:, None, :],
            self.mixed / count - mean_q[:, :, None] * mean_f[:, None, :],
        )

    def plain(self) -> tuple[Float64s, Float64s]:
        """Means of products of xq with xq and with xf."""
        h, c = self.centred()
        count = max(self.rows, 1)
        mean_q, mean_f = self.sum_quantized / count + self.origin, self.sum_float / count + self.origin
        return h + mean_q[:, :, None] * mean_q[:, None, :], c + mean_q[:, :, None] * mean_f[:, None, :]


def _row_sums(layer: Layer, x: Array) -> tuple[Float64s, int]:
    """The sum of all rows, and how many there are: rows are linear in x, so that samples are summed first."""
    if layer.rows is None or x.ndim < 2:
        return np.zeros(0), 0
    rows = layer.rows(x.sum(axis=0, keepdims=True, dtype=np.float64), 1, 0)
    return rows.sum(axis=2), rows.shape[2] * len(x)


def row_step(rows: int, inputs: int) -> int:
    """Every how many rows one is enough, of so many in all, for a layer of so many inputs."""
    return max(1, rows // max(_ROWS, _ROWS_PER_INPUT * inputs))
