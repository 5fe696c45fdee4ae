"""anybit zoo: find models, fetch them, check what they claim, and publish your own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anybit.cli.options.engine import EngineOption
from anybit.cli.run import run as run_model
from anybit.cli.terminal.examples import examples_of
from anybit.cli.terminal.output import (
    FINDINGS,
    JsonOption,
    ModelArgument,
    print_json,
    print_long_table,
    print_table,
    progress,
    say,
)
from anybit.cli.zoo_tables import flat, plain, print_added, print_evaluation, print_reproduction, row
from anybit.errors import UsageError

if TYPE_CHECKING:
    from anybit.zoo.card import Card
    from anybit.zoo.catalogue import Shelf

zoo = typer.Typer(
    name="zoo", help="The model zoo: list, fetch, run, verify, evaluate and add models.", no_args_is_help=True
)
"""The commands of the zoo."""

NameArgument = Annotated[str, typer.Argument(help="Name in the catalogue.", show_default=False)]
CatalogueOption = Annotated[
    str | None, typer.Option("--catalogue", help="Folder, JSON file or address; else ANYBIT_CATALOGUE, else ours.")
]
CacheOption = Annotated[Path | None, typer.Option("--cache", help="Folder of the cache; else ANYBIT_CACHE.")]
UnpinnedOption = Annotated[
    bool, typer.Option("--accept-unpinned", help="Take files whose hash the card lacks, and pin what came.")
]
TopOption = Annotated[int, typer.Option(help="A label counts among so many of the highest scores.")]
_MANY = 200  # rows that take a noticeable time to lay out


@zoo.command("list", epilog=examples_of("zoo list"))
def list_models(
    catalogue: CatalogueOption = None,
    task: Annotated[str | None, typer.Option(help="Only models whose task has this text.")] = None,
    cache: CacheOption = None,
    json: JsonOption = False,
) -> None:
    """The models of the catalogue: task, number formats, what they reach and what they cost."""
    cards = [c for c in _open(catalogue, cache).cards.values() if task is None or task.lower() in c.task.lower()]
    if json:
        print_json([plain(card) for card in cards])
        return
    columns = ("name", "task", "data set", "weights, activations", "reaches", "bit operations", "pinned")
    show = print_table if len(cards) <= _MANY else print_long_table
    show(f"{len(cards):,} models", columns, [row(card) for card in cards])


@zoo.command(epilog=examples_of("zoo info"))
def info(
    name: NameArgument, catalogue: CatalogueOption = None, cache: CacheOption = None, json: JsonOption = False
) -> None:
    """The card of a model."""
    card = _open(catalogue, cache).card(name)
    if json:
        print_json(plain(card))
        return
    shown = flat(plain(card))
    print_table(
        card.name, ("", ""), [(key, value) for key, value in shown if key != "name" and value not in (None, "")]
    )


@zoo.command(epilog=examples_of("zoo fetch"))
def fetch(
    name: NameArgument,
    accept_unpinned: UnpinnedOption = False,
    catalogue: CatalogueOption = None,
    cache: CacheOption = None,
    json: JsonOption = False,
) -> None:
    """Bring a model to this machine, checked by its hash, and print where its file is."""
    card = _open(catalogue, cache).card(name)
    paths = _fetched(card, cache, accept_unpinned=accept_unpinned)
    if json:
        print_json({"model": str(paths[card.model.name]), "files": {n: str(p) for n, p in paths.items()}})
    else:
        say(paths[card.model.name])


def _fetched(card: Card, cache: Path | None, *, accept_unpinned: bool) -> dict[str, Path]:
    """The files of a card on this machine, by name."""
    from anybit.zoo.store import Store

    sizes = [f.size for f in card.files]
    total = None if None in sizes else sum(s or 0 for s in sizes)
    with progress(f"fetching {card.name}", total, unit="bytes") as advance:
        return dict(Store(cache).fetch(card, accept_unpinned=accept_unpinned, progress=advance))


@zoo.command(epilog=examples_of("zoo run"))
def run(
    name: NameArgument,
    inputs: Annotated[Path, typer.Option("-i", "--inputs", help=".npz with arrays by input name, or one .npy.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help=".npz to write the outputs to.")] = None,
    engine: EngineOption = "auto",
    accept_unpinned: UnpinnedOption = False,
    catalogue: CatalogueOption = None,
    cache: CacheOption = None,
    json: JsonOption = False,
) -> None:
    """Fetch a model if need be, and run it; see `anybit run` for more options."""
    card = _open(catalogue, cache).card(name)
    path = _fetched(card, cache, accept_unpinned=accept_unpinned)[card.model.name]
    run_model(path, inputs, output, engine=engine, json=json)


@zoo.command(epilog=examples_of("zoo verify"))
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names; without any, all models.", show_default=False)
    ] = None,
    catalogue: CatalogueOption = None,
    cache: CacheOption = None,
    json: JsonOption = False,
) -> None:
    """Check the files that are on this machine against their hashes. Exit code 1 if one is damaged."""
    from anybit.zoo.store import State, Store

    shelf = _open(catalogue, cache)
    cards = [shelf.card(name) for name in names] if names else list(shelf.cards.values())
    store = Store(cache)
    states = {card.name: store.states(card) for card in cards}
    if json:
        print_json(states)
    else:
        rows = [(name, s.name, s.state.value, s.path) for name, files in states.items() for s in files]
        print_table("Files on this machine", ("model", "file", "state", "where"), rows)
    if any(s.state is State.DAMAGED for files in states.values() for s in files):
        raise typer.Exit(FINDINGS)


@zoo.command(epilog=examples_of("zoo evaluate"))
def evaluate(
    model: Annotated[str, typer.Argument(help="Name in the catalogue, or an ONNX file.", show_default=False)],
    data: Annotated[
        Path | None, typer.Option(help=".npz, .npy or a folder of images by class; else the data of the card.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="Key of the labels in the .npz file, or an .npy file with them.")
    ] = None,
    metric: Annotated[str, typer.Option(help="accuracy or squared-error.")] = "accuracy",
    top: TopOption = 1,
    output: Annotated[str | None, typer.Option(help="Output to judge, where there are several.")] = None,
    engine: EngineOption = "auto",
    batch_size: Annotated[int | None, typer.Option(help="Samples in one run.")] = None,
    workers: Annotated[int | None, typer.Option(help="Runs at once; else one for each core.")] = None,
    journal: Annotated[Path | None, typer.Option(help="Keep what is finished here; continue from it.")] = None,
    ray: Annotated[str | None, typer.Option(help="Address of a Ray cluster that does the work.")] = None,
    accept_unpinned: UnpinnedOption = False,
    catalogue: CatalogueOption = None,
    cache: CacheOption = None,
    json: JsonOption = False,
) -> None:
    """How right a model is over a data set. A model that comes with its data is held to what its card claims.

    Exit code 1 if it does not reach that to the last sample.
    """
    from anybit.zoo.evaluate import evaluate as judge
    from anybit.zoo.evaluate import model_file, reproduce
    from anybit.zoo.options import Options
    from anybit.zoo.store import Store

    options = Options(metric, top, output, engine, batch_size, workers)
    with progress(f"judging {Path(model).name}", None) as advance:
        how: dict[str, Any] = {"options": options, "journal": journal, "ray": ray, "progress": advance}
        if data is None:
            if Path(model).suffix == ".onnx":
                raise UsageError(
                    "--data", got="none", expected="a data set, for a model that is no name of a catalogue"
                )
            if labels or output or metric != "accuracy":
                raise UsageError("labels, output and metric", got="no --data", hint="those of the card are used")
            print_reproduction(reproduce(_open(catalogue, cache).card(model), Store(cache), **how), as_json=json)
            return
        path = Path(model)
        if path.suffix != ".onnx":
            path = model_file(_open(catalogue, cache).card(model), Store(cache), accept_unpinned=accept_unpinned)
        found = judge(path, data, labels, **how)
    if json:
        print_json(found)
    else:
        print_evaluation(found)


@zoo.command(epilog=examples_of("zoo add"))
def add(
    model: ModelArgument,
    data: Annotated[Path, typer.Option(help="Samples with labels: .npz, .npy or a folder of images by class.")],
    folder: Annotated[Path, typer.Option("-o", "--output", help="Folder of the catalogue.")],
    task: Annotated[str, typer.Option(help="What it does, as 'image classification'.")],
    data_set: Annotated[str, typer.Option(help="What it was trained and judged on.")],
    source: Annotated[str, typer.Option(help="Who made it.")],
    licence: Annotated[str, typer.Option(help="SPDX identifier.")],
    name: Annotated[str | None, typer.Option(help="Its name; else that of the file.")] = None,
    input_text: Annotated[str, typer.Option("--input", help="How an input is prepared.")] = "",
    framework: Annotated[str, typer.Option(help="What trained it; else the producer of the file.")] = "",
    summary: Annotated[str, typer.Option(help="What else a reader wants to know.")] = "",
    labels: Annotated[
        str | None, typer.Option(help="Key of the labels in the .npz file, or an .npy file with them.")
    ] = None,
    metric: Annotated[str, typer.Option(help="accuracy or squared-error.")] = "accuracy",
    output_name: Annotated[
        str | None, typer.Option("--judge", help="Output to judge, where there are several.")
    ] = None,
    with_data: Annotated[bool, typer.Option("--with-data", help="The data go into the catalogue as well.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="A model of this name is replaced.")] = False,
    json: JsonOption = False,
) -> None:
    """Check, clean, pack and measure a model, and put it into a catalogue with its card.

    Nothing is written, and the exit code is 1, if the model fails its checks.
    """
    from anybit.evaluation.metrics import Metric
    from anybit.zoo.add import About
    from anybit.zoo.add import add as publish

    if metric not in {m.value for m in Metric}:
        raise UsageError("--metric", got=repr(metric), expected=", ".join(m.value for m in Metric))
    about = About(name or model.stem, task, data_set, source, licence, input_text, framework, summary)
    with progress(f"judging {model.name}", None) as advance:
        added = publish(
            model,
            data,
            folder,
            about,
            labels=labels,
            metric=Metric(metric),
            output=output_name,
            with_data=with_data,
            replace=replace,
            progress=advance,
        )
    print_added(added, folder, as_json=json)
    if added.card is None:
        raise typer.Exit(FINDINGS)


@zoo.command(epilog=examples_of("zoo site"))
def site(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write to; new, or an earlier site.")],
    catalogue: CatalogueOption = None,
    cache: CacheOption = None,
) -> None:
    """Write the catalogue as a gallery of static pages; models that are on this machine get their report."""
    from anybit.zoo.site import write_site
    from anybit.zoo.store import Store

    shelf = _open(catalogue, cache)
    with progress("writing pages", len(shelf.cards), unit="pages") as advance:
        written = write_site(list(shelf.cards.values()), output, store=Store(cache), progress=advance)
    say(*written.without_report, f"{written.pages} pages, {written.reports} with a report, written to {output}")


def _open(source: str | None, cache: Path | None) -> Shelf:
    from anybit.zoo.catalogue import open_catalogue
    from anybit.zoo.places import cache_folder

    shelf = open_catalogue(source, cache=cache_folder(cache) if source or cache else None)
    if shelf.offline:
        say(f"anybit: the copy of an earlier time is used: {shelf.offline}", error=True)
    return shelf
