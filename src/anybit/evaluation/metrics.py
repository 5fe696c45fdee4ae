"""Scorer: what the outputs for some samples are worth, and how the verdicts on blocks of them add up."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anybit.arrays import Array
from anybit.errors import InputError, UsageError

Score = Callable[[Array, Array], npt.ArrayLike]
"""A measure of a user: outputs and labels of some samples to one number for each sample."""


class Metric(enum.Enum):
    """What an evaluation measures."""

    ACCURACY = "accuracy"
    """Share of the samples whose label has the highest score; of equal scores the first class counts."""
    SQUARED_ERROR = "squared-error"
    """Mean of (output - label)^2 over all elements, in float64."""


@dataclass(frozen=True)
class ScoredSamples:
    """What was counted over some samples.

    Attributes:
        samples: How many there are.
        correct: How many have their label first; 0 for other metrics than accuracy.
        correct_in_top: How many have their label among the first ones.
        scores: The number of each sample; empty for accuracy.
    """

    samples: int
    correct: int = 0
    correct_in_top: int = 0
    scores: tuple[float, ...] = ()


@dataclass(frozen=True)
class Scorer:
    """What the outputs for some samples are worth.

    Attributes:
        metric: What is measured.
        top: How many of the highest scores are looked at.
    """

    metric: Metric | Score
    top: int = 1

    @property
    def name(self) -> Metric | str:
        """The metric, or the name of the user's function."""
        return self.metric if isinstance(self.metric, Metric) else getattr(self.metric, "__name__", "function")

    def verdict(self, outputs: Array, labels: Array, *, start: int = 0) -> ScoredSamples:
        """Judges some samples.

        Args:
            outputs: What the model made of them.
            labels: What is right.
            start: Number of the first one, for messages.

        Raises:
            InputError: Outputs and labels do not fit each other or the metric.
            UsageError: There are fewer classes than `top`.
        """
        if not outputs.ndim or len(outputs) != len(labels):
            expected = f"{len(labels)} samples first"
            raise InputError("the output has no batch axis", got=list(outputs.shape), expected=expected)
        if outputs.dtype.kind not in "fiub" or labels.dtype.kind not in "fiub":
            raise InputError("numbers are judged", got=f"outputs {outputs.dtype}, labels {labels.dtype}")
        if self.metric is Metric.ACCURACY:
            ranks = _ranks(outputs, labels, self.top, start)
            return ScoredSamples(len(labels), int((ranks == 0).sum()), int((ranks < self.top).sum()))
        if isinstance(self.metric, Metric):
            return ScoredSamples(len(labels), scores=tuple(_squared_errors(outputs, labels, start)))
        return ScoredSamples(len(labels), scores=tuple(_own_scores(self.metric, outputs, labels)))

    def score(self, total: ScoredSamples) -> float:
        """The share of correct samples, or the mean over the samples."""
        if self.metric is Metric.ACCURACY:
            return total.correct / total.samples
        return math.fsum(total.scores) / total.samples


def scorer_of(metric: Metric | str | Score, top: int) -> Scorer:
    """The judge of a metric, by its name or as a function.

    Raises:
        UsageError: There is no such metric, or `top` is below 1.
    """
    if top < 1:
        raise UsageError("top", got=top, expected="at least 1")
    if callable(metric):
        return Scorer(metric, top)
    try:
        return Scorer(Metric(metric), top)
    except ValueError:
        names = ", ".join(m.value for m in Metric)
        raise UsageError("unknown metric", got=repr(metric), expected=f"{names}, or a function") from None


def total(verdicts: Iterable[ScoredSamples]) -> ScoredSamples:
    """All of them as one. Sums are exact before they are rounded once, by `Scorer.score`: no order shows in them."""
    samples = correct = among = 0
    scores: list[float] = []
    for verdict in verdicts:
        samples += verdict.samples
        correct += verdict.correct
        among += verdict.correct_in_top
        scores.extend(verdict.scores)
    return ScoredSamples(samples, correct, among, tuple(scores))


def _ranks(outputs: Array, labels: Array, top: int, start: int) -> npt.NDArray[np.int64]:
    """How many classes come before the label of each sample: those of a higher score, or the same and a lower number.

    A score that is no number comes before all: a sample with one is never right.
    """
    flat = outputs.reshape(len(outputs), -1)
    if math.prod(outputs.shape[2:]) != 1:
        raise InputError("no scores of classes", got=list(outputs.shape), expected="[N, classes]")
    if flat.shape[1] == 1 and outputs.dtype.kind in "iu":  # the class itself, as by TopK or ArgMax
        return np.where(flat[:, 0] == _classes(labels, None, start), 0, top)
    if flat.shape[1] < 2:
        raise InputError("one score is no classification", got=list(outputs.shape), hint="use another metric")
    if top > flat.shape[1]:
        raise UsageError("top", got=top, expected=f"at most {flat.shape[1]}, the number of classes")
    classes = _classes(labels, flat.shape[1], start)
    own = np.take_along_axis(flat, classes[:, None], axis=1)
    earlier = np.arange(flat.shape[1]) < classes[:, None]
    before = ~(flat <= own) | (earlier & (flat == own))
    return before.sum(axis=1)


def _classes(labels: Array, count: int | None, start: int) -> npt.NDArray[np.int64]:
    """Labels as numbers of classes, from numbers or from rows of which one element is 1."""
    flat = labels.reshape(len(labels), -1)
    wrong = ~np.isfinite(flat).all(axis=1)
    if count is not None and 1 < count == flat.shape[1]:
        wrong |= ((flat != 0) & (flat != 1)).any(axis=1) | (flat.sum(axis=1) != 1)
        classes, expected = flat.argmax(axis=1), "one 1 among zeros"
    elif flat.shape[1] == 1:
        column = flat[:, 0]
        wrong |= (column != np.floor(column)) | (column < 0) | (column >= (math.inf if count is None else count))
        classes, expected = np.where(wrong, 0, column), "a whole number" + ("" if count is None else f" below {count}")
    else:
        raise InputError("shape of the labels", got=list(labels.shape), expected="[N], or [N, classes]")
    if wrong.any():
        at = int(wrong.argmax())
        raise InputError("label", node=f"sample {start + at}", got=flat[at].tolist(), expected=expected)
    return classes.astype(np.int64)


def _squared_errors(outputs: Array, labels: Array, start: int) -> Iterator[float]:
    if outputs.shape != labels.shape and math.prod(outputs.shape) != math.prod(labels.shape):
        raise InputError("shape of the labels", got=list(labels.shape), expected=list(outputs.shape))
    gap = outputs.astype(np.float64).reshape(len(outputs), -1) - labels.astype(np.float64).reshape(len(outputs), -1)
    wrong = ~np.isfinite(labels.reshape(len(labels), -1)).all(axis=1)
    if wrong.any():
        where = f"sample {start + int(wrong.argmax())}"
        raise InputError("label", node=where, got="NaN or infinity", expected="numbers")
    for row in gap:
        yield float(np.mean(np.square(row)))


def _own_scores(metric: Score, outputs: Array, labels: Array) -> list[float]:
    scores = np.asarray(metric(outputs, labels))
    if scores.shape != (len(labels),):
        raise InputError("the metric's result", got=list(scores.shape), expected=f"[{len(labels)}], a number a sample")
    return [float(s) for s in scores]
