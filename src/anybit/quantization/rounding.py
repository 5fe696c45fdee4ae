"""Rounding of weights: the integers whose product with quantised inputs is nearest to the float product.

For a layer y = W'x the error is E|Wq'xq - W'xf|^2 over the calibration data. With H = sum xq xq' and C = sum xq xf' it
is, up to a constant, sum over columns of (q*s - w*)' H (q*s - w*) with w* = H^-1 C w, the least-squares solution: what
the layer does not see of the float inputs any more is made up for as far as the quantised ones allow. All arrays are
float64, and have an axis of groups in front: (G, K, K) moments, (G, K, O) weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anybit.grid import Grid
from anybit.quantization.recipe import Scales

Float64s = npt.NDArray[np.float64]
Channels = npt.NDArray[np.intp]

_DAMPING = 0.01
_DAMPING_BY_SHARE = 2.0  # of inputs to rows: with few rows an input, least squares would fit their noise
_CANDIDATES = np.linspace(0.25, 1.05, 57)
_SWEEPS = 4
_REFITS = 3
_DESCENT_WORK = 4e9  # multiplications of a sweep, above which it is left out


@dataclass(frozen=True)
class Budget:
    """How large the integers of a column may be together, so that sums of products fit an accumulator.

    Attributes:
        positive: Largest sum of the positive ones.
        negative: Largest sum of the negative ones, without sign.
        total: Largest sum of both.
    """

    positive: float
    negative: float
    total: float


@dataclass(frozen=True)
class Rounded:
    """Weights as integers times scales.

    Attributes:
        integers: (G, K, O).
        scales: By output channel.
        weights: integers * scale, float64.
    """

    integers: Float64s
    scales: Float64s
    weights: Float64s


def damped(h: Float64s, share: float = _DAMPING) -> Float64s:
    """H with a share of its mean diagonal added to the diagonal; inputs that are always 0 count as independent."""
    diagonal = np.einsum("gkk->gk", h)
    mean = diagonal.mean(axis=1, keepdims=True)
    mean = np.where(mean > 0, mean, 1.0)
    result = h.copy()
    step = np.arange(h.shape[1])
    result[:, step, step] += share * mean
    return result


def least_squares(h: Float64s, c: Float64s, weights: Float64s, *, damping: float = _DAMPING) -> Float64s:
    """W* = (H + d)^-1 (C + d) W: the weights for quantised inputs that come nearest to the float product.

    Args:
        h: sum of xq xq', (G, K, K).
        c: sum of xq xf', (G, K, K).
        weights: W, (G, K, O).
        damping: d as a share of the mean diagonal of H: how much is held on to W.
    """
    lhs = damped(h, damping)
    return np.asarray(np.linalg.solve(lhs, (c + (lhs - h)) @ weights), np.float64)


def damping_of(inputs: int, rows: int) -> float:
    """How much least squares holds on to the weights, as a share of the mean diagonal of H, for so many rows."""
    return max(_DAMPING, _DAMPING_BY_SHARE * inputs / max(rows, 1))


def weight_scales(
    weights: Float64s,
    importance: Float64s,
    channels: Channels,
    grid: Grid,
    *,
    scales: Scales = Scales.FLOAT,
    per_tensor: bool = False,
    coarse: bool = False,
) -> Float64s:
    """For each output channel the scale of least squared error, inputs weighted by their mean square.

    Args:
        weights: (G, K, O).
        importance: Mean square of each input, (G, K).
        channels: Output channel of each column, (G, O), or the number of the scale of each weight, (G, K, O).
        grid: The integers.
        scales: Which numbers a scale may be.
        per_tensor: One scale for all.
        coarse: Whether every other scale is tried only: for searches.
    """
    index = np.zeros_like(channels) if per_tensor else channels
    count = int(index.max()) + 1
    columns = channels.ndim == 2  # else each weight has the number of its scale
    index = index[:, None] if columns else index
    largest = np.zeros(count)
    peaks = np.abs(weights).max(axis=1, keepdims=True) if columns else np.abs(weights)
    np.maximum.at(largest, index.ravel(), peaks.ravel())
    largest = np.where(largest > 0, largest, 1.0)
    whole = largest / grid.hi
    tried = [whole * c for c in (_CANDIDATES[::2] if coarse else _CANDIDATES)]
    if scales is Scales.POWER_OF_TWO:
        exponents = np.ceil(np.log2(whole))
        tried = [np.exp2(exponents - d) for d in range(4)]
    best, error = tried[0], np.full(count, np.inf)
    for candidate in tried:
        step = candidate[index]
        off = np.clip(np.rint(weights / step), grid.lo, grid.hi) * step - weights
        found = np.square(off) * importance[:, :, None]
        found = found.sum(axis=1) if columns else found
        total = np.bincount(index.ravel(), found.ravel(), minlength=count)
        better = total < error
        best, error = np.where(better, candidate, best), np.where(better, total, error)
    return np.asarray(best if not per_tensor else np.full(int(channels.max()) + 1, best[0]))


def block_channels(channels: Channels, inputs: int, block: int) -> Channels:
    """The number of the scale of each weight, (G, K, O), where so many inputs of a channel share one."""
    blocks = -(-inputs // block)
    return channels[:, None, :] * blocks + (np.arange(inputs) // block)[None, :, None]


def _by_weight(channels: Channels, shape: tuple[int, ...]) -> Channels:
    """The number of the scale of each weight, (G, K, O)."""
    return np.broadcast_to(channels if channels.ndim == 3 else channels[:, None], shape)


def to_nearest(weights: Float64s, scales: Float64s, channels: Channels, grid: Grid) -> Rounded:
    """q = clip(round(w / s)): each weight by itself."""
    step = scales[_by_weight(channels, weights.shape)]
    q = np.clip(np.rint(weights / step), grid.lo, grid.hi)
    return Rounded(q, scales, q * step)


@dataclass(frozen=True)
class Feedback:
    """How the error of each input is spread over those behind it: along its row of the Cholesky factor of H^-1.

    Attributes:
        order: The inputs in order of falling mean square, (G, K).
        upper: The factor U of inputs in this order, U' U = H^-1, (G, K, K).
    """

    order: Channels
    upper: Float64s

    @classmethod
    def of(cls, h: Float64s) -> Feedback:
        """That of H = sum xq xq', (G, K, K)."""
        order = np.argsort(-np.einsum("gkk->gk", h), axis=1, kind="stable")
        sorted_h = np.take_along_axis(np.take_along_axis(h, order[:, :, None], 1), order[:, None, :], 2)
        return cls(order, _factor_of_inverse(sorted_h))


