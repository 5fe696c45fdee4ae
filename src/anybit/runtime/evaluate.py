"""evaluate: how right a model is over a data set, a batch at a time."""

from __future__ import annotations

import enum
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anybit.errors import InputError, UsageError
from anybit.ops.operator import Array
from anybit.runtime.batches import DEFAULT_BATCH, run_in_batches
from anybit.runtime.data import Block, Data, Labels, open_data
from anybit.runtime.session import Session

CACHE_BYTES = 1 << 22
"""What the inputs and outputs of a node are meant to fit: the share of a core in a last-level cache."""
_SMALLEST, _LARGEST = 8, 512  # below, the fixed cost of a run shows; above, nothing is gained

Score = Callable[[Array, Array], npt.ArrayLike]
"""A measure of a user: outputs and labels of some samples to one number for each sample."""


class Metric(enum.Enum):
    """What an evaluation measures."""

    ACCURACY = "accuracy"
    """Share of the samples whose label has the highest score; of equal scores the first class counts."""
    SQUARED_ERROR = "squared-error"
    """Mean of (output - label)^2 over all elements, in float64."""


@dataclass(frozen=True)
class Evaluation:
    """How right a model is.

    Attributes:
        samples: How many samples there were.
        metric: What was measured: a `Metric`, or the name of the user's function.
        score: The result: the share of correct samples, or the mean over the samples.
        correct: How many samples have their label first; None for other metrics.
        top: How many classes were looked at for `correct_in_top`.
        correct_in_top: How many samples have their label among the first `top`.
        batch_size: Samples in one run, at most.
        workers: Runs at the same time.
        seconds: From the first sample read to the last one judged.
    """

    samples: int
    metric: Metric | str
    score: float
    correct: int | None
    top: int
    correct_in_top: int | None
    batch_size: int
    workers: int
    seconds: float

    @property
    def throughput(self) -> float:
        """Samples a second."""
        return self.samples / self.seconds if self.seconds else math.inf


def evaluate(
    session: Session,
    data: Data,
    labels: Labels | None = None,
    *,
    metric: Metric | str | Score = Metric.ACCURACY,
    top: int = 1,
    output: str | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Runs a data set through a session and judges every sample; see `Session.evaluate`."""
    measure = _metric(metric)
    for name, number in (("top", top), ("batch size", batch_size), ("workers", workers)):
        if number is not None and number < 1:
            raise UsageError(name, got=number, expected="at least 1")
    name = _output(session, output)
    dataset = open_data(session.inputs, data, labels)
    wanted = batch_size or fitting_batch(session)
    whole = session.piece(1) or 1
    if dataset.samples is not None and dataset.samples % whole:
        got, expected = f"{dataset.samples} samples", f"a multiple of {whole}"
        raise InputError("the model is bound to its batch", got=got, expected=expected)
    piece = session.piece(wanted)
    at_once = workers or max(1, (os.cpu_count() or 1) // (session.threads or os.cpu_count() or 1))
    tally = _Tally(measure, top)
    start = time.perf_counter()
    for block, result in _results(session, dataset.blocks(piece), wanted, at_once):
        tally.add(np.asarray(result[name]), block.labels)
        if progress is not None:
            progress(len(block.labels))
    seconds = time.perf_counter() - start
    return tally.result(batch_size=piece or tally.samples, workers=at_once, seconds=seconds)


def fitting_batch(session: Session) -> int:
    """Samples in one run: what the largest node of the model reads and writes for them fits `CACHE_BYTES`.

    At least 8, so that the fixed cost of a run is shared, at most 512; `DEFAULT_BATCH` where the sizes are unknown.
    """
    size = session.sample_bytes
    return min(max(CACHE_BYTES // size, _SMALLEST), _LARGEST) if size else DEFAULT_BATCH


def _results(
    session: Session, blocks: Iterator[Block], batch_size: int, workers: int
) -> Iterator[tuple[Block, dict[str, Array]]]:
    """Each block with what the model makes of it, in order; the next ones are read and run meanwhile."""

    def work(block: Block) -> dict[str, Array]:
        return run_in_batches(session, block.feeds, batch_size=batch_size)

    pending: deque[tuple[Block, Future[dict[str, Array]]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for block in blocks:
                pending.append((block, pool.submit(work, block)))
                if len(pending) > workers:
                    done, future = pending.popleft()
                    yield done, future.result()
            while pending:
                done, future = pending.popleft()
                yield done, future.result()
        finally:
            for _, future in pending:
                future.cancel()


def _metric(metric: Metric | str | Score) -> Metric | Score:
    if callable(metric):
        return metric
    try:
        return Metric(metric)
    except ValueError:
        names = ", ".join(m.value for m in Metric)
        raise UsageError("unknown metric", got=repr(metric), expected=f"{names}, or a function") from None


def _output(session: Session, name: str | None) -> str:
    if name is None and len(session.outputs) == 1:
        return session.outputs[0]
    if name is None or name not in session.outputs:
        got = "none named" if name is None else repr(name)
        raise UsageError("output to judge", got=got, expected=", ".join(session.outputs))
    return name


class _Tally:
    """What has been counted so far. Sums are exact before they are rounded once: no order of samples shows in them."""

    def __init__(self, metric: Metric | Score, top: int) -> None:
        self._metric = metric
        self._top = top
        self._first = self._among = self.samples = 0
        self._scores: list[float] = []

    def add(self, outputs: Array, labels: Array) -> None:
        if not outputs.ndim or len(outputs) != len(labels):
            expected = f"{len(labels)} samples first"
            raise InputError("the output has no batch axis", got=list(outputs.shape), expected=expected)
        if outputs.dtype.kind not in "fiub" or labels.dtype.kind not in "fiub":
            raise InputError("numbers are judged", got=f"outputs {outputs.dtype}, labels {labels.dtype}")
        if self._metric is Metric.ACCURACY:
            ranks = _ranks(outputs, labels, self._top, self.samples)
            self._first += int((ranks == 0).sum())
            self._among += int((ranks < self._top).sum())
        elif self._metric is Metric.SQUARED_ERROR:
            self._scores.extend(_squared_errors(outputs, labels, self.samples))
        elif not isinstance(self._metric, Metric):
            self._scores.extend(_own_scores(self._metric, outputs, labels))
        self.samples += len(labels)

    def result(self, *, batch_size: int, workers: int, seconds: float) -> Evaluation:
        accuracy = self._metric is Metric.ACCURACY
        name = self._metric if isinstance(self._metric, Metric) else getattr(self._metric, "__name__", "function")
        return Evaluation(
            samples=self.samples,
            metric=name,
            score=self._first / self.samples if accuracy else math.fsum(self._scores) / self.samples,
            correct=self._first if accuracy else None,
            top=self._top,
            correct_in_top=self._among if accuracy else None,
            batch_size=batch_size,
            workers=workers,
            seconds=seconds,
        )


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
