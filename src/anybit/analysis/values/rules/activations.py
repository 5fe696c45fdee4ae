"""Activations, rounding, roots, exponentials and trigonometry: functions of one number."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from anybit.analysis.values.bounds.axes import anywhere, datatype_with
from anybit.analysis.values.bounds.corners import outward
from anybit.analysis.values.bounds.curves import Curve, loosened, of_curve, rule_of
from anybit.analysis.values.bounds.powers import pow_, reciprocal
from anybit.analysis.values.tensor_values import IntegerGrid, TensorValues, bounded, integers, of_integers, on_grid
from anybit.analysis.values.transfer import NodeContext, NotFollowed, Rules

# Where x * Phi(x), its tanh form, x * sigmoid(x) and x * tanh(softplus(x)) are smallest.
_LOWEST_GELU = -0.7517915952491446
_LOWEST_TANH_GELU = -0.7524614220710162
_LOWEST_SWISH = -1.2784645427610738
_LOWEST_MISH = -1.1924309234726417

# Beyond, neighbouring floats are too far apart to tell where in a period they are.
_LARGEST_ANGLE = 1e4


def relu(site: NodeContext) -> TensorValues:
    """max(x, 0); on a grid where 0 is one of its numbers, or never reached."""
    x = site.values(0)
    values = bounded(np.maximum(x.lo, 0.0), np.maximum(x.hi, 0.0))
    return on_grid(None if x.grid is None else _rectified(x.grid), like=values)


def _rectified(grid: IntegerGrid) -> IntegerGrid | None:
    z = grid.zero_point
    if (grid.lo >= z).all():
        return grid
    if not ((z == np.floor(z)) | (grid.lo >= z)).all():
        return None
    return replace(grid, lo=np.maximum(grid.lo, z), hi=np.maximum(grid.hi, z), datatype=datatype_with(grid, np.ceil(z)))


def leaky_relu(site: NodeContext) -> TensorValues:
    """x where x >= 0, else alpha * x."""
    return _kept(site) or of_curve(site, Curve(turns=(0.0,), relative=4))


def prelu(site: NodeContext) -> TensorValues:
    """x where x >= 0, else slope * x."""
    kept = _kept(site)
    if kept is not None:
        return kept
    x, slope, dtype = site.values(0), site.values(1), site.dtype()
    if not _broadcasts(site):
        slope = anywhere(replace(slope, grid=None))
    low, high = outward(x.lo, dtype, up=False), outward(x.hi, dtype, up=True)
    slopes = (outward(slope.lo, dtype, up=False), outward(slope.hi, dtype, up=True))
    with np.errstate(all="ignore"):
        results = [
            np.asarray(np.where((p >= 0) | (s == 0), np.maximum(p, 0), p * s), np.float64)
            for p in (low, high, np.clip(np.zeros((), dtype), low, high))
            for s in slopes
        ]
    lo, hi = (_reduced(choose, results) for choose in (np.minimum, np.maximum))
    return of_integers(loosened(bounded(lo, hi), dtype, relative=2), dtype)


def _reduced(choose: np.ufunc, arrays: list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]):
    return np.asarray(choose.reduce(np.broadcast_arrays(*arrays), axis=0), np.float64)


def _broadcasts(site: NodeContext) -> bool:
    """Whether the slope is known to broadcast to x: shapes may be unknown."""
    x, slope = site.shapes[0], site.shapes[1]
    if x is None or slope is None or len(slope) > len(x):
        return False
    return all(s in (1, d) for s, d in zip(reversed(slope), reversed(x), strict=False))


def elu(site: NodeContext) -> TensorValues:
    """x where x > 0, else alpha * (exp(x) - 1)."""
    scale = max(1.0, abs(float(site.attribute("alpha", 1.0))))
    return _kept(site) or of_curve(site, Curve(turns=(0.0,), relative=4, absolute=4 * scale))


def celu(site: NodeContext) -> TensorValues:
    """x where x > 0, else alpha * (exp(x / alpha) - 1)."""
    alpha = float(site.attribute("alpha", 1.0))
    if alpha <= 0:
        raise NotFollowed("alpha is not positive")
    return _kept(site) or of_curve(site, Curve(relative=4, absolute=4 * max(1.0, alpha)))


def selu(site: NodeContext) -> TensorValues:
    """gamma * x where x > 0, else gamma * alpha * (exp(x) - 1)."""
    alpha, gamma = float(site.attribute("alpha", 1.6732632)), float(site.attribute("gamma", 1.0507010))
    return of_curve(site, Curve(turns=(0.0,), relative=8, absolute=4 * max(1.0, abs(alpha * gamma))))


def thresholded_relu(site: NodeContext) -> TensorValues:
    """x where x > alpha, else 0; it jumps at alpha."""
    alpha = float(site.attribute("alpha", 1.0))
    return _kept(site, above=alpha) or of_curve(site, Curve(turns=_around(site, alpha)))


def shrink(site: NodeContext) -> TensorValues:
    """x + bias where x < -lambd, x - bias where x > lambd, else 0; it jumps at both."""
    limit = float(site.attribute("lambd", 0.5))
    if limit < 0 or site.dtype() == np.float64:
        raise NotFollowed("lambd is negative, or ONNX Runtime computes it in float32")
    return of_curve(site, Curve(turns=(*_around(site, -limit), *_around(site, limit)), relative=4))


def _around(site: NodeContext, number: float) -> tuple[float, ...]:
    """The number in the tensor's type, and its neighbours."""
    middle = np.asarray(number, site.dtype())
    return tuple(float(n) for n in (np.nextafter(middle, -np.inf), middle, np.nextafter(middle, np.inf)))


