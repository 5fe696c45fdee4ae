"""Divergence: how far the outputs of a quantised model are from those of the float one, without labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anybit.arrays import Array, as_float64
from anybit.evaluation.metrics import Metric, scorer_of

Float64s = npt.NDArray[np.float64]

_TINY = 1e-12
_BEYOND = 1e30
_SUM_TOLERANCE = 1e-3  # within which numbers from 0 on that add up to 1 are probabilities


@dataclass(frozen=True)
class Divergence:
    """How far outputs are from those of the float model.

    Attributes:
        kl: mean over samples of sum p * log(p / q) in nats, p and q being the probabilities of classes that the float
            and the quantised model give; a mean over positions too where there are some.
        error: Squared error as a share of the square of the float outputs.
        changed: Share of the samples (and positions) whose most probable class changes.
        accuracy: Share of the samples whose label is the most probable class of the first output; None without labels.
    """

    kl: float
    error: float
    changed: float
    accuracy: float | None = None

    @property
    def loss(self) -> float:
        """What an allocation makes small: the squared error, which few samples measure with less noise than KL."""
        return self.error

    @property
    def sqnr(self) -> float:
        """Signal to quantisation noise in decibels."""
        return float("inf") if self.error <= 0 else -10 * float(np.log10(self.error))


def divergence(floats: Mapping[str, Array], quantized: Mapping[str, Array], labels: Array | None = None) -> Divergence:
    """The divergence of all float outputs: sum of KL over them, their common squared error, the mean of changes.

    Outputs whose class axis has two or more entries are taken for scores of classes: of probabilities where these are
    from 0 on and add up to 1, else of their logarithms. The axis is the last one of outputs with up to three
    dimensions, and the second one of images. What has no such axis counts as half its squared error over its square.

    Args:
        floats: What the float model returns, samples first.
        quantized: What the quantised one returns, with the same names.
        labels: A class for each sample.

    Raises:
        InputError: The labels do not fit the outputs.
    """
    square = error = kl = 0.0
    changes: list[float] = []
    for name, reference in floats.items():
        if reference.dtype.kind != "f":
            continue
        own, off = squared_error(reference, quantized[name])
        square, error = square + own, error + off
        scores = _by_class(reference), _by_class(quantized[name])
        if scores[0] is None or scores[1] is None:
            kl += off / max(2 * own, _TINY)
            continue
        kl += _kl(scores[0], scores[1])
        changes.append(float((scores[0].argmax(axis=1) != scores[1].argmax(axis=1)).mean()))
    changed = float(np.mean(changes)) if changes else 0.0
    right = None if labels is None else _accuracy(next(iter(quantized.values())), labels)
    return Divergence(kl, error / max(square, _TINY), changed, right)


def squared_error(floats: Array, others: Array) -> tuple[float, float]:
    """(sum of f^2, sum of (o - f)^2) over the elements f that are finite: those of a mask are not.

    Args:
        floats: What the float model makes.
        others: What is measured, of the same shape.

    Example:
        >>> squared_error(np.array([3.0, -np.inf]), np.array([5.0, -np.inf]))
        (9.0, 4.0)
    """
    f = as_float64(floats)
    finite = np.isfinite(f)
    f, o = f[finite], as_float64(others)[finite]
    with np.errstate(over="ignore"):
        return float(np.square(f).sum()), float(np.square(o - f).sum())


def _accuracy(outputs: Array, labels: Array) -> float:
    verdict = scorer_of(Metric.ACCURACY, 1).verdict(outputs, labels)
    return verdict.correct / max(verdict.samples, 1)


def _by_class(outputs: Array) -> Float64s | None:
    """The scores as (rows, classes), those of a mask finite and beyond all others."""
    x = np.nan_to_num(as_float64(outputs), posinf=_BEYOND, neginf=-_BEYOND).clip(-_BEYOND, _BEYOND)
    if x.ndim < 2:
        return None
    axis = -1 if x.ndim <= 3 else 1
    if x.shape[axis] < 2:
        return None
    return np.moveaxis(x, axis, -1).reshape(-1, x.shape[axis])


def _kl(p: Float64s, q: Float64s) -> float:
    if not p.size:
        return 0.0
    is_probability = bool((p >= 0).all()) and bool((np.abs(p.sum(axis=1) - 1) < _SUM_TOLERANCE).all())
    log_p, log_q = (np.log(np.maximum(a, _TINY)) if is_probability else _log_softmax(a) for a in (p, q))
    return max(0.0, float((np.exp(log_p) * (log_p - log_q)).sum(axis=1).mean()))


def _log_softmax(x: Float64s) -> Float64s:
    shifted = x - x.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
