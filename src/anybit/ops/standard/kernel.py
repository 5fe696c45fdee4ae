"""Kernel: one standard node as a function of arrays; how a kernel is made, and the widening of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from anybit.arrays import Array

Kernel = Callable[[Sequence[Any]], tuple[Any, ...]]
"""From the inputs, None where left out, to the outputs; sequences are lists."""


@dataclass(frozen=True)
class Spec:
    """What a kernel is made from.

    Attributes:
        node: How messages name the node.
        attributes: Those of the node.
        opset: Version of the standard domain.
        outputs: How many outputs the node has.
        generic: The kernel of onnx's own reference, for what ours leaves to it.
    """

    node: str
    attributes: Mapping[str, Any]
    opset: int
    outputs: int
    generic: Callable[[], Kernel]

    def integer(self, name: str, default: int) -> int:
        """An integer attribute."""
        return int(self.attributes.get(name, default))

    def number(self, name: str, default: float) -> float:
        """A floating-point attribute, which is a float32."""
        return float(np.float32(self.attributes.get(name, default)))


Maker = Callable[[Spec], Kernel]

_NARROW = (np.dtype(np.float16), np.dtype(np.float32), np.dtype(ml_dtypes.bfloat16))


def is_float(x: Any) -> bool:
    """Whether it is an array of a floating-point type that operators compute in."""
    return isinstance(x, np.ndarray) and (x.dtype in _NARROW or x.dtype == np.float64)


def widened(x: Any) -> Any:
    """Floating-point arrays in float64, all else as it is."""
    return x.astype(np.float64) if isinstance(x, np.ndarray) and x.dtype in _NARROW else x


def narrowed(outputs: Sequence[Any], inputs: Sequence[Any]) -> tuple[Any, ...]:
    """The float64 arrays among the outputs in the type of the first floating-point input."""
    dtype = next((x.dtype for x in inputs if is_float(x)), None)
    if dtype is None:
        return tuple(outputs)
    with np.errstate(all="ignore"):
        return tuple(
            np.asarray(y).astype(dtype) if isinstance(y, np.ndarray | np.floating) and y.dtype == np.float64 else y
            for y in outputs
        )


def in_float64(kernel: Kernel) -> Kernel:
    """The kernel on float64 copies of floating-point inputs, each result rounded once."""

    def run(inputs: Sequence[Any]) -> tuple[Any, ...]:
        with np.errstate(all="ignore"):  # infinities and NaN are answered, not warned of
            return narrowed(kernel([widened(x) for x in inputs]), inputs)

    return run


def given(inputs: Sequence[Any], index: int) -> Any:
    """The input at `index`, None where it is left out."""
    return inputs[index] if index < len(inputs) else None


def as_integers(array: Array) -> list[int]:
    """The integers of a tensor of any rank: axes and sizes, which some write as a scalar."""
    return [int(v) for v in np.asarray(array).reshape(-1)]


def as_integer(array: Any) -> int:
    """The integer of a tensor of one element, whatever its rank.

    Raises:
        ValueError: There is not exactly one.
    """
    return int(np.asarray(array).item())
