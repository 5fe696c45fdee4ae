"""evaluate: how right a model is over a data set, a batch at a time."""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from typing import Protocol, runtime_checkable

import numpy as np

from anybit.arguments import checked_apart
from anybit.arrays import Array
from anybit.errors import InputError, UsageError
from anybit.evaluation.datasets import Block, Data, DataSet, Labels, open_data
from anybit.evaluation.metrics import Metric, Score, ScoredSamples, Scorer, scorer_of, total
from anybit.io.load import ModelSource
from anybit.records import Record
from anybit.runtime.batching import DEFAULT_BATCH, run_in_batches
from anybit.runtime.session import Session

CACHE_BYTES = 1 << 22
"""What the inputs and outputs of a node are meant to fit: the share of a core in a last-level cache."""
_SMALLEST, _LARGEST = 8, 512  # below, the fixed cost of a run shows; above, nothing is gained


@runtime_checkable
class Journal(Protocol):
    """Where the verdicts on blocks of a data set are kept, so that an evaluation can be continued."""

    @property
    def finished(self) -> Mapping[int, ScoredSamples]:
        """What was recorded before, by the number of the block."""
        ...

    def record(self, number: int, verdict: ScoredSamples) -> None:
        """Keeps the verdict on a block."""
        ...


@dataclass(frozen=True)
class Evaluation(Record):
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
        resumed: Samples that were judged before, and are not in `seconds`.
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
    resumed: int = 0

    @property
    def throughput(self) -> float:
        """Samples a second."""
        return (self.samples - self.resumed) / self.seconds if self.seconds else math.inf


@dataclass(frozen=True)
class Blocks:
    """A data set as a session takes it.

    Attributes:
        data: The data set.
        batch_size: Samples in one run, at most.
        size: Samples in a block; None where all of them are one.
        output: The output to judge.
    """

    data: DataSet
    batch_size: int
    size: int | None
    output: str

    def judged(
        self, session: Session, judge: Scorer, *, wanted: Callable[[int], bool], workers: int
    ) -> Iterator[tuple[int, ScoredSamples]]:
        """The verdict on each wanted block, with its number."""
        numbers = (n for n in count() if wanted(n))
        before = 0
        blocks = self.data.blocks(self.size, wanted)
        results = _results(session, blocks, self.batch_size, workers)
        for (block, result), number in zip(results, numbers, strict=False):  # the numbers have no end
            start = before if self.size is None else number * self.size
            before += len(block.labels)
            yield number, judge.verdict(np.asarray(result[self.output]), block.labels, start=start)


@checked_apart("labels")
def evaluate(
    model: Session | ModelSource,
    data: Data,
    labels: Labels | None = None,
    *,
    metric: Metric | str | Score = Metric.ACCURACY,
    top: int = 1,
    output: str | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
    journal: Journal | None = None,
) -> Evaluation:
    """Runs a data set through the model and judges every sample.

    Samples are read, run and judged a batch at a time: the data never are in memory as a whole, unless samples
    are not known to stay apart. How many run at once changes no count and no sum.

    Args:
        model: A session, or a model that the default engine runs: path, bytes, ``onnx.ModelProto`` or
            ``onnx_ir.Model``.
        data: Path of an .npz or .npy file or of a folder of images (see `anybit.evaluation.ImageFolder`); arrays; or an
            iterable of batches (inputs, labels).
        labels: Array, path of an .npy file, or key in the .npz file; without any, the one array of the .npz file
            that is no input.
        metric: "accuracy", "squared-error", or a function of outputs and labels that gives a number a sample.
        top: Among how many of the highest scores a label counts for `Evaluation.correct_in_top`.
        output: Output to judge, where there are several.
        batch_size: Samples in one run; None takes as many as fit a cache (see `fitting_batch`).
        workers: Runs at the same time; None takes as many as there are cores for, at `threads` of the session each: a
            session of one thread is quickest.
        progress: Called with the number of samples of each block when it is judged.
        journal: What was judged before, and what keeps the verdicts on the blocks of this evaluation.

    Raises:
        InputError: The data or labels cannot be read, or do not fit the model.
        UsageError: An argument makes no sense.
    """
    judge = scorer_of(metric, top)
    session = model if isinstance(model, Session) else Session(model)
    if workers is not None and workers < 1:
        raise UsageError("workers", got=workers, expected="at least 1")
    blocks = open_blocks(session, data, labels, output=output, batch_size=batch_size)
    at_once = workers or max(1, (os.cpu_count() or 1) // (session.threads or os.cpu_count() or 1))
    finished = {} if journal is None else dict(journal.finished)
    verdicts = dict(finished)
    start = time.perf_counter()
    for number, verdict in blocks.judged(session, judge, wanted=lambda n: n not in finished, workers=at_once):
        verdicts[number] = verdict
        if journal is not None:
            journal.record(number, verdict)
        if progress is not None:
            progress(verdict.samples)
    seconds = time.perf_counter() - start
    resumed = sum(v.samples for v in finished.values())
    return evaluation(judge, verdicts, blocks, workers=at_once, seconds=seconds, resumed=resumed)


def open_blocks(
    session: Session, data: Data, labels: Labels | None, *, output: str | None = None, batch_size: int | None = None
) -> Blocks:
    """A data set in blocks that a session runs at once; see `evaluate`.

    Raises:
        InputError: The data or labels cannot be read, or do not fit the model.
        UsageError: The output or the batch size makes no sense.
    """
    if batch_size is not None and batch_size < 1:
        raise UsageError("batch size", got=batch_size, expected="at least 1")
    name = _output(session, output)
    dataset = open_data(session.required or session.inputs, data, labels)
    whole = session.piece(1) or 1
    if dataset.samples is not None and dataset.samples % whole:
        got, expected = f"{dataset.samples} samples", f"a multiple of {whole}"
        raise InputError("the model is bound to its batch", got=got, expected=expected)
    wanted = batch_size or fitting_batch(session)
    return Blocks(dataset, wanted, session.piece(wanted), name)


def evaluation(
    judge: Scorer, verdicts: Mapping[int, ScoredSamples], blocks: Blocks, *, workers: int, seconds: float, resumed: int
) -> Evaluation:
    """What the verdicts on all blocks say together."""
    whole = total(verdicts[number] for number in sorted(verdicts))
    accuracy = judge.metric is Metric.ACCURACY
    return Evaluation(
        samples=whole.samples,
        metric=judge.name,
        score=judge.score(whole),
        correct=whole.correct if accuracy else None,
        top=judge.top,
        correct_in_top=whole.correct_in_top if accuracy else None,
        batch_size=blocks.size or whole.samples,
        workers=workers,
        seconds=seconds,
        resumed=resumed,
    )


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


def _output(session: Session, name: str | None) -> str:
    if name is None and len(session.outputs) == 1:
        return session.outputs[0]
    if name is None or name not in session.outputs:
        got = "none named" if name is None else repr(name)
        raise UsageError("output to judge", got=got, expected=", ".join(session.outputs))
    return name
