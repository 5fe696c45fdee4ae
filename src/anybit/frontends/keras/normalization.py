"""normalization: batch normalisation with the moving statistics."""

from __future__ import annotations

from typing import Any

import numpy as np

from anybit.arrays import Array
from anybit.frontends.keras.calls import Call
from anybit.frontends.keras.convolution import Weights
from anybit.frontends.keras.graph import Graph, LayerTensor

_ROLES = (("gamma", 1.0), ("beta", 0.0), ("moving_mean", 0.0), ("moving_variance", 1.0))


def batch_normalization(weights: Weights, graph: Graph, call: Call) -> LayerTensor:
    """gamma * (x - mean) / sqrt(variance + epsilon) + beta along the last axis; parameters as quantised, in float."""
    check_axis(call)
    x = graph.channels_first(call.x)
    given = [(weights(call, role), default) for role, default in _ROLES]
    known = [w.array for w, _ in given if w is not None]
    parameters: list[Array] = [
        np.full_like(known[-1], default) if weight is None else weight.array for weight, default in given
    ]
    value = graph.node(
        "BatchNormalization", [x.value, *parameters], f"{call.path}/normalized", epsilon=float(call.layer.epsilon)
    )
    return LayerTensor(value, call.x.shape, x.channels_first)


def check_axis(call: Call) -> None:
    """Refuses a normalisation along another axis than the last.

    Raises:
        FrontEndError: It is along another one.
    """
    axis: Any = call.layer.axis
    axes = [int(a) % call.x.rank for a in np.atleast_1d(axis)]
    if axes != [call.x.rank - 1]:
        raise call.refusal("axis of a normalisation", got=axis, expected="the last one")