def _kept(site: NodeContext, above: float | None = None) -> TensorValues | None:
    """The input itself, if all of it is where the function is the identity: x >= 0, or x > above."""
    x = site.values(0)
    inside = x.lo >= 0 if above is None else x.lo > above
    return TensorValues(x.lo, x.hi, x.grid) if inside.all() and site.dtype().kind == "f" else None


def hard_sigmoid(site: NodeContext) -> TensorValues:
    """clip(alpha * x + beta, 0, 1)."""
    beta = abs(float(site.attribute("beta", 0.5)))
    return of_curve(site, Curve(relative=2, absolute=2 * (1 + beta), least=0, most=1))


def gelu(site: NodeContext) -> TensorValues:
    """x * Phi(x), or its tanh form, whose tail is as inexact as ONNX Runtime's tanh."""
    if site.attribute("approximate", "none") == "tanh":
        return of_curve(site, Curve(turns=(_LOWEST_TANH_GELU,), relative=8, absolute=32))
    return of_curve(site, Curve(turns=(_LOWEST_GELU,), relative=8, absolute=4))


def swish(site: NodeContext) -> TensorValues:
    """x * sigmoid(alpha * x)."""
    alpha = float(site.attribute("alpha", 1.0))
    if not alpha:
        return of_curve(site, Curve(relative=4))
    return of_curve(site, Curve(turns=(_LOWEST_SWISH / alpha,), relative=8, absolute=64 * max(1.0, 1 / abs(alpha))))


def rounding(site: NodeContext) -> TensorValues:
    """Floor, Ceil, Round: integers; those of an integer grid stay what they are."""
    x = site.values(0)
    if x.grid is not None and x.grid.is_centred and (x.grid.scale == 1).all():
        return TensorValues(x.lo, x.hi, x.grid) if (x.lo == np.rint(x.lo)).all() else _whole(site, x.grid)
    return _whole(site, None)


def _whole(site: NodeContext, grid: IntegerGrid | None) -> TensorValues:
    values = of_curve(site, Curve())
    return on_grid(grid, like=values) if grid is not None else integers(values.lo, values.hi)


def sign(site: NodeContext) -> TensorValues:
    """-1, 0 or 1."""
    x = site.values(0)
    return integers(np.sign(x.lo), np.sign(x.hi))


def sin(site: NodeContext) -> TensorValues:
    """The sine; every extreme of an interval shorter than a period is at an end or at a crest or trough."""
    return _wave(site, np.pi / 2)


def cos(site: NodeContext) -> TensorValues:
    """The cosine; every extreme of an interval shorter than a period is at an end or at a crest or trough."""
    return _wave(site, 0.0)


def _wave(site: NodeContext, crest: float) -> TensorValues:
    x = site.values(0)
    lo, hi = float(x.lo.min(initial=np.inf)), float(x.hi.max(initial=-np.inf))
    if not (lo > -_LARGEST_ANGLE and hi < _LARGEST_ANGLE and hi - lo < 2 * np.pi):
        return bounded(-1.0, 1.0)
    first = crest + np.pi * np.ceil((lo - crest) / np.pi)
    turns = tuple(first + np.pi * k for k in range(3))
    return of_curve(site, Curve(turns=turns, relative=8, absolute=4, least=-1, most=1))


def tan(site: NodeContext) -> TensorValues:
    """The tangent, monotone between -pi/2 and pi/2; unbounded elsewhere."""
    x = site.values(0)
    if not ((x.lo > -1.57) & (x.hi < 1.57)).all():
        raise NotFollowed("the angle leaves -1.57 .. 1.57")
    return of_curve(site, Curve(relative=16, keeps_sign=True))


RULES: Rules = {
    "Acos": rule_of(Curve(start=-1, end=1, relative=12, least=0)),
    "Acosh": rule_of(Curve(start=1, relative=8, least=0)),
    "Asin": rule_of(Curve(start=-1, end=1, relative=16, keeps_sign=True)),
    "Asinh": rule_of(Curve(relative=8, keeps_sign=True)),
    "Atan": rule_of(Curve(relative=12, keeps_sign=True)),
    "Atanh": rule_of(Curve(start=-1, end=1, relative=8, keeps_sign=True)),
    "Ceil": rounding,
    "Celu": celu,
    "Cos": cos,
    "Cosh": rule_of(Curve(turns=(0.0,), relative=8, least=1)),
    "Elu": elu,
    "Erf": rule_of(Curve(relative=4, least=-1, most=1, keeps_sign=True)),
    "Exp": rule_of(Curve(relative=4, least=0)),
    "Floor": rounding,
    "Gelu": gelu,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": rule_of(Curve(turns=(-3, -1.5, 3), relative=4, absolute=8)),
    "LeakyRelu": leaky_relu,
    "Log": rule_of(Curve(start=0, relative=8, absolute=2)),
    "Mish": rule_of(Curve(turns=(_LOWEST_MISH,), relative=16, absolute=6)),
    "PRelu": prelu,
    "Pow": pow_,
    "Reciprocal": reciprocal,
    "Relu": relu,
    "Round": rounding,
    "Selu": selu,
    "Shrink": shrink,
    "Sigmoid": rule_of(Curve(relative=4, absolute=8, least=0, most=1, overshoot=8)),
    "Sign": sign,
    "Sin": sin,
    "Sinh": rule_of(Curve(relative=8, keeps_sign=True)),
    "Softplus": rule_of(Curve(relative=12, absolute=1, least=0)),
    "Softsign": rule_of(Curve(relative=4, least=-1, most=1, overshoot=4, keeps_sign=True)),
    "Sqrt": rule_of(Curve(start=0)),
    "Swish": swish,
    "Tan": tan,
    "Tanh": rule_of(Curve(relative=10, least=-1, most=1, overshoot=8, keeps_sign=True)),
    "ThresholdedRelu": thresholded_relu,
}
