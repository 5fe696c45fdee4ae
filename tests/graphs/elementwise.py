"""Arithmetic, activations, selection and normalisation: operators that give a tensor of (nearly) the same shape."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.graphs.builder import Builder
from tests.graphs.quantisers import parameter_shape, quant_of
from tests.strategies import Array

_SMALL = 10.0
_ACTIVATIONS: dict[str, dict[str, Any]] = {
    "Relu": {},
    "LeakyRelu": {"alpha": 0.1},
    "Elu": {"alpha": 1.5},
    "Selu": {},
    "Celu": {"alpha": 0.7},
    "Softplus": {},
    "Softsign": {},
    "HardSigmoid": {"alpha": 0.3, "beta": 0.4},
    "HardSwish": {},
    "Sigmoid": {},
    "Tanh": {},
    "Erf": {},
    "Gelu": {},
    "Mish": {},
    "ThresholdedRelu": {"alpha": 0.5},
    "Sign": {},
    "Floor": {},
    "Ceil": {},
    "Round": {},
    "Neg": {},
    "Abs": {},
    "Identity": {},
    "Sin": {},
    "Cos": {},
    "Atan": {},
}
_SINCE = {"Gelu": 20, "HardSwish": 14, "Mish": 18, "Celu": 12, "Round": 11}
_FLOAT_ONLY = ("Celu",)


def activation(b: Builder) -> None:
    names = [n for n in _ACTIVATIONS if _SINCE.get(n, 1) <= b.opset and (b.dtype == np.float32 or n not in _FLOAT_ONLY)]
    name = "Relu" if b.chance(0.3) else b.choose(names)
    attributes = dict(_ACTIVATIONS[name])
    if name == "LeakyRelu":
        attributes["alpha"] = float(b.choose([0.1, 0.25, -0.5, 1.5]))
    if name == "Gelu":
        attributes["approximate"] = b.choose(["none", "tanh"])
    b.put(name, [b.pick()], **attributes)


def prelu(b: Builder) -> None:
    x = b.pick()
    slope = b.constant(b.rng.uniform(-0.5, 1.5, parameter_shape(b, b.samples[x].shape)))
    b.put("PRelu", [x, slope])


def steep(b: Builder) -> None:
    """Functions of small or positive arguments."""
    x = b.pick(lambda a: bool(np.abs(a).max() < _SMALL))
    match int(b.rng.integers(0, 6)):
        case 0:
            b.put("Exp", [x])
        case 1:
            b.put("Sqrt", [b.node("Abs", [x])[0]])
        case 2:
            b.put("Log", [b.node("Add", [b.node("Abs", [x])[0], b.constant(0.25)])[0]])
        case 3:
            b.put("Pow", [x, b.constant(b.choose([2.0, 3.0]))])
        case 4:
            b.put("Reciprocal", [b.node("Add", [b.node("Mul", [x, x])[0], b.constant(0.5)])[0]])
        case _:
            b.put("Pow", [b.node("Abs", [x])[0], b.constant(b.choose([0.5, 1.5, 0.0]))])


def with_constant(b: Builder) -> None:
    x = b.pick()
    shape = parameter_shape(b, b.samples[x].shape)
    kind = b.choose(["Add", "Sub", "Mul", "Div", "Min", "Max"])
    c: Array = b.rng.choice([0.5, 2.0, -1.0, 3.0, 0.1, -0.25, 1.0, 1.7, 0.0], shape)
    if kind == "Div":
        c = np.where(c == 0, 4.0, c)
    inputs = [x, b.constant(c)]
    if kind in ("Add", "Sub", "Mul") and b.chance(0.3):
        inputs.reverse()
    b.put(kind, inputs)


def with_itself(b: Builder) -> None:
    x = b.pick()
    b.put(b.choose(["Mul", "Sub", "Add", "Max", "Min"]), [x, x])


def of_two(b: Builder) -> None:
    """Residual arithmetic between two tensors of the graph; often behind one and the same quantiser."""
    x = b.pick()
    shape = b.samples[x].shape

    def broadcasts(a: Array) -> bool:
        return a.ndim == len(shape) and all(m in (1, n) or n == 1 for m, n in zip(a.shape, shape, strict=True))

    older = [n for n in b.pool if b.samples[n].dtype == b.dtype and broadcasts(b.samples[n])]
    y = b.choose(older)
    if b.chance(0.4):
        first = quant_of(b, x)
        options = b.nodes[-1]
        again = list(options.input)
        again[0] = y
        attributes = {a.name: a.i if a.type == 2 else a.s.decode() for a in options.attribute}
        second = b.node(options.op_type, again, domain=options.domain, **attributes)[0]
        x, y = first, second
    b.put(b.choose(["Add", "Add", "Sub", "Mul", "Min", "Max"]), [x, y])


def sum_of_three(b: Builder) -> None:
    x = b.pick()
    y = b.pick(lambda a: a.shape == b.samples[x].shape)
    b.put(b.choose(["Sum", "Max", "Min", "Mean"]), [x, y, x])


def quotient(b: Builder) -> None:
    x = b.pick()
    y = b.pick(lambda a: a.shape == b.samples[x].shape)
    b.put("Div", [x, b.node("Add", [b.node("Abs", [y])[0], b.constant(0.5)])[0]])


def clip(b: Builder) -> None:
    x = b.pick()
    lo, hi = np.sort(b.rng.normal(0, 2, 2)).round(2)
    if b.opset < 11:
        b.put("Clip", [x], min=float(lo), max=float(hi))
        return
    ends = [b.constant(lo) if b.chance(0.8) else "", b.constant(hi)]
    b.put("Clip", [x, *ends])


def where(b: Builder) -> None:
    x = b.pick()
    y = b.pick(lambda a: a.shape == b.samples[x].shape)
    other = b.constant(b.choose([0.0, 1.0, -0.5])) if b.chance(0.5) else y
    mask = b.node("Greater", [y, b.constant(b.choose([0.0, 0.25]))])[0]
    b.put("Where", [mask, x, other])
    if b.chance(0.3):
        b.put("Cast", [mask], to=11 if b.dtype == np.float64 else 1)


def softmax(b: Builder) -> None:
    name = b.choose(["Softmax", "Softmax", "LogSoftmax", "Hardmax"])
    x = b.pick()
    axis = int(b.rng.integers(1, b.samples[x].ndim)) if b.samples[x].ndim > 1 else 0
    b.put(name, [x], axis=axis)


def batch_normalization(b: Builder) -> None:
    x = b.pick(lambda a: a.ndim >= 2)
    channels = b.samples[x].shape[1]
    gamma = b.rng.choice([1.0, 0.5, -0.7, 0.0, 1.3, -2.0], channels)
    beta, mean = b.rng.normal(0, 1, channels), b.rng.normal(0, 1, channels)
    variance = b.rng.uniform(0.01, 3, channels)
    b.put("BatchNormalization", [x, *map(b.constant, (gamma, beta, mean, variance))], epsilon=1e-5)


def other_normalization(b: Builder) -> None:
    x = b.pick(lambda a: a.ndim >= 3)
    array = b.samples[x]
    if b.opset >= 17 and b.chance(0.5):
        shape = array.shape[-1]
        inputs = [x, b.constant(b.rng.normal(1, 1, shape)), b.constant(b.rng.normal(0, 1, shape))]
        b.put("LayerNormalization", inputs, axis=-1)
        return
    channels = array.shape[1]
    inputs = [x, b.constant(b.rng.normal(1, 1, channels)), b.constant(b.rng.normal(0, 1, channels))]
    b.put("InstanceNormalization", inputs)


def through_integers(b: Builder) -> None:
    x = b.pick(lambda a: bool(np.abs(a).max() < 100))
    own = 11 if b.dtype == np.float64 else 1
    if b.opset >= 13 and b.chance(0.3):
        b.put("Cast", [b.node("Greater", [x, b.constant(0)])[0]], to=own)
        return
    b.put("Cast", [b.node("Cast", [x], to=b.choose([6, 7]))[0]], to=own)


STEPS = {
    "activation": activation,
    "prelu": prelu,
    "steep": steep,
    "with_constant": with_constant,
    "with_itself": with_itself,
    "of_two": of_two,
    "sum_of_three": sum_of_three,
    "quotient": quotient,
    "clip": clip,
    "where": where,
    "softmax": softmax,
    "batch_normalization": batch_normalization,
    "other_normalization": other_normalization,
    "through_integers": through_integers,
}