def with_feedback(
    feedback: Feedback,
    weights: Float64s,
    scales: Float64s,
    channels: Channels,
    grid: Grid,
    budget: Budget | None = None,
) -> Rounded:
    """Rounds one input after the other; the weights of the inputs that follow take up what was lost so far.

    So does GPTQ (Frantar et al., 2022).
    """
    groups, inputs, columns = weights.shape
    order, upper = feedback.order, feedback.upper
    left = np.take_along_axis(weights, order[:, :, None], 1).copy()
    whole_step = scales[_by_weight(channels, weights.shape)]
    step = np.take_along_axis(whole_step, order[:, :, None], 1)
    q = np.zeros((groups, inputs, columns))
    spent = _Spent(groups, columns, budget)
    lo, hi = float(grid.lo), float(grid.hi)
    block = 64
    for start in range(0, inputs, block):
        stop = min(start + block, inputs)
        errors = np.empty((groups, stop - start, columns))
        for k in range(start, stop):
            nearest = np.rint(left[:, k] / step[:, k])
            rounded = spent.limited(np.minimum(np.maximum(nearest, lo), hi))
            q[:, k] = rounded
            error = (left[:, k] - rounded * step[:, k]) / upper[:, k, k, None]
            errors[:, k - start] = error
            if k + 1 < stop:
                left[:, k + 1 : stop] -= upper[:, k, k + 1 : stop, None] * error[:, None]
        if stop < inputs:
            left[:, stop:] -= upper[:, start:stop, stop:].swapaxes(1, 2) @ errors
    integers = np.empty_like(q)
    np.put_along_axis(integers, order[:, :, None], q, 1)
    return Rounded(integers, scales, integers * whole_step)


