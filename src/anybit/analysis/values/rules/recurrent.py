"""RNN, GRU and LSTM: what their activations bound, whatever the weights are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from anybit.analysis.values.bounds.corners import widened
from anybit.analysis.values.tensor_values import TensorValues, bounded, hull, limited, unbounded
from anybit.analysis.values.transfer import NodeContext, NotFollowed, Rules

_RANGES = {
    "hardsigmoid": (0.0, 1.0),
    "relu": (0.0, math.inf),
    "sigmoid": (0.0, 1.0),
    "softplus": (0.0, math.inf),
    "softsign": (-1.0, 1.0),
    "tanh": (-1.0, 1.0),
}
_GATE, _SYMMETRIC = (0.0, 1.0), (-1.0, 1.0)
_LENGTHS, _INITIAL_STATE, _INITIAL_CELL = 4, 5, 6

# Roundings of one step: engines approximate the activations, and sum up products.
_ULPS = 16


def rnn(site: NodeContext) -> list[TensorValues]:
    """H = f(...): the range of f."""
    ranges = _ranges(site, ("tanh",))
    states = bounded(min(r[0][0] for r in ranges), max(r[0][1] for r in ranges))
    return _results(site, states)


def gru(site: NodeContext) -> list[TensorValues]:
    """H = (1 - z) * h + z * H before, with z in 0 .. 1 and |h| <= 1: no further out than 1 and the initial state.

    The error of a step does not add up over time: an average that is rounded never leaves its ends by more than
    that error, and is drawn back by the next one.
    """
    for gate, hidden in _ranges(site, ("sigmoid", "tanh")):
        _check(gate, _GATE)
        _check(hidden, _SYMMETRIC)
    return _results(site, hull([bounded(-1.0, 1.0), _initial(site, _INITIAL_STATE)]))


def lstm(site: NodeContext) -> list[TensorValues]:
    """C = f * C before + i * g, which grows by at most 1 in a step; H = o * h(C), so |H| <= 1."""
    for gate, cell, hidden in _ranges(site, ("sigmoid", "tanh", "tanh")):
        _check(gate, _GATE)
        _check(cell, _SYMMETRIC)
        _check(hidden, _SYMMETRIC)
    results = _results(site, bounded(-1.0, 1.0))
    steps = _steps(site)
    if steps is None:
        return [*results, unbounded()]
    start = _initial(site, _INITIAL_CELL)
    cells = bounded(np.minimum(start.lo, 0.0) - steps, np.maximum(start.hi, 0.0) + steps)
    return [*results, widened(cells, _ULPS * max(steps, 1), site.dtype())]


def _ranges(site: NodeContext, default: Sequence[str]) -> list[list[tuple[float, float]]]:
    """The ranges of the activations, for each direction."""
    names = [str(n).lower() for n in site.attribute("activations", None) or default]
    unknown = [n for n in names if n not in _RANGES]
    if unknown or len(names) % len(default):
        raise NotFollowed(f"activations {', '.join(names)}")
    ranges = [_RANGES[n] for n in names]
    return [ranges[i : i + len(default)] for i in range(0, len(ranges), len(default))]


def _check(activation: tuple[float, float], limits: tuple[float, float]) -> None:
    if activation[0] < limits[0] or activation[1] > limits[1]:
        raise NotFollowed(f"an activation can leave {limits[0]:g} .. {limits[1]:g}")


def _results(site: NodeContext, states: TensorValues) -> list[TensorValues]:
    """Y and Y_h. Y is 0 behind the end of a sequence; a sequence without steps leaves the initial state."""
    states = widened(states, _ULPS, site.dtype())
    padded = site.optional(_LENGTHS) is not None
    zero = bounded(0.0, 0.0)
    y = hull([states, zero]) if padded else states
    ends_early = padded or not _steps(site)
    return [y, hull([states, zero, _initial(site, _INITIAL_STATE)]) if ends_early else states]


def _initial(site: NodeContext, index: int) -> TensorValues:
    """A state before the first step, which is 0 where it is left out; one bound for all elements."""
    values = site.optional(index)
    return bounded(0.0, 0.0) if values is None else hull([limited(values, None)])


def _steps(site: NodeContext) -> int | None:
    """The number of time steps."""
    shape = site.shapes[0]
    if shape is None or len(shape) < 2:
        return None
    return shape[1 if site.attribute("layout", 0) else 0]


RULES: Rules = {"GRU": gru, "LSTM": lstm, "RNN": rnn}
