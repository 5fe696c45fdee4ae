"""RNN, GRU and LSTM: every direction, layout, activation and option, in float64.

One step of a direction, with X_t the features of step t, H and C the states, W, R, Wb, Rb of the node:

    RNN   H = f(X_t W' + H R' + Wb + Rb)
    GRU   z, r = f(X_t W' + H R' + Wb + Rb);  h = g(X_t W' + (r * H) R' + Rb + Wb), or, with linear_before_reset,
          h = g(X_t W' + r * (H R' + Rb) + Wb);  H = (1 - z) * h + z * H
    LSTM  i, f = f(X_t W' + H R' + P * C + Wb + Rb);  c = g(...);  C = f * C + i * c;  o = f(... + P * C);  H = o * h(C)

`clip` bounds what goes into the activations of the gates, as in ONNX Runtime not into h. A sample that is shorter than
X keeps its last states, and its later outputs are 0; in reverse its own steps are read backwards. All of one without
steps is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from anybit.arrays import Array
from anybit.ops.standard.kernel import Kernel, Spec, given

_Function = Callable[[Array], Array]

_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
_DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}

# Name in lower case: whether it has an alpha and a beta, with what they are if not given; and the function.
_ACTIVATIONS: dict[str, tuple[float | None, float | None, Callable[[Array, float, float], Array]]] = {
    "relu": (None, None, lambda x, _a, _b: np.maximum(x, 0)),
    "tanh": (None, None, lambda x, _a, _b: np.tanh(x)),
    "sigmoid": (None, None, lambda x, _a, _b: _sigmoid(x)),
    "affine": (1.0, 0.0, lambda x, a, b: a * x + b),
    "leakyrelu": (0.01, None, lambda x, a, _b: np.where(x < 0, a * x, x)),
    "thresholdedrelu": (1.0, None, lambda x, a, _b: np.where(x >= a, x, 0)),
    "scaledtanh": (1.0, 1.0, lambda x, a, b: a * np.tanh(b * x)),
    "hardsigmoid": (0.2, 0.5, lambda x, a, b: np.clip(a * x + b, 0, 1)),
    "elu": (1.0, None, lambda x, a, _b: np.where(x < 0, a * np.expm1(np.minimum(x, 0)), x)),
    "softsign": (None, None, lambda x, _a, _b: x / (1 + np.abs(x))),
    "softplus": (None, None, lambda x, _a, _b: np.logaddexp(x, 0)),
}


def _sigmoid(x: Array) -> Array:
    return 0.5 * (1 + np.tanh(0.5 * x))


@dataclass(frozen=True)
class _GateWeights:
    """Those of one direction, and what it does with them."""

    w: Array  # (gates * hidden, features)
    r: Array  # (gates * hidden, hidden)
    input_bias: Array  # (gates * hidden,)
    state_bias: Array
    peepholes: Array  # (3, hidden): input, output, forget
    activations: Sequence[_Function]
    clip: float
    linear_before_reset: bool
    input_forget: bool

    def activate(self, index: int, x: Array) -> Array:
        return self.activations[index](np.clip(x, -self.clip, self.clip))


def _rnn_step(p: _GateWeights, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
    return p.activate(0, x @ p.w.T + h @ p.r.T + p.input_bias + p.state_bias), c


def _gru_step(p: _GateWeights, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
    size = h.shape[1]
    from_input = x @ p.w.T + p.input_bias
    gates = from_input[:, : 2 * size] + h @ p.r[: 2 * size].T + p.state_bias[: 2 * size]
    z, r = p.activate(0, gates[:, :size]), p.activate(0, gates[:, size:])
    last, bias = p.r[2 * size :].T, p.state_bias[2 * size :]
    recurrent = r * (h @ last + bias) if p.linear_before_reset else (r * h) @ last + bias
    candidate = p.activate(1, from_input[:, 2 * size :] + recurrent)
    return (1 - z) * candidate + z * h, c


def _lstm_step(p: _GateWeights, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
    i, o, f, g = np.split(x @ p.w.T + h @ p.r.T + p.input_bias + p.state_bias, 4, axis=1)
    i = p.activate(0, i + p.peepholes[0] * c)
    f = 1 - i if p.input_forget else p.activate(0, f + p.peepholes[2] * c)
    c = f * c + i * p.activate(1, g)
    return p.activate(0, o + p.peepholes[1] * c) * p.activations[2](c), c


_STEPS = {"RNN": _rnn_step, "GRU": _gru_step, "LSTM": _lstm_step}


def recurrent(op_type: str) -> Callable[[Spec], Kernel]:
    """What makes the kernel of RNN, GRU or LSTM; it computes in the type that it is given."""

    def make(spec: Spec) -> Kernel:
        direction = str(spec.attributes.get("direction", "forward"))
        functions = _activations(op_type, spec, 2 if direction == "bidirectional" else 1)
        backward = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}[direction]
        return lambda inputs: _run(op_type, spec, inputs, functions, backward)

    return make


def _activations(op_type: str, spec: Spec, directions: int) -> list[_Function]:
    """One function for each gate of each direction.

    Raises:
        ValueError: There is no activation of this name.
    """
    names = list(spec.attributes.get("activations") or _DEFAULTS[op_type] * directions)
    alphas, betas = (iter(spec.attributes.get(f"activation_{a}") or ()) for a in ("alpha", "beta"))
    functions: list[_Function] = []
    for name in names:
        if name.lower() not in _ACTIVATIONS:
            raise ValueError(f"there is no activation {name!r}")
        alpha, beta, function = _ACTIVATIONS[name.lower()]
        a = 0.0 if alpha is None else float(np.float32(next(alphas, alpha)))
        b = 0.0 if beta is None else float(np.float32(next(betas, beta)))
        functions.append(lambda x, f=function, a=a, b=b: f(x, a, b))
    return functions


def _run(
    op_type: str, spec: Spec, inputs: Sequence[Any], functions: Sequence[_Function], backward: Sequence[bool]
) -> tuple[Array, ...]:
    x, w, r = inputs[:3]
    batch_first = bool(spec.integer("layout", 0))
    sequence = np.swapaxes(x, 0, 1) if batch_first else x
    steps, batch, _ = sequence.shape
    count, size = len(backward), r.shape[-1]
    if w.shape[0] != count or len(functions) != count * len(_DEFAULTS[op_type]):
        raise ValueError(f"{w.shape[0]} directions of weights, {len(functions)} activations for {count} directions")
    lengths = np.full(batch, steps) if given(inputs, 4) is None else np.asarray(inputs[4])
    shape = (batch, count, size) if batch_first else (count, batch, size)
    states = [np.zeros(shape) if given(inputs, k) is None else inputs[k] for k in (5, 6)]
    h, c = (np.array(np.swapaxes(s, 0, 1) if batch_first else s) for s in states)
    y = np.zeros((steps, count, batch, size), x.dtype)
    for k, reverse in enumerate(backward):
        weights = _weights(op_type, spec, inputs, k, functions)
        y[:, k], h[k], c[k] = _direction(op_type, weights, sequence, lengths, (h[k], c[k]), reverse=reverse)
    if batch_first:
        return y.transpose(2, 0, 1, 3), np.swapaxes(h, 0, 1), np.swapaxes(c, 0, 1)
    return y, h, c


def _weights(op_type: str, spec: Spec, inputs: Sequence[Any], k: int, functions: Sequence[_Function]) -> _GateWeights:
    gates, size = _GATES[op_type], inputs[2].shape[-1]
    bias = np.zeros(2 * gates * size) if given(inputs, 3) is None else inputs[3][k]
    peepholes = np.zeros(3 * size) if given(inputs, 7) is None else inputs[7][k]
    each = len(_DEFAULTS[op_type])
    return _GateWeights(
        w=inputs[1][k],
        r=inputs[2][k],
        input_bias=bias[: gates * size],
        state_bias=bias[gates * size :],
        peepholes=peepholes.reshape(3, size),
        activations=functions[k * each : (k + 1) * each],
        clip=spec.number("clip", 0.0) or np.inf,
        linear_before_reset=bool(spec.integer("linear_before_reset", 0)),
        input_forget=bool(spec.integer("input_forget", 0)),
    )


def _direction(
    op_type: str, weights: _GateWeights, x: Array, lengths: Array, states: tuple[Array, Array], *, reverse: bool
) -> tuple[Array, Array, Array]:
    """The outputs of all steps, and the states after the last."""
    steps, batch, _ = x.shape
    h, c = states
    y = np.zeros((steps, *h.shape), x.dtype)
    samples = np.arange(batch)
    for t in range(steps):
        at = np.where(t < lengths, lengths - 1 - t, t) if reverse else np.full(batch, t)
        going = (t < lengths)[:, None]
        new_h, new_c = _STEPS[op_type](weights, x[at, samples], h, c)
        h, c = np.where(going, new_h, h), np.where(going, new_c, c)
        y[at, samples] = np.where(going, new_h, 0)
    some = (lengths > 0)[:, None]
    return y, np.where(some, h, 0), np.where(some, c, 0)
