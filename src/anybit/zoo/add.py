"""add: a model of your own into a catalogue: checked, cleaned, packed, measured, and there as a whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import filelock

from anybit.analysis.check import check
from anybit.analysis.cost.cost import Cost, cost
from anybit.analysis.summary import Summary, info
from anybit.cleanup.clean import clean
from anybit.errors import Finding, Refusal, Severity
from anybit.evaluation.evaluate import Evaluation
from anybit.evaluation.metrics import Metric
from anybit.formats.qonnx.pack import pack
from anybit.io.files.temporary import folder_beside
from anybit.io.files.whole import put_folder, whole
from anybit.io.save import save
from anybit.zoo.card import Card, CardCost, Claim, DataSet, File, Judging, Quantization, Role, Source
from anybit.zoo.catalogue import CARD_FILE, CATALOGUE_FILE, below, encoded, encoded_card, read_card, read_folder
from anybit.zoo.download import write_to
from anybit.zoo.errors import CatalogueError
from anybit.zoo.evaluate import evaluate
from anybit.zoo.options import Options
from anybit.zoo.store import sha256_of

_MODEL, _DATA = "model.onnx", "data.npz"


@dataclass(frozen=True)
class About:
    """What only the one who made a model can say of it; see `anybit.zoo.card.Card`.

    Attributes:
        name: Its name in the catalogue.
        task: What it does.
        data_set: Data that it was trained and judged on.
        source: Who made it.
        licence: SPDX identifier.
        input: How an input is prepared; names, types and shapes of the inputs if that is not said.
        framework: What trained and exported it; the producer of the file if that is not said.
        summary: What else a reader wants to know.
    """

    name: str
    task: str
    data_set: str
    source: str
    licence: str
    input: str = ""
    framework: str = ""
    summary: str = ""


@dataclass(frozen=True)
class Added:
    """What came of it.

    Attributes:
        card: The card; None if the model was refused, and then nothing was written.
        findings: What the checks found.
        refusals: Weights that could not be packed, and why.
        evaluation: What the model reached.
        cost: What it costs.
    """

    card: Card | None
    findings: tuple[Finding, ...]
    refusals: tuple[Refusal, ...] = ()
    evaluation: Evaluation | None = None
    cost: Cost | None = None


def add(
    model: Path,
    data: Path,
    folder: Path,
    about: About,
    *,
    labels: str | None = None,
    metric: Metric = Metric.ACCURACY,
    output: str | None = None,
    with_data: bool = False,
    replace: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Added:
    """Puts a model into a folder of cards, and writes the folder's ``catalogue.json`` anew.

    The model is cleaned, its weights are packed, and it is judged before and after that: it must reach the same.

    Args:
        model: The ONNX file.
        data: Samples with labels; see `anybit.evaluate`.
        folder: The catalogue; it is made where there is none.
        about: What to say of the model.
        labels: Key of the labels in the .npz file, or an .npy file with them.
        metric: What is measured.
        output: Output to judge, where there are several.
        with_data: Whether the data, an .npz file with its labels, go into the catalogue as well.
        replace: Whether a model of this name is replaced.
        progress: Called with the number of samples of each block when it is judged.

    Raises:
        CatalogueError: The card would be malformed, or the folder cannot be written, or has the name already.
        InputError: The data do not fit the model.
        ModelFileError: The model cannot be read.
    """
    _check_place(folder, about.name, replace=replace)
    if with_data and (data.suffix != ".npz" or (labels is not None and Path(labels).suffix == ".npy")):
        raise CatalogueError(
            "data that go into a catalogue", got=str(data), expected="an .npz file with the labels in it"
        )
    findings = check(model)
    if any(f.severity is Severity.ERROR for f in findings):
        return Added(None, findings)
    options = Options(metric=metric, output=output)
    before = evaluate(model, data, labels, options=options, progress=progress)
    try:
        with folder_beside(folder / about.name) as temporary:
            cleaned = clean(model)
            outcome = pack(cleaned)
            save(cleaned, temporary / _MODEL)
            after = evaluate(temporary / _MODEL, data, labels, options=options, progress=progress)
            if (after.score, after.correct) != (before.score, before.correct):
                raise CatalogueError(
                    "the packed model reaches something else", node=str(model), got=after.score, expected=before.score
                )
            if with_data:
                with whole(temporary / _DATA) as file:
                    shutil.copyfile(data, file)
            spent = cost(temporary / _MODEL)
            judging = Judging(labels=labels, metric=metric.value, output=output) if with_data else None
            card = _card(about, info(temporary / _MODEL), after, spent, _files(temporary), judging)
            write_to(temporary / CARD_FILE, encoded_card(card))
            read_card(temporary / CARD_FILE)
            _publish(temporary, folder, about.name, replace=replace)
    except OSError as error:
        raise CatalogueError("cannot write the catalogue", node=str(folder), got=error.strerror or error) from error
    return Added(card, findings, outcome.refusals, after, spent)


def _check_place(folder: Path, name: str, *, replace: bool) -> None:
    plain = name.replace("-", "").replace("_", "").replace(".", "")
    if not (plain.isascii() and plain.isalnum() and name[0].isalnum() and len(name) <= 100):
        expected = "up to 100 letters, digits, dots, dashes and underscores, a letter or digit first"
        raise CatalogueError("name of the model", got=repr(name[:100]), expected=expected)
    if folder.exists() and not folder.is_dir():
        raise CatalogueError("no folder", node=str(folder))
    if (folder / name).exists() and not (replace and (folder / name / CARD_FILE).is_file()):
        raise CatalogueError(
            "the catalogue has the name already", node=str(folder / name), hint="--replace takes its place"
        )
    if (folder / CATALOGUE_FILE).exists():
        cards = {p.parent.name for p in folder.glob(f"*/{CARD_FILE}")}
        others = [c.name for c in read_folder(folder) if c.name not in cards]
        if others:
            raise CatalogueError(
                "the catalogue has models without a card of their own", node=str(folder), got=others[0]
            )


def _publish(temporary: Path, folder: Path, name: str, *, replace: bool) -> None:
    """The new folder in its place, and the catalogue of all cards; one process at a time."""
    with filelock.FileLock(folder / ".lock"):
        _check_place(folder, name, replace=replace)
        put_folder(temporary, folder / name)
        paths = sorted(folder.glob(f"[!.]*/{CARD_FILE}"))
        write_to(folder / CATALOGUE_FILE, encoded([below(read_card(p), p.parent.name) for p in paths]))


def _files(folder: Path) -> tuple[File, ...]:
    roles = {_MODEL: Role.MODEL, _DATA: Role.DATA}
    return tuple(
        File(
            name=path.name,
            role=roles.get(path.name, Role.WEIGHTS),
            urls=(path.name,),
            sha256=sha256_of(path),
            size=path.stat().st_size,
        )
        for path in sorted(folder.iterdir())
    )


def _card(
    about: About, summary: Summary, reached: Evaluation, spent: Cost, files: Sequence[File], judging: Judging | None
) -> Card:
    dense = spent.dense
    weights, activations = (_formats(summary, weights=w) for w in (True, False))
    return Card(
        name=about.name,
        task=about.task,
        data_set=DataSet(name=about.data_set),
        source=Source(name=about.source),
        licence=about.licence,
        input=about.input or "; ".join(f"{t.name}: {t.shape} {t.type}" for t in summary.inputs),
        framework=about.framework or summary.producer,
        quantization=Quantization(weights=weights, activations=activations),
        files=tuple(files),
        summary=about.summary,
        claim=Claim(
            metric=Metric(reached.metric).value,
            value=reached.score,
            samples=reached.samples,
            correct=reached.correct,
            verified=True,
        ),
        cost=CardCost(
            macs=dense.macs, bit_operations=dense.bit_operations, weight_bits=dense.weight_bits, verified=True
        ),
        judging=judging,
    )


def _formats(summary: Summary, *, weights: bool) -> str:
    """The formats of the quantisers, most frequent first; all of them where they are few."""
    names = dict.fromkeys(q.number_format for q in summary.quantizers if q.weights is weights)
    shown = list(names)[:6]
    return ", ".join(shown) + (" and others" if len(names) > len(shown) else "") or "float"
