"""site: a catalogue as static pages, a gallery and a page for each model, which load nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anybit.errors import AnybitError, UsageError
from anybit.io.files.temporary import folder_beside
from anybit.io.files.whole import put_folder
from anybit.reporting.describe import describe
from anybit.reporting.frame import environment, policy, theme
from anybit.reporting.page import render
from anybit.zoo.card import Card, CardCost, File, Role
from anybit.zoo.chart import charts
from anybit.zoo.entry import Entry
from anybit.zoo.errors import CatalogueError
from anybit.zoo.picture import picture
from anybit.zoo.store import State, Store

if TYPE_CHECKING:
    from jinja2 import Environment

_MARK = ".anybit-zoo"  # a folder with this file may be replaced
_FIGURES = ("MACs", "bit operations", "weight bits")
_COLUMNS = (
    *((title, False) for title in ("name", "task", "data set", "weights", "activations")),
    *((title, True) for title in ("reaches", *_FIGURES)),
)


@dataclass(frozen=True)
class WrittenSite:
    """What a site consists of.

    Attributes:
        pages: Number of pages, reports not counted.
        reports: Number of reports.
        without_report: Models that are on this machine and have none, and why.
    """

    pages: int
    reports: int
    without_report: tuple[str, ...]


def write_site(
    cards: Sequence[Card], folder: Path, *, store: Store | None = None, progress: Callable[[int], None] | None = None
) -> WrittenSite:
    """Writes the pages; the folder appears, or is replaced, when all of them are there.

    Args:
        cards: Cards with whole addresses.
        folder: Where to; new, empty, or an earlier site.
        store: Cache of the files: models in it, whose hashes are right, get a report.
        progress: Called with 1 for each model.

    Raises:
        UsageError: The folder has something else in it.
        CatalogueError: It cannot be written.
        UnsupportedError: jinja2 is not installed.
    """
    if folder.exists() and not (folder.is_dir() and ((folder / _MARK).is_file() or not any(folder.iterdir()))):
        raise UsageError("the folder is no earlier site", got=str(folder), expected="a new or empty folder")
    templates = environment()
    place = Path(os.path.realpath(folder))
    try:
        with folder_beside(place) as temporary:
            written = _write_pages(cards, temporary, store, templates, progress or (lambda _: None))
            put_folder(temporary, place)
    except OSError as error:
        raise CatalogueError("cannot write the site", node=str(folder), got=error.strerror or error) from error
    return written


def _write_pages(
    cards: Sequence[Card], folder: Path, store: Store | None, templates: Environment, progress: Callable[[int], None]
) -> WrittenSite:
    for name in ("models", "reports", "files"):
        (folder / name).mkdir()
    (folder / _MARK).touch()
    entries: list[Entry] = []
    missing: list[str] = []
    for card in cards:
        entry, failure = _write_model(card, folder, store, templates)
        entries.append(entry)
        missing += [failure] if failure else []
        progress(1)
    (folder / "index.html").write_text(_index(entries, templates), "utf-8")
    return WrittenSite(len(cards) + 1, len(list((folder / "reports").iterdir())), tuple(missing))


def _index(entries: Sequence[Entry], templates: Environment) -> str:
    shown = {e.css: e.bits for e in sorted(entries, key=lambda e: e.order) if e.bit_operations and e.value}
    bits = {e.bits: e.order for e in entries}
    return _page(
        templates,
        "index.html",
        entries=entries,
        charts=charts(entries),
        classes=list(shown.items()),
        columns=_COLUMNS,
        filters=(
            ("task", "task", sorted({e.card.task for e in entries})),
            ("data", "data set", sorted({e.card.data_set.name for e in entries})),
            ("bits", "weights", sorted(bits, key=lambda name: bits[name])),
        ),
    )


def _write_model(card: Card, folder: Path, store: Store | None, templates: Environment) -> tuple[Entry, str | None]:
    """Writes the page of a model, and its report if it is at hand; says why not, if it is and that failed."""
    entry, failure, drawn = Entry(card), None, None
    path = None if store is None else _at_hand(card, store)
    if path is not None:
        try:
            described = describe(path, name=card.name)
        except AnybitError as error:
            failure = f"{card.name}: no report: {error}"
        else:
            (folder / "reports" / f"{card.name}.html").write_text(render(described), "utf-8")
            drawn = picture(described)
            total = described.cost.dense
            counted = CardCost(
                macs=total.macs, bit_operations=total.bit_operations, weight_bits=total.weight_bits, verified=True
            )
            entry = Entry(card, None if total.bit_operations is None else counted)
    page = _page(
        templates,
        "model.html",
        entry=entry,
        card=card,
        titled=list(zip(_FIGURES, entry.figures, strict=True)),
        report=drawn is not None,
        picture=drawn,
        files=[(file, _download(card, file, folder, store)) for file in card.files],
        commands=_commands(card),
        program=_program(card),
    )
    (folder / "models" / f"{card.name}.html").write_text(page, "utf-8")
    return entry, failure


def _download(card: Card, file: File, folder: Path, store: Store | None) -> str | None:
    """Where a reader of the page gets a file: the first address on the web, else a copy beside the page."""
    web = next((u for u in file.urls if u.startswith(("https://", "http://"))), None)
    if web is not None or store is None:
        return web
    state = next(s for s in store.states(card) if s.name == file.name)
    if state.state is not State.SOUND:
        return None
    (folder / "files" / card.name).mkdir(exist_ok=True)
    shutil.copyfile(state.path, folder / "files" / card.name / file.name)
    return f"../files/{card.name}/{file.name}"


def _at_hand(card: Card, store: Store) -> Path | None:
    """The ONNX file, where it and its external data are on this machine with the right hashes."""
    states = {s.name: s for s in store.states(card)}
    needed = [f.name for f in card.files if f.role is not Role.DATA]
    sound = all(states[name].state is State.SOUND for name in needed)
    return states[card.model.name].path if sound else None


def _commands(card: Card) -> str:
    unpinned = "" if card.pinned else " --accept-unpinned"
    data = "" if card.judging is not None else " --data DATA.npz"
    return "\n".join(
        (
            f"anybit zoo fetch {card.name}{unpinned}     # prints where the file is",
            f"anybit zoo evaluate {card.name}{data}",
            f'anybit run "$(anybit zoo fetch {card.name})" -i INPUTS.npz -o OUTPUTS.npz',
        )
    )


def _program(card: Card) -> str:
    unpinned = "" if card.pinned else ", accept_unpinned=True"
    return "\n".join(
        (
            "import numpy as np",
            "",
            "import anybit",
            "from anybit.zoo.catalogue import open_catalogue",
            "from anybit.zoo.store import Store",
            "",
            f'card = open_catalogue().card("{card.name}")',
            f"path = Store().fetch(card{unpinned})[card.model.name]",
            'outputs = anybit.run(path, np.load("INPUTS.npz"))',
        )
    )


def _page(templates: Environment, name: str, **content: Any) -> str:
    style, script = theme() + _text("site.css"), _text("site.js") if name == "index.html" else ""
    return templates.from_string(_text(name)).render(
        policy=policy(style, *filter(None, (script,))), style=style, script=script, **content
    )


def _text(name: str) -> str:
    return (files("anybit.zoo") / "pages" / name).read_text("utf-8")
