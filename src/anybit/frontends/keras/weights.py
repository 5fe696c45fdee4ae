"""weights: parameters of a layer as the framework's own quantiser leaves them, with the grid that they lie on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from anybit.arrays import Array
from anybit.ops import bipolar_quant, quant
from anybit.rounding import Rounding


@dataclass(frozen=True)
class UniformGrid:
    """What a Quant node needs to know; BipolarQuant for a bipolar one.

    Attributes:
        scale: Step, broadcasts to the tensor in Keras' layout.
        bits: Bit width, likewise; at least 2 where signed, unless bipolar.
        signed: Whether it has negative integers.
        narrow: Whether the lowest integer of a signed grid is left out.
        rounding: How numbers come onto it.
        bipolar: Whether it is -scale and +scale.
    """

    scale: Array
    bits: Array
    signed: bool = True
    narrow: bool = False
    rounding: Rounding = Rounding.ROUND
    bipolar: bool = False

    def __call__(self, x: Array) -> Array:
        """The numbers of the grid that the operator takes x to."""
        if self.bipolar:
            return bipolar_quant.reference(x, self.scale)
        return quant.reference(
            x,
            self.scale,
            0.0,
            self.bits,
            signed=int(self.signed),
            narrow=int(self.narrow),
            rounding_mode=self.rounding.value,
        )


@dataclass(frozen=True)
class Weight:
    """A parameter and its grid; without one it stays float.

    Attributes:
        array: float32, in Keras' layout.
        grid: What it lies on; scale and bits broadcast to the array.
    """

    array: Array
    grid: UniformGrid | None = None

    @property
    def departure(self) -> float:
        """How far the array lies off its grid, in steps."""
        if self.grid is None or not self.array.size:
            return 0.0
        gap = np.abs(self.grid(self.array) - self.array) / self.grid.scale
        return float(np.max(np.where(np.isnan(gap), np.inf, gap)))

    def transposed(self, *axes: int) -> Weight:
        """With the axes in another order."""
        return self._moved(lambda a: np.transpose(a, axes))

    def reshaped(self, *shape: int) -> Weight:
        """With another shape of as many elements."""
        return self._moved(lambda a: np.reshape(a, shape))

    def _moved(self, move: Any) -> Weight:
        array = np.ascontiguousarray(move(self.array))
        if self.grid is None:
            return Weight(array)
        scale, bits = (move(np.broadcast_to(p, self.array.shape)) for p in (self.grid.scale, self.grid.bits))
        return Weight(array, replace(self.grid, scale=compact(scale), bits=compact(bits)))


def compact(array: Array) -> Array:
    """The smallest array that broadcasts to this one: axes without change have length 1, leading ones are gone."""
    for axis in range(array.ndim):
        first = array.take([0], axis) if array.shape[axis] else array
        array = first if bool((array == first).all()) else array
    while array.ndim and array.shape[0] == 1:
        array = array[0]
    return np.ascontiguousarray(array) if array.ndim else np.asarray(array)


def numpy_of(tensor: Any) -> Array:
    """A tensor or variable of any Keras backend as numpy."""
    value = getattr(tensor, "value", tensor)  # a variable of Keras 3
    value = value() if callable(value) else value  # of tf_keras
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
