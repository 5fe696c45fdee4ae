"""Pad: every mode, with axes, and with negative amounts, which crop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from anybit.arrays import Array
from anybit.ops.standard.kernel import Kernel, Spec, as_integers, given

_REPEATED: dict[str, Literal["reflect", "edge", "wrap"]] = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}


def make_pad(spec: Spec) -> Kernel:
    """Y = X with so many elements more, or fewer, at each end of each axis.

    Negative amounts crop first: what is left is what the added elements repeat.
    """
    mode = str(spec.attributes.get("mode", "constant"))

    def run(inputs: Sequence[Any]) -> tuple[Array, ...]:
        x = inputs[0]
        if spec.opset < 11:
            pads, value, axes = list(spec.attributes["pads"]), spec.number("value", 0.0), None
        else:
            pads, value, axes = as_integers(inputs[1]), given(inputs, 2), given(inputs, 3)
        return (pad(x, _amounts(x.ndim, pads, axes), mode, value),)

    return run


def pad(x: Array, amounts: Sequence[tuple[int, int]], mode: str, value: Any) -> Array:
    """X with `amounts` of elements at the begin and the end of each axis."""
    cropped = x[tuple(slice(max(0, -b), max(0, n - max(0, -e))) for n, (b, e) in zip(x.shape, amounts, strict=True))]
    added = [(max(0, b), max(0, e)) for b, e in amounts]
    if mode != "constant":
        return np.pad(cropped, added, mode=_REPEATED[mode])
    fill = np.zeros((), x.dtype) if value is None else np.asarray(value).reshape(()).astype(x.dtype)
    y = np.full([n + b + e for n, (b, e) in zip(cropped.shape, added, strict=True)], fill, x.dtype)
    y[tuple(slice(b, b + n) for n, (b, _) in zip(cropped.shape, added, strict=True))] = cropped
    return y


def _amounts(rank: int, pads: list[int], axes: Array | None) -> list[tuple[int, int]]:
    """Begin and end of every axis.

    Raises:
        ValueError: There are not two for each axis.
        IndexError: There is no such axis.
    """
    chosen = list(range(rank)) if axes is None else as_integers(axes)
    if len(pads) != 2 * len(chosen):
        raise ValueError(f"{len(pads)} pads for {len(chosen)} axes")
    amounts = [(0, 0)] * rank
    for axis, begin, end in zip(chosen, pads[: len(chosen)], pads[len(chosen) :], strict=True):
        amounts[axis] = (begin, end)
    return amounts
