"""ByteScale: what bytes stand for.   real = (byte - zero_point) * scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from anybit.arrays import Array

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ByteScale:
    """real = (byte - zero_point) * scale.

    Attributes:
        scale: float32, one number.
        zero_point: One byte, uint8 or int8.
    """

    scale: np.float32
    zero_point: npt.NDArray[Any]

    @property
    def bounds(self) -> tuple[int, int]:
        """Smallest and largest byte."""
        info = np.iinfo(self.zero_point.dtype)
        return int(info.min), int(info.max)

    @property
    def zero(self) -> np.float32:
        """The zero point as a number to compute with."""
        return np.float32(self.zero_point)

    def centre(self, integers: Array) -> Floats:
        """Bytes without their zero point."""
        return integers.astype(np.float32) - self.zero

    def dequantize(self, integers: Array) -> Floats:
        """What bytes stand for, as DequantizeLinear computes it."""
        return self.centre(integers) * self.scale

    def quantized(self, real: Array) -> Floats:
        """Bytes of real numbers, as QuantizeLinear computes them."""
        with np.errstate(all="ignore"):
            return self.saturated(np.rint(real.astype(np.float32) / self.scale) + self.zero)

    def saturated(self, integers: Array) -> Floats:
        """Integers, held between the smallest and the largest byte."""
        return np.clip(integers, *self.bounds).astype(np.float32)

    def stored(self, integers: Array) -> Array:
        """Integers as bytes, saturated."""
        return self.saturated(integers).astype(self.zero_point.dtype)


def byte_scale(inputs: Sequence[Array | None], place: int, dtype: np.dtype[Any]) -> ByteScale:
    """Scale and zero point at two neighbouring inputs of a node; the zero point is 0 where it is left out.

    Raises:
        ValueError: There is no scale, or more than one number.
    """
    scale = inputs[place] if place < len(inputs) else None
    zero_point = inputs[place + 1] if place + 1 < len(inputs) else None
    if scale is None or scale.size != 1 or (zero_point is not None and zero_point.size != 1):
        raise ValueError(f"input {place} is one scale, input {place + 1} one zero point")
    zero = np.zeros((), dtype) if zero_point is None else zero_point.reshape(())
    return ByteScale(np.float32(scale.reshape(())), zero)


def required(inputs: Sequence[Array | None], place: int) -> Array:
    """An input that an operator cannot do without.

    Raises:
        ValueError: It is left out.
    """
    value = inputs[place] if place < len(inputs) else None
    if value is None:
        raise ValueError(f"input {place} is left out")
    return value
