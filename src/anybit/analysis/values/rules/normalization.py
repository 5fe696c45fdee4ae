"""BatchNormalization and its relatives, Softmax, LRN.

Engines compute statistics in float32, and may scale x and mean before they subtract one from the other: a result is
off by about n*u*|x| / sqrt(epsilon) (ONNX Runtime's LayerNormalization gave 19.8 for 4 elements of 1e6 +- 1, where
sqrt(3) is the bound in exact arithmetic). Its GroupNormalization takes E[x^2] - E[x]^2, which cancels
(388 sqrt(n) was measured at x = 10000 +- 1), so that rule has to allow for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from anybit.analysis.values.bounds.axes import anywhere, normalised
from anybit.analysis.values.bounds.curves import loosened
from anybit.analysis.values.rules.arithmetic import offset, times
from anybit.analysis.values.tensor_values import Float64s, TensorValues, bounded, on_grid
from anybit.analysis.values.transfer import NodeContext, NotFollowed, Rules
from anybit.arrays import Array, as_float64

_FLOAT32_UNIT = 2.0**-24

# Roundings of a normalisation by known statistics, in whichever order an engine does it: folded into scale and bias
# (square root, quotient, product, difference), or into the weights of a convolution. Our own float64 has as many.
_ROUNDINGS = 16


def batch_normalization(site: NodeContext) -> TensorValues:
    """(x - mean) * scale / sqrt(variance + epsilon) + bias by channel, a known affine function of x."""
    _refuse_training(site)
    x, rank, dtype = site.values(0), len(site.shape(0)), site.dtype()
    if rank < 2:
        raise NotFollowed("there is no axis of channels")
    scale, bias, mean, variance = (_by_channel(site.required_constant(i), rank) for i in range(1, 5))
    factor = scale / np.sqrt(variance + float(np.float32(site.attribute("epsilon", 1e-5))))
    if not np.isfinite(factor).all():
        raise NotFollowed("a variance is not positive")
    shift = bias - mean * factor
    ends = [_product(b, factor) for b in (x.lo, x.hi)]
    finite = [np.where(np.isfinite(end), np.abs(end), 0.0) for end in ends]
    stray = [(end + np.abs(mean * factor) + np.abs(bias)) * _unit_of(site) * _ROUNDINGS for end in finite]
    lo = np.minimum(ends[0] - stray[0], ends[1] - stray[1]) + shift
    hi = np.maximum(ends[0] + stray[0], ends[1] + stray[1]) + shift
    values = loosened(bounded(lo, hi), dtype, relative=1)
    scaled = bounded(values.lo, values.hi, times(x.grid, factor))
    return on_grid(offset(scaled, bounded(shift, shift)), like=values)


def _refuse_training(site: NodeContext) -> None:
    if site.opset >= 14:
        trains = bool(site.attribute("training_mode", 0))
    elif site.opset >= 7:
        trains = len(site.node.outputs) > 1
    else:
        trains = not site.attribute("is_test", 0)
    if trains or not site.attribute("spatial", 1):
        raise NotFollowed("statistics of the batch, or by element")


def _by_channel(parameter: Array, rank: int) -> Float64s:
    """One entry for each channel, along axis 1."""
    return as_float64(parameter).reshape((-1, *(1,) * (rank - 2)))


def _product(a: Float64s, b: Float64s) -> Float64s:
    """a * b, 0 where one of them is 0."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where((a == 0) | (b == 0), 0.0, a * b)


def layer_normalization(site: NodeContext) -> list[TensorValues]:
    """scale * (x - mean) / sqrt(variance + epsilon) + bias over the last axes; see `_deviations`."""
    x, shape = site.values(0), site.shape(0)
    epsilon = _epsilon(site)
    count = _count(shape[normalised(int(site.attribute("axis", -1)), len(shape)) :])
    bound = _deviations(count, x, epsilon)
    y = _affine(site, bound, site.values(1), site.optional(2))
    extent = float(np.maximum(-x.lo, x.hi).max(initial=0.0))
    off = 0.0 if not extent else extent * _FLOAT32_UNIT * (count + 2)
    mean = bounded(x.lo.min(initial=np.inf) - off, x.hi.max(initial=-np.inf) + off)
    inverse = bounded(0.0, (1 + 8 * _FLOAT32_UNIT) / math.sqrt(epsilon)) if epsilon else bounded(0.0, np.inf)
    return [y, mean, inverse][: len(site.node.outputs)]


def instance_normalization(site: NodeContext) -> TensorValues:
    """scale * (x - mean) / sqrt(variance + epsilon) + bias over the spatial axes, by channel."""
    x, shape = site.values(0), site.shape(0)
    bound = _deviations(_count(shape[2:]), x, _epsilon(site))
    scale, bias = (_channels(site.values(i), len(shape)) for i in (1, 2))
    return _affine(site, bound, scale, bias)