def _factor_of_inverse(h: Float64s) -> Float64s:
    """U with U' U = (H + d)^-1, upper triangular; d grows where rounding errors leave H indefinite."""
    share = _DAMPING
    while True:
        inverse = np.linalg.inv(damped(h, share))
        try:
            return np.asarray(np.linalg.cholesky((inverse + inverse.swapaxes(1, 2)) / 2).swapaxes(1, 2), np.float64)
        except np.linalg.LinAlgError:
            if share > h.shape[1]:
                raise
            share *= 10


class _Spent:
    """What is spent of the budget of each column."""

    def __init__(self, groups: int, columns: int, budget: Budget | None) -> None:
        self.budget = budget
        self.positive = np.zeros((groups, columns))
        self.negative = np.zeros((groups, columns))

    @classmethod
    def of(cls, integers: Float64s, budget: Budget | None) -> _Spent:
        spent = cls(integers.shape[0], integers.shape[2], budget)
        spent.positive = np.maximum(integers, 0).sum(axis=1)
        spent.negative = np.maximum(-integers, 0).sum(axis=1)
        return spent

    def limited(self, q: Float64s) -> Float64s:
        """The integers, moved towards 0 where the budget ends; they are spent."""
        if self.budget is None:
            return q
        result = self.within(q)
        self.add(result)
        return result

    def within(self, q: Float64s) -> Float64s:
        if self.budget is None:
            return q
        free = self.budget.total - self.positive - self.negative
        high = np.minimum(self.budget.positive - self.positive, free)
        low = np.minimum(self.budget.negative - self.negative, free)
        return np.clip(q, -np.floor(low), np.floor(high))

    def add(self, q: Float64s, sign: int = 1) -> None:
        self.positive += sign * np.maximum(q, 0)
        self.negative += sign * np.maximum(-q, 0)


def descended(
    h: Float64s,
    target: Float64s,
    start: Rounded,
    channels: Channels,
    grid: Grid,
    *,
    sweeps: int = _SWEEPS,
    budget: Budget | None = None,
) -> Rounded:
    """Coordinate descent: each integer in turn becomes the best one while the others stay, until none moves.

    The error (q*s - w)' H (q*s - w) never rises.
    """
    groups, inputs, columns = target.shape
    if groups * inputs * inputs * columns > _DESCENT_WORK:
        return start
    q = start.integers.copy()
    step = start.scales[channels]
    diagonal = np.einsum("gkk->gk", h)
    curvature = np.where(diagonal > 0, diagonal, 1.0)[:, :, None] * step[:, None]
    slope = h @ (q * step[:, None] - target)
    spent = _Spent.of(q, budget)
    lo, hi = float(grid.lo), float(grid.hi)
    block = 32
    for _ in range(sweeps):
        moved = False
        for first in range(0, inputs, block):
            stop = min(first + block, inputs)
            change = np.zeros((groups, stop - first, columns))
            inner = slope[:, first:stop].copy()
            for k in range(first, stop):
                old = q[:, k]
                best = np.rint(old - inner[:, k - first] / curvature[:, k])
                best = np.minimum(np.maximum(best, lo), hi)
                if budget is not None:
                    spent.add(old, -1)
                    best = spent.limited(best)
                steps = best - old
                if not steps.any():
                    continue
                moved = True
                delta = steps * step
                change[:, k - first] = delta
                inner[:, k - first + 1 :] += h[:, k + 1 : stop, k, None] * delta[:, None]
                q[:, k] = best
            if change.any():
                slope += h[:, :, first:stop] @ change
        if not moved:
            break
    return Rounded(q, start.scales, q * step[:, None])


def refitted(h: Float64s, target: Float64s, rounded: Rounded, channels: Channels, *, per_tensor: bool) -> Float64s:
    """s = q'H w / q'H q: the best scale of each channel for its integers, from a half to twice the one it has."""
    product = h @ rounded.integers
    over = np.einsum("gko,gko->go", product, target)
    under = np.einsum("gko,gko->go", product, rounded.integers)
    index = np.zeros_like(channels) if per_tensor else channels
    count = int(index.max()) + 1
    top = np.bincount(index.ravel(), over.ravel(), minlength=count)
    bottom = np.bincount(index.ravel(), under.ravel(), minlength=count)
    if per_tensor:
        top, bottom = (np.full(rounded.scales.size, a[0]) for a in (top, bottom))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = top / bottom
    near = np.clip(found, rounded.scales / 2, rounded.scales * 2)
    return np.where(np.isfinite(found), near, rounded.scales)


