"""evaluate_on_ray: the blocks of a data set judged by the actors of a Ray cluster."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from anybit.errors import InputError, UnsupportedError
from anybit.evaluation.cluster import connected
from anybit.evaluation.evaluate import Evaluation, Journal, evaluation, open_blocks
from anybit.evaluation.metrics import ScoredSamples, scorer_of
from anybit.runtime.session import Session
from anybit.zoo.journal import verdict_of

if TYPE_CHECKING:
    from anybit.zoo.options import Options

_TASKS = 16  # for each worker: what one that dies must do again, and how evenly the rest is shared


class Worker:
    """What one actor has: a session of its own. It makes the verdicts on the blocks whose numbers it is given."""

    def __init__(self, model: Path, data: Path, labels: str | Path | None, options: Options) -> None:
        self._session = Session(model, engine=options.engine, threads=1)
        self._judge = scorer_of(options.metric, options.top)
        self._blocks = open_blocks(self._session, data, labels, output=options.output, batch_size=options.batch_size)

    def __call__(self, batch: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """The verdicts on the blocks of some tasks, as JSON."""
        tasks = [json.loads(task) for task in batch["task"]]
        verdicts = [dict(self._verdicts(frozenset(numbers))) for numbers in tasks]
        found = [{number: asdict(verdict) for number, verdict in group.items()} for group in verdicts]
        return {"verdicts": np.array([json.dumps(group) for group in found], np.object_)}

    def _verdicts(self, numbers: frozenset[int]) -> list[tuple[int, ScoredSamples]]:
        return list(self._blocks.judged(self._session, self._judge, wanted=numbers.__contains__, workers=1))


def evaluate_on_ray(
    session: Session,
    model: Path,
    data: Path,
    labels: str | Path | None,
    options: Options,
    *,
    address: str,
    journal: Journal | None,
    progress: Callable[[int], None] | None,
) -> Evaluation:
    """Judges every sample once: a block that was lost with its worker is done again by another, and counted by number.

    Raises:
        InputError: The data or labels cannot be read, or do not fit the model.
        UnsupportedError: Ray is not installed, or no cluster answers.
    """
    judge = scorer_of(options.metric, options.top)
    blocks = open_blocks(session, data, labels, output=options.output, batch_size=options.batch_size)
    samples = blocks.data.samples
    if samples is None:
        raise InputError("data without an end cannot be shared out", node=str(data))
    ray = connected(address, parts=("ray.data",))
    count = -(-samples // (blocks.size or samples))
    workers = options.workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
    verdicts = dict(journal.finished) if journal is not None else {}
    resumed = sum(v.samples for v in verdicts.values())
    missing = [n for n in range(count) if n not in verdicts]
    start = time.perf_counter()
    for number, verdict in _verdicts(ray, missing, workers, (model, data, labels, options)):
        if number in verdicts:
            continue
        verdicts[number] = verdict
        if journal is not None:
            journal.record(number, verdict)
        if progress is not None:
            progress(verdict.samples)
    seconds = time.perf_counter() - start
    if len(verdicts) != count:
        raise UnsupportedError("the cluster lost blocks", got=f"{len(verdicts)} of {count}", hint="run it again")
    return evaluation(judge, verdicts, blocks, workers=workers, seconds=seconds, resumed=resumed)


def _verdicts(ray: Any, numbers: list[int], workers: int, arguments: tuple[Any, ...]) -> Any:
    """The verdicts as they come; a task has neighbouring blocks."""
    if not numbers:
        return
    groups = np.array_split(np.array(numbers), min(len(numbers), workers * _TASKS))
    tasks = [{"task": json.dumps(group.tolist())} for group in groups]
    ray.data.DataContext.get_current().enable_progress_bars = False
    judged = ray.data.from_items(tasks, override_num_blocks=len(tasks)).map_batches(
        Worker,
        fn_constructor_args=arguments,
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(tasks))),
        num_cpus=1,
    )
    for row in judged.iter_rows():
        for number, verdict in json.loads(row["verdicts"]).items():
            yield int(number), verdict_of(verdict)