def group_normalization(site: NodeContext) -> TensorValues:
    """scale * (x - mean) / sqrt(variance + epsilon) + bias over groups of channels; the variance may cancel.

    Off by up to d in float arithmetic, it makes the result larger by at most sqrt(d / epsilon).
    """
    x, shape = site.values(0), site.shape(0)
    groups, epsilon = int(site.attribute("num_groups")), _epsilon(site)
    channels = shape[1]
    if channels is None or not epsilon or groups <= 0:
        raise NotFollowed("the number of channels is not known, or epsilon is 0")
    count = _count(shape[2:]) * (channels // groups)
    largest = float(np.maximum(-x.lo, x.hi).max(initial=0.0))
    lost = 4 * (count + 4) * _unit_of(site) * largest**2 if largest else 0.0
    bound = math.sqrt(max(count - 1, 0) * max(1.0, lost / epsilon)) if count > 1 else 0.0
    bound += _deviations(1, x, epsilon)
    parameters = [site.values(1), site.values(2)]
    if site.opset < 21:  # one scale for each group
        repeats = channels // groups
        parameters = [_repeated(p, groups, repeats) for p in parameters]
    return _affine(site, bound, *(_channels(p, len(shape)) for p in parameters))


def _repeated(values: TensorValues, groups: int, count: int) -> TensorValues:
    lo, hi = (np.repeat(np.broadcast_to(b, groups), count) for b in (values.lo, values.hi))
    return TensorValues(lo, hi)


def rms_normalization(site: NodeContext) -> TensorValues:
    """scale * x / sqrt(mean of x^2 + epsilon) over the last axes; |x| <= sqrt(n) of that root."""
    x, shape = site.values(0), site.shape(0)
    if not _epsilon(site):
        raise NotFollowed("epsilon is 0: squares may vanish")
    bound = math.sqrt(_count(shape[normalised(int(site.attribute("axis", -1)), len(shape)) :]))
    lo, hi = 0.0 if (x.lo >= 0).all() else -bound, 0.0 if (x.hi <= 0).all() else bound
    return _scaled(site, bounded(lo, hi), site.values(1), None)


def _epsilon(site: NodeContext) -> float:
    epsilon = float(np.float32(site.attribute("epsilon", 1e-5)))
    if epsilon < 0:
        raise NotFollowed("epsilon is negative")
    return epsilon


def _count(sizes: Sequence[int | None]) -> int:
    """Elements that are normalised together."""
    known = [d for d in sizes if d is not None]
    if len(known) < len(sizes):
        raise NotFollowed("the number of elements normalised together is not known")
    return math.prod(known)


def _unit_of(site: NodeContext) -> float:
    return float(np.finfo(site.dtype()).eps) / 2


def _deviations(count: int, x: TensorValues, epsilon: float) -> float:
    """Largest |x - mean| / sqrt(variance + epsilon), and more where float differences are off.

    Of n elements one that is d from the mean makes the variance d^2 / (n - 1) or more, and d is at most (n - 1) / n of
    the way from the smallest element to the largest.
    """
    if not epsilon:
        raise NotFollowed("epsilon is 0: squares may vanish")
    extent = float(np.maximum(-x.lo, x.hi).max(initial=0.0))
    off = 2 * (count + 2) * _FLOAT32_UNIT * extent / math.sqrt(epsilon)
    spread = float(x.hi.max(initial=-np.inf) - x.lo.min(initial=np.inf))
    if count < 2 or spread <= 0:
        return off
    return 1 / math.hypot(1 / math.sqrt(count - 1), math.sqrt(epsilon) * count / (count - 1) / spread) + off


def _channels(values: TensorValues, rank: int) -> TensorValues:
    """Bounds of a parameter by channel, aligned with axis 1."""
    return TensorValues(_by_channel(values.lo, rank), _by_channel(values.hi, rank))


def _affine(site: NodeContext, bound: float, scale: TensorValues, bias: TensorValues | None) -> TensorValues:
    return _scaled(site, bounded(-bound, bound), scale, bias)


def _scaled(site: NodeContext, x: TensorValues, scale: TensorValues, bias: TensorValues | None) -> TensorValues:
    """x * scale + bias, each rounded."""
    corners = [_product(a, b) for a in (x.lo, x.hi) for b in (scale.lo, scale.hi)]
    lo = np.minimum.reduce(np.broadcast_arrays(*corners))
    hi = np.maximum.reduce(np.broadcast_arrays(*corners))
    exact = loosened(bounded(lo, hi), site.dtype(), relative=_ROUNDINGS)
    if bias is None:
        return exact
    return loosened(bounded(exact.lo + bias.lo, exact.hi + bias.hi), site.dtype(), relative=2)


def lp_normalization(site: NodeContext) -> TensorValues:
    """x / norm; no element is larger than the norm.

    Squares near the smallest subnormal number round by up to a half, so that ONNX Runtime gives up to sqrt(3/2).
    """
    x, is_sum = site.values(0), int(site.attribute("p", 2)) == 1
    if is_sum and (x.lo < 0).any():
        raise NotFollowed("the reference adds up signed numbers")
    most = 1.0 if is_sum else math.sqrt(1.5)
    values = loosened(bounded(-most, most), site.dtype(), relative=4)
    return bounded(np.where((x.lo >= 0).all(), 0.0, values.lo), np.where((x.hi <= 0).all(), 0.0, values.hi))


def mean_variance_normalization(_: NodeContext) -> TensorValues:
    """(x - mean) / (deviation + 1e-9): the variance E[x^2] - E[x]^2 may cancel to anything."""
    raise NotFollowed("its variance cancels in float arithmetic")


def lrn(site: NodeContext) -> TensorValues:
    """x / (bias + alpha/size * sum of squares)^beta, no larger than x / bias^beta."""
    x = site.values(0)
    alpha, beta, bias = (
        float(np.float32(site.attribute(name, default)))
        for name, default in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))
    )
    if alpha < 0 or beta < 0 or bias <= 0:
        raise NotFollowed("the divisor may be less than bias^beta")
    factor = np.asarray(bias**-beta)
    lo, hi = _product(np.minimum(x.lo, 0.0), factor), _product(np.maximum(x.hi, 0.0), factor)
    return loosened(bounded(lo, hi), site.dtype(), relative=_ROUNDINGS * max(1.0, beta))


