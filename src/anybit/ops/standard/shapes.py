"""Squeeze, Unsqueeze and Flatten at every version; axes in any order, counted from either end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from anybit.arrays import Array
from anybit.ops.standard.kernel import Kernel, Spec, as_integers, given


def make_squeeze(spec: Spec) -> Kernel:
    """Y = X without the axes, all of size 1; without all axes of size 1 if none are given."""

    def run(inputs: Sequence[Any]) -> tuple[Array, ...]:
        x, axes = inputs[0], _axes(spec, inputs)
        return (x.squeeze() if axes is None else x.squeeze(tuple(axes)),)

    return run


def make_unsqueeze(spec: Spec) -> Kernel:
    """Y = X with axes of size 1; the axes are those of Y."""

    def run(inputs: Sequence[Any]) -> tuple[Array, ...]:
        axes = _axes(spec, inputs)
        if axes is None:
            raise ValueError("there are no axes")
        return (np.expand_dims(inputs[0], tuple(axes)),)

    return run


def make_flatten(spec: Spec) -> Kernel:
    """Y = X as a matrix, whose rows are the axes before `axis`."""

    def run(inputs: Sequence[Any]) -> tuple[Array, ...]:
        x = inputs[0]
        axis = spec.integer("axis", 1)
        before = axis if axis >= 0 else x.ndim + axis
        return (x.reshape(math.prod(x.shape[:before]), math.prod(x.shape[before:])),)

    return run


def _axes(spec: Spec, inputs: Sequence[Any]) -> list[int] | None:
    """The axes, an attribute before version 13, an input since; None if there are none."""
    if spec.opset < 13:
        axes = spec.attributes.get("axes")
        return None if axes is None else list(axes)
    axes = given(inputs, 1)
    return None if axes is None else as_integers(axes)