def error_of(h: Float64s, target: Float64s, weights: Float64s) -> Float64s:
    """(w - target)' H (w - target), (G, O)."""
    off = weights - target
    return np.einsum("gko,gko->go", off, h @ off)


def rounded_weights(
    h: Float64s,
    target: Float64s,
    channels: Channels,
    grid: Grid,
    *,
    scales: Scales = Scales.FLOAT,
    per_tensor: bool = False,
    budget: Budget | None = None,
) -> Rounded:
    """The integers and scales of least error: search of scales, rounding with feedback, descent, scales fitted again.

    Args:
        h: sum of xq xq', (G, K, K).
        target: The weights to come near to, (G, K, O).
        channels: Output channel of each column, (G, O).
        grid: The integers.
        scales: Which numbers a scale may be.
        per_tensor: One scale for all output channels.
        budget: Limit of the sums of integers of a column.
    """
    h = damped(h, 1e-4)
    importance = np.einsum("gkk->gk", h)
    found = weight_scales(target, importance, channels, grid, scales=scales, per_tensor=per_tensor)
    if budget is not None:
        found = _wider(found, target, channels, budget, scales, per_tensor=per_tensor)
    feedback = Feedback.of(h)
    if channels.ndim == 3:  # blocks: no scale belongs to a whole column
        return with_feedback(feedback, target, found, channels, grid, budget)
    if scales is Scales.POWER_OF_TWO:
        starts = [with_feedback(feedback, target, s, channels, grid, budget) for s in (found, found * 2, found / 2)]
        tried = [descended(h, target, start, channels, grid, budget=budget) for start in starts]
        return _best(h, target, tried, channels, per_tensor=per_tensor)
    rounded = with_feedback(feedback, target, found, channels, grid, budget)
    rounded = descended(h, target, rounded, channels, grid, budget=budget)
    tried = [rounded]
    for _ in range(_REFITS):
        fitted = refitted(h, target, rounded, channels, per_tensor=per_tensor)
        again = Rounded(rounded.integers, fitted, rounded.integers * fitted[channels][:, None])
        rounded = descended(h, target, again, channels, grid, budget=budget)
        tried.append(rounded)
    return _best(h, target, tried, channels, per_tensor=per_tensor)


def _wider(
    found: Float64s, target: Float64s, channels: Channels, budget: Budget, scales: Scales, *, per_tensor: bool
) -> Float64s:
    """Scales at which the budget holds nine tenths of the sums of the weights, so that little is cut off."""
    sums = np.zeros(found.size)
    np.maximum.at(sums, channels.ravel(), np.abs(target).sum(axis=1).ravel())
    least = sums * 0.9 / budget.total
    least = np.full_like(least, least.max()) if per_tensor else least
    least = np.exp2(np.ceil(np.log2(np.maximum(least, 1e-30)))) if scales is Scales.POWER_OF_TWO else least
    return np.maximum(found, least)


def _best(h: Float64s, target: Float64s, tried: list[Rounded], channels: Channels, *, per_tensor: bool) -> Rounded:
    """Of several roundings the best for each output channel."""
    count = tried[0].scales.size
    index = np.zeros_like(channels) if per_tensor else channels
    errors = np.array(
        [np.bincount(index.ravel(), error_of(h, target, t.weights).ravel(), minlength=count) for t in tried]
    )
    choice = errors.argmin(axis=0)
    if per_tensor:
        return tried[int(choice[0])]
    integers = tried[0].integers.copy()
    scales = tried[0].scales.copy()
    for number, rounded in enumerate(tried[1:], 1):
        chosen = choice == number
        scales = np.where(chosen, rounded.scales, scales)
        integers = np.where(chosen[channels][:, None], rounded.integers, integers)
    return Rounded(integers, scales, integers * scales[channels][:, None])
