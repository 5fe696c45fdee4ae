"""AffineGrid, and GridSample: an image of any rank read at given places; in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from anybit.arrays import Array
from anybit.ops.standard.kernel import Kernel, Spec, as_integers
from anybit.ops.standard.resize import interpolation_weight

_MODES = {"bilinear": "linear", "bicubic": "cubic"}  # their names in version 16
_CUBIC = -0.75


def make_affine_grid(spec: Spec) -> Kernel:
    """Y[n, o] = theta[n] (x, y, z, 1)', where x, y, z are the place of o, from -1 to 1, the last axis first."""
    aligned = bool(spec.integer("align_corners", 0))

    def run(inputs: Sequence[Any]) -> tuple[Array, ...]:
        theta, size = inputs
        axes = [_places(n, aligned=aligned) for n in as_integers(size)[2:]]
        places = np.meshgrid(*axes, indexing="ij")[::-1]
        points = np.stack([*places, np.ones(places[0].shape)], axis=-1)
        return (np.einsum("nij,...j->n...i", theta, points),)

    return run


def _places(count: int, *, aligned: bool) -> Array:
    if aligned:
        return np.linspace(-1, 1, count)
    return (2 * np.arange(count) + 1) / count - 1


def make_grid_sample(spec: Spec) -> Kernel:
    """Y[n, c, o] = X[n, c] at the place grid[n, o], whose coordinates run from -1 to 1, the last axis first.

    Places outside are moved to the border or reflected, for cubic interpolation each of the pixels around them.
    """
    mode = str(spec.attributes.get("mode", "linear"))
    padding = str(spec.attributes.get("padding_mode", "zeros"))
    sampler = _Sampler(_MODES.get(mode, mode), padding, bool(spec.integer("align_corners", 0)))
    return lambda inputs: (np.stack([sampler.sample(x, grid) for x, grid in zip(*inputs, strict=True)]),)


@dataclass(frozen=True)
class _Sampler:
    """The attributes of the node."""

    mode: str
    padding: str
    aligned: bool

    def sample(self, x: Array, grid: Array) -> Array:
        """(C, spatial...) at the places of one sample."""
        sizes = x.shape[1:]
        places = [self._pixels(grid[..., -1 - k].astype(np.float64), n) for k, n in enumerate(sizes)]
        if self.mode == "nearest":
            places = [np.rint(p) for p in places]
        if self.mode != "cubic":
            places = [self._moved(p, n) for p, n in zip(places, sizes, strict=True)]
        taps, weight = _TAPS[self.mode]
        y = np.zeros((len(x), *grid.shape[:-1]), x.dtype)
        for offsets in product(taps, repeat=len(sizes)):
            factor, inside = np.ones(grid.shape[:-1]), np.ones(grid.shape[:-1], np.bool_)
            indices: list[Array] = []
            for place, offset, size in zip(places, offsets, sizes, strict=True):
                pixel = np.floor(place) + offset
                factor = factor * weight(pixel - place)
                pixel = self._moved(pixel, size)
                inside = inside & (pixel >= 0) & (pixel < size)
                indices.append(np.clip(pixel, 0, size - 1).astype(np.int64))
            seen = np.where(inside, x[(slice(None), *indices)], 0)
            y = y + (seen if self.mode == "nearest" else seen * factor)
        return y.astype(x.dtype)

    def _pixels(self, v: Array, size: int) -> Array:
        return (v + 1) / 2 * (size - 1) if self.aligned else ((v + 1) * size - 1) / 2

    def _moved(self, place: Array, size: int) -> Array:
        """Coordinates on the image: at its border, or reflected by it; as they are where zeros surround it."""
        if self.padding == "zeros":
            return place
        if self.padding == "reflection":
            low, span = (0.0, size - 1.0) if self.aligned else (-0.5, float(size))
            steps = np.mod(place - low, 2 * span) if span else np.zeros_like(place)
            place = low + np.minimum(steps, 2 * span - steps)
        return np.clip(place, 0, size - 1)


_TAPS: dict[str, tuple[Sequence[int], Callable[[Array], Array]]] = {
    "nearest": ((0,), np.ones_like),
    "linear": ((0, 1), lambda d: interpolation_weight("linear", d)),
    "cubic": ((-1, 0, 1, 2), lambda d: interpolation_weight("cubic", d, _CUBIC)),
}