def softmax(site: NodeContext) -> TensorValues:
    """exp(x) / sum of exp(x): 0 .. 1, tighter where n elements differ by no more than a known range."""
    spread, count = _spread(site)
    if spread is None or count is None:
        return loosened(bounded(0.0, 1.0), site.dtype(), relative=4)
    with np.errstate(over="ignore"):
        lo, hi = 1 / (1 + (count - 1) * np.exp(spread)), 1 / (1 + (count - 1) * np.exp(-spread))
    values = loosened(bounded(lo, hi), site.dtype(), relative=count + _ROUNDINGS + 4 * spread)
    top = 1 + 4 * _unit_of(site)
    return bounded(np.maximum(values.lo, 0.0), np.minimum(values.hi, top))


def log_softmax(site: NodeContext) -> TensorValues:
    """x - log of the sum of exp(x): never positive, and no less than -(hi - lo) - log(n)."""
    spread, count = _spread(site)
    if spread is None or count is None or spread > 80 or site.dtype() == np.float16:
        return bounded(-np.inf, 0.0)  # the reference takes the logarithm of a probability that may vanish
    lo, hi = -np.log1p((count - 1) * np.exp(spread)), -np.log1p((count - 1) * np.exp(-spread))
    values = loosened(bounded(lo, hi), site.dtype(), relative=_ROUNDINGS, absolute=count + _ROUNDINGS + 4 * spread)
    return bounded(values.lo, np.minimum(values.hi, 0.0))


def _spread(site: NodeContext) -> tuple[float | None, int | None]:
    """How far apart elements are at most, and how many share a sum; None where unknown."""
    x, shape = anywhere(TensorValues(site.values(0).lo, site.values(0).hi)), site.shapes[0]
    spread = float(x.hi - x.lo) if x.is_bounded and x.hi - x.lo < 700 else None  # exp would overflow
    if shape is None:
        return spread, None
    if site.opset < 13:
        axis = normalised(int(site.attribute("axis", 1)), len(shape)) if len(shape) > 1 else 0
        sizes = shape[axis:]
    else:
        sizes = (shape[normalised(int(site.attribute("axis", -1)), len(shape))],) if shape else ()
    known = [d for d in sizes if d is not None]
    return spread, max(math.prod(known), 1) if len(known) == len(sizes) else None


RULES: Rules = {
    "BatchNormalization": batch_normalization,
    "GroupNormalization": group_normalization,
    "InstanceNormalization": instance_normalization,
    "LRN": lrn,
    "LayerNormalization": layer_normalization,
    "LogSoftmax": log_softmax,
    "LpNormalization": lp_normalization,
    "MeanVarianceNormalization": mean_variance_normalization,
    "RMSNormalization": rms_normalization,
    "Softmax": softmax,
}
