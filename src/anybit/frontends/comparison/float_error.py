"""errors: how far a framework's float32 result of one node may lie from the exact one, computed from magnitudes.

    |fl(y) - y| <= growth(n) * u * sum(|w| * |x|) + sum(|w| * e_x + |x| * e_w)        of a sum of n products

with u the unit roundoff, e what is known of the inputs, growth(n) = min(n, 8 * sqrt(n)) + 2. The first is what holds in
any order of summation (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1); the second holds with
a probability of at least 1 - 2 * n * exp(-32) if rounding errors are independent with mean 0 (Higham and Mary, A New
Approach to Probabilistic Rounding Error Analysis, 2019). Element-wise operators are taken to be computed to 4 units of
roundoff of their result from an input that is off by 2, which libraries of elementary functions keep to but for what is
subnormal, which they may make 0, and for gates such as Gelu, which are off by up to 8 of their input; errors of their
inputs pass by the values at x - e and x + e. Operators that only choose or move elements add no error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from anybit.arrays import Array
from anybit.ops.standard.kernel import Kernel, is_float
from anybit.ops.traits import Traits
from anybit.runtime.compare import FLOAT_TOLERANCE

Error = Array | float
"""Bound of the error of each element, or 0.0 where there is none."""

_SIGMAS = 8.0
_STORES = 2  # roundings beside those of the sum: a bias, and the result
_ULPS_OF_RESULT = 4.0
_ULPS_OF_INPUT = 2.0
_ROUNDOFF = {ir.DataType.FLOAT16: 2.0**-11, ir.DataType.BFLOAT16: 2.0**-8, ir.DataType.DOUBLE: 2.0**-52}
_SINGLE = 2.0**-24
_ULPS_OF_GATE = 8.0  # of the input; torch 2.13 needs 6.4 for Gelu
_SMALLEST = 2.0**-147  # some units in the last place of float32 numbers that have lost their leading bits
_FLUSHED = 2.0**-126  # below it are the numbers that vectorised elementary functions may make 0

SINGLE_OPERATIONS = frozenset(("Add", "Div", "Mul", "Sqrt", "Sub"))
"""One operation of IEEE 754, whose float32 result is the same everywhere."""

CHOOSING = frozenset(
    """Abs ArgMax ArgMin Cast CastLike Ceil Clip Concat Constant ConstantOfShape Floor Max Min Neg NonZero OneHot Pad
    Range ReduceMax ReduceMin Relu Round ScatterElements ScatterND Shape Sign Size Slice TopK Trilu Where""".split()
)
"""They give one of their inputs, or an integer, and round nothing else."""


_GATES = frozenset("Celu Elu Gelu HardSwish Mish Selu Softplus Swish".split())


def roundoff(node: ir.Node) -> float:
    """The unit roundoff of the type that a node computes in."""
    dtype = node.outputs[0].dtype if node.outputs else None
    return _SINGLE if dtype is None else _ROUNDOFF.get(dtype, _SINGLE)


def growth(terms: float) -> float:
    """How many units of roundoff of the sum of magnitudes a sum of so many terms may be off."""
    return min(terms, _SIGMAS * math.sqrt(terms)) + _STORES


def errors_of(
    node: ir.Node,
    traits: Traits,
    kernel: Kernel,
    inputs: Sequence[Any],
    errors: Sequence[Error],
    outputs: Sequence[Any],
) -> list[Error]:
    """The bounds of a node's outputs.

    Args:
        node: The node.
        traits: What its operator is like.
        kernel: What computes it from arrays.
        inputs: Values of its inputs, floating-point ones in float64; None where left out.
        errors: Their bounds.
        outputs: What the kernel makes of the inputs.
    """
    u = roundoff(node)
    if node.domain == "" and node.op_type in _SUMS:
        return [_of_sum(_SUMS[node.op_type](inputs, outputs[0]), u, kernel, inputs, errors)]
    if node.domain == "" and node.op_type in _OWN_RULES:
        return [_OWN_RULES[node.op_type](node, u, inputs, errors[0], np.asarray(outputs[0])), *[0.0] * len(outputs[1:])]
    passed = _passed(kernel, inputs, errors, outputs)
    if node.domain != "" or traits.movement is not None or node.op_type in CHOOSING:
        return passed
    return [_plus(p, _own(node, traits, u, kernel, inputs, y)) for p, y in zip(passed, outputs, strict=True)]


def _own(node: ir.Node, traits: Traits, u: float, kernel: Kernel, inputs: Sequence[Any], y: Any) -> Error:
    if not is_float(y):
        return 0.0
    magnitude = np.abs(y)
    if not traits.elementwise:  # nothing is known of it but that frameworks compute it in float32
        return np.full(y.shape, FLOAT_TOLERANCE * float(magnitude[np.isfinite(magnitude)].max(initial=0.0)))
    own = _ULPS_OF_RESULT * u * magnitude + _SMALLEST
    if node.op_type in SINGLE_OPERATIONS:
        return own
    own = own + _FLUSHED
    if node.op_type in _GATES:  # x times a number from 0 to 1, or exp(x) - 1: what nearly cancels was rounded before
        own = own + _ULPS_OF_GATE * u * np.abs(inputs[0])
    moved = [_ULPS_OF_INPUT * u * np.abs(x) if is_float(x) else 0.0 for x in inputs]
    return own + _passed(kernel, inputs, moved, [y])[0]


def _plus(a: Error, b: Error) -> Error:
    return a if is_exact(b) else a + b


def is_exact(error: Error) -> bool:
    """Whether the bound is the number 0, not an array."""
    return isinstance(error, float) and not error


def _passed(kernel: Kernel, inputs: Sequence[Any], errors: Sequence[Error], outputs: Sequence[Any]) -> list[Error]:
    """What the errors of the inputs do: how far the results at x - e and x + e are from that at x, added up."""
    total: list[Error] = [0.0] * len(outputs)
    for position, error in enumerate(errors):
        if is_exact(error):
            continue
        worst: list[Error] = [0.0] * len(outputs)
        for moved in (inputs[position] - error, inputs[position] + error):
            results = kernel([*inputs[:position], moved, *inputs[position + 1 :]])
            worst = [np.maximum(w, _gap(a, b)) for w, a, b in zip(worst, results, outputs, strict=True)]
        total = [_plus(t, w) for t, w in zip(total, worst, strict=True)]
    return total


def _gap(a: Any, b: Any) -> Array:
    """|a - b|; equal infinities and NaN are equal, all else beside them is infinitely far."""
    left, right = np.asarray(a), np.asarray(b)
    if left.shape != right.shape or left.dtype.kind not in "fiub":
        return np.asarray(np.inf)
    left, right = left.astype(np.float64), right.astype(np.float64)
    with np.errstate(invalid="ignore"):
        same = (left == right) | (np.isnan(left) & np.isnan(right))
        gap = np.where(same, 0.0, np.abs(left - right))
    return np.where(np.isnan(gap), np.inf, gap)


def _of_sum(terms: float, u: float, kernel: Kernel, inputs: Sequence[Any], errors: Sequence[Error]) -> Error:
    sizes = [np.abs(x) if is_float(x) else x for x in inputs]
    whole = [s + e if is_float(s) else s for s, e in zip(sizes, errors, strict=True)]
    with np.errstate(all="ignore"):
        most = kernel(whole)[0]
        bound = growth(terms) * u * np.abs(most) + _SMALLEST
        if all(is_exact(e) for e in errors):
            return bound
        return bound + np.abs(most - kernel(sizes)[0])


def _ratio(inputs: Sequence[Any], y: Any) -> float:
    return max(np.size(inputs[0]) / max(np.size(y), 1), 1.0)


def _terms_of_einsum(inputs: Sequence[Any], y: Any) -> float:
    return max(math.prod(np.size(x) for x in inputs) / max(np.size(y), 1), 1.0)


_SUMS: dict[str, Callable[[Sequence[Any], Any], float]] = {
    "AveragePool": lambda x, _: float(math.prod(x[0].shape[2:])),
    "Conv": lambda x, _: float(math.prod(x[1].shape[1:])),
    "ConvTranspose": lambda x, _: float(math.prod(x[1].shape) / x[1].shape[1]),
    "CumSum": lambda x, _: float(max(x[0].shape, default=1)),
    "Einsum": _terms_of_einsum,
    "Gemm": lambda x, y: float(np.size(x[0]) / max(y.shape[0], 1)),
    "GlobalAveragePool": _ratio,
    "MatMul": lambda x, _: float(x[0].shape[-1]),
    "ReduceL1": _ratio,
    "ReduceMean": _ratio,
    "ReduceSum": _ratio,
}


def _softmax(node: ir.Node, u: float, inputs: Sequence[Any], error: Error, y: Array) -> Error:
    """exp(x - max) / sum: errors of x are relative errors of the result, and so is the rounding of x - max."""
    x, axis = inputs[0], _attribute(node, "axis", -1)
    off = np.max(np.broadcast_to(error, x.shape), axis=axis, keepdims=True)
    with np.errstate(all="ignore"):
        far = np.nan_to_num(np.abs(x - np.max(x, axis=axis, keepdims=True)), posinf=0.0)
    relative = 2 * off + (growth(x.shape[axis]) + _ULPS_OF_RESULT + 2 * far) * u
    return relative + u * np.abs(y) if node.op_type == "LogSoftmax" else np.expm1(relative) * y + _FLUSHED


def _batch_normalization(node: ir.Node, u: float, inputs: Sequence[Any], error: Error, y: Array) -> Error:
    """Frameworks may compute x * a + b with b = beta - mean * a: the magnitudes of all three count."""
    del y
    x, gamma, beta, mean, variance = (np.abs(v) for v in inputs[:5])
    shape = (1, -1) + (1,) * (x.ndim - 2)
    gain = (gamma / np.sqrt(variance + _attribute(node, "epsilon", 1e-5))).reshape(shape)
    size = gain * (x + mean.reshape(shape)) + beta.reshape(shape)
    return 2 * _ULPS_OF_RESULT * u * size + gain * error


def _layer_normalization(node: ir.Node, u: float, inputs: Sequence[Any], error: Error, y: Array) -> Error:
    del y
    x = inputs[0]
    first = _attribute(node, "axis", -1) % x.ndim
    scale, shift = (np.abs(v) if v is not None else 0.0 for v in (inputs[1], inputs[2] if len(inputs) > 2 else None))
    return _normalized(node, u, x, error, tuple(range(first, x.ndim)), scale, shift)


def _instance_normalization(node: ir.Node, u: float, inputs: Sequence[Any], error: Error, y: Array) -> Error:
    del y
    x = inputs[0]
    shape = (1, -1) + (1,) * (x.ndim - 2)
    scale, shift = (np.abs(v).reshape(shape) for v in inputs[1:3])
    return _normalized(node, u, x, error, tuple(range(2, x.ndim)), scale, shift)


def _normalized(
    node: ir.Node, u: float, x: Array, error: Error, axes: tuple[int, ...], scale: Error, shift: Error
) -> Error:
    """(x - mean) / deviation * scale + shift: the errors of the mean, of the deviation, and of the result."""
    n = math.prod(x.shape[a] for a in axes)
    centred = x - x.mean(axis=axes, keepdims=True)
    deviation = np.sqrt(np.square(centred).mean(axis=axes, keepdims=True) + _attribute(node, "epsilon", 1e-5))
    unit = np.abs(centred) / deviation
    off = np.broadcast_to(error, x.shape) + u * np.abs(x)
    mean_off = off.mean(axis=axes, keepdims=True) + growth(n) * u * np.abs(x).mean(axis=axes, keepdims=True)
    off = (off + mean_off) / deviation
    relative = growth(n) * u + (unit * off).mean(axis=axes, keepdims=True)
    return scale * (off + unit * (relative + _ULPS_OF_RESULT * u)) + _ULPS_OF_RESULT * u * shift


def _attribute(node: ir.Node, name: str, default: Any) -> Any:
    found = node.attributes.get(name)
    return default if found is None else found.value


_OWN_RULES: dict[str, Callable[[ir.Node, float, Sequence[Any], Error, Array], Error]] = {
    "BatchNormalization": _batch_normalization,
    "InstanceNormalization": _instance_normalization,
    "LayerNormalization": _layer_normalization,
    "LogSoftmax": _softmax,
    "Softmax": _softmax,
}
