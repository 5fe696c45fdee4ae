"""The ten reductions: floating-point numbers in float64, integers in their own type, which wraps around."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from anybit.arrays import Array
from anybit.ops.standard.kernel import Kernel, Spec, as_integers, given

_Reduction = Callable[[Array, tuple[int, ...]], Array]


def make_reduction(name: str) -> Callable[[Spec], Kernel]:
    """What makes the kernel of the reduction "Sum", "Mean", ...

    Axes are an attribute before version 18 (13 for Sum), an input since. None mean all, or none with
    `noop_with_empty_axes`. A real result of integers is truncated.
    """
    reduce, since = _REDUCTIONS[name], 13 if name == "Sum" else 18

    def make(spec: Spec) -> Kernel:
        keep = bool(spec.integer("keepdims", 1))

        def run(inputs: Sequence[Any]) -> tuple[Array, ...]:
            x = inputs[0]
            axes = given(inputs, 1) if spec.opset >= since else spec.attributes.get("axes")
            chosen = [] if axes is None else [a % x.ndim if x.ndim else a for a in as_integers(np.asarray(axes))]
            if not chosen and not spec.integer("noop_with_empty_axes", 0):
                chosen = list(range(x.ndim))
            y = np.asarray(reduce(x, tuple(chosen)))
            if y.dtype != x.dtype and y.dtype.kind != "V":
                y = _whole(y, x.dtype)
            return (y if keep else y.squeeze(tuple(chosen)),)

        return run

    return make


def _whole(y: Array, dtype: np.dtype[Any]) -> Array:
    if dtype.kind not in "iu":
        return y.astype(dtype)
    info = np.iinfo(dtype)
    return np.where(np.isfinite(y), np.clip(np.trunc(y), info.min, info.max), info.min).astype(dtype)


def _sum(x: Array, axes: tuple[int, ...]) -> Array:
    return x.sum(axis=axes, keepdims=True, dtype=x.dtype)


def _mean(x: Array, axes: tuple[int, ...]) -> Array:
    count = int(np.prod([x.shape[a] for a in axes], dtype=np.int64))
    total = _sum(x, axes)
    if x.dtype.kind not in "iu":
        return total / count
    return (np.abs(total) // max(count, 1) * np.sign(total)).astype(x.dtype)


def _log_sum_exp(x: Array, axes: tuple[int, ...]) -> Array:
    real = x.astype(np.float64)
    most = real.max(axis=axes, keepdims=True, initial=-np.inf)
    shift = np.where(np.isfinite(most), most, 0)
    return np.log(np.exp(real - shift).sum(axis=axes, keepdims=True)) + shift


def _extreme(x: Array, axes: tuple[int, ...], *, largest: bool) -> Array:
    reduce = np.max if largest else np.min
    if x.dtype == np.bool_:
        return (np.any if largest else np.all)(x, axis=axes, keepdims=True)
    info = np.iinfo(x.dtype) if x.dtype.kind in "iu" else ml_dtypes.finfo(x.dtype)
    of_none = (info.min if largest else info.max) if x.dtype.kind in "iu" else (-np.inf if largest else np.inf)
    return reduce(x, axis=axes, keepdims=True, initial=of_none)


_REDUCTIONS: dict[str, _Reduction] = {
    "Sum": _sum,
    "Mean": _mean,
    "Prod": lambda x, axes: x.prod(axis=axes, keepdims=True, dtype=x.dtype),
    "SumSquare": lambda x, axes: _sum(x * x, axes),
    "L1": lambda x, axes: _sum(np.abs(x), axes),
    "L2": lambda x, axes: np.sqrt(_sum(x * x, axes).astype(np.float64)),
    "LogSum": lambda x, axes: np.log(_sum(x, axes).astype(np.float64)),
    "LogSumExp": _log_sum_exp,
    "Max": lambda x, axes: _extreme(x, axes, largest=True),
    "Min": lambda x, axes: _extreme(x, axes, largest=False),
}
