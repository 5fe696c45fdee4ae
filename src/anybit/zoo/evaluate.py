"""evaluate: how right a model is over a data set that takes long: continued after a break, or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from anybit.errors import InputError, UsageError
from anybit.evaluation.evaluate import Evaluation, open_blocks
from anybit.evaluation.evaluate import evaluate as evaluate_here
from anybit.evaluation.metrics import Metric, scorer_of
from anybit.graph.tensors import tensors_of
from anybit.io.files.external import ExternalTensor
from anybit.io.load import load
from anybit.runtime.session import Session
from anybit.zoo.card import Card, Claim, Role
from anybit.zoo.journal import JournalFile, hash_of
from anybit.zoo.options import Options
from anybit.zoo.store import Store

_PACKAGES = ("anybit", "numpy", "onnxruntime")


@dataclass(frozen=True)
class Reproduction:
    """What a model of a catalogue reached, beside what its card says."""

    evaluation: Evaluation
    claim: Claim | None
    agrees: bool


def evaluate(
    model: Path,
    data: Path,
    labels: str | Path | None = None,
    *,
    options: Options | None = None,
    journal: Path | None = None,
    ray: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Judges every sample of a data set, once.

    Args:
        model: The ONNX file.
        data: An .npz or .npy file, or a folder of images.
        labels: Key of the labels in the .npz file, or an .npy file with them.
        options: How it is done.
        journal: File that keeps what is finished: the same call continues where the last one was ended. Of a user's
            function only the name is known to it: give a changed one another name.
        ray: Address of a Ray cluster that does the work, "auto" for the one of this machine. Each of its nodes reads
            the model and the data under the paths given here.
        progress: Called with the number of samples of each block when it is judged.

    Raises:
        InputError: The data or labels cannot be read, or do not fit the model.
        UsageError: An argument makes no sense, or the journal is of another evaluation.
        UnsupportedError: A package is not installed.
    """
    how = options or Options()
    session = Session(model, engine=how.engine, threads=1)
    kept = nullcontext() if journal is None else JournalFile(journal, _decides(session, model, data, labels, how))
    with kept as opened:
        if ray is not None:
            from anybit.zoo.on_ray import evaluate_on_ray

            task = (model.resolve(), data.resolve(), labels, how)
            return evaluate_on_ray(session, *task, address=ray, journal=opened, progress=progress)
        return evaluate_here(
            session,
            data,
            labels,
            metric=how.metric,
            top=how.top,
            output=how.output,
            batch_size=how.batch_size,
            workers=how.workers,
            progress=progress,
            journal=opened,
        )


def reproduce(card: Card, store: Store, **arguments: Any) -> Reproduction:
    """Judges a model of a catalogue on the data that come with it, and compares the result with its claim.

    Args:
        card: The card.
        store: Where its files are, or come to.
        **arguments: See `evaluate`; metric and output are those of the card.

    Raises:
        UsageError: No data come with the model.
        DownloadError: A file cannot be had.
    """
    if card.data is None or card.judging is None:
        raise UsageError("no data come with the model", node=card.name, hint="name some with --data")
    paths = store.fetch(card)
    given: Options = arguments.pop("options", None) or Options()
    judging = card.judging
    options = Options(judging.metric, given.top, judging.output, given.engine, given.batch_size, given.workers)
    model, data = paths[card.model.name], paths[card.data.name]
    found = evaluate(model, data, judging.labels, options=options, **arguments)
    return Reproduction(found, card.claim, _agrees(found, card.claim))


def model_file(card: Card, store: Store, *, accept_unpinned: bool = False) -> Path:
    """The ONNX file of a card, with its external data beside it.

    Raises:
        DownloadError: A file cannot be had, or is not pinned.
    """
    paths = store.fetch(card, (Role.MODEL, Role.WEIGHTS), accept_unpinned=accept_unpinned)
    return paths[card.model.name]


def _agrees(found: Evaluation, claim: Claim | None) -> bool:
    """Whether the result is the claimed one, to the last sample."""
    if claim is None:
        return True
    same = claim.samples in (None, found.samples) and claim.correct in (None, found.correct)
    return same and claim.value == found.score


def _decides(session: Session, model: Path, data: Path, labels: str | Path | None, how: Options) -> Mapping[str, Any]:
    judge = scorer_of(how.metric, how.top)
    blocks = open_blocks(session, data, labels, output=how.output, batch_size=how.batch_size)
    try:
        beside = labels is not None and Path(labels).is_file()
        return {
            "versions": {name: version(name) for name in _PACKAGES},
            "model": [hash_of(path) for path in _files(model)],
            "data": hash_of(data),
            "labels": hash_of(Path(labels)) if labels is not None and beside else labels and str(labels),
            "metric": judge.name.value if isinstance(judge.name, Metric) else f"function {judge.name}",
            "top": judge.top,
            "output": blocks.output,
            "engine": session.engine.value,
            "block": blocks.size,
        }
    except OSError as error:
        raise InputError("cannot read the data", node=str(data), got=error.strerror or error) from error


def _files(model: Path) -> list[Path]:
    """The file, and those of its external data."""
    others = {t.path for t in tensors_of(load(model)) if isinstance(t, ExternalTensor)}
    return [model, *sorted(others - {model.resolve()})]
