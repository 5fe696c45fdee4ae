"""catalogue: cards found by name, in the built-in catalogues or in one of your own."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

import msgspec

from anybit.errors import UsageError
from anybit.io.files.regular import read_regular
from anybit.zoo.card import VERSION, Card, Catalogue, Role
from anybit.zoo.errors import CatalogueError
from anybit.zoo.places import local_path

CATALOGUE_FILE = "catalogue.json"
CARD_FILE = "card.json"
ENVIRONMENT = "ANYBIT_CATALOGUE"
"""Variable that names the catalogue to use where none is given."""

_LARGEST = 1 << 26  # bytes of JSON
_NEAR = 0.6
_T = TypeVar("_T")


@dataclass(frozen=True)
class Shelf:
    """Cards by name, in their order.

    Attributes:
        cards: They; addresses of files are whole ones, as `resolved` makes them.
        offline: Why a remote catalogue is the copy of an earlier time; empty if it is not.
    """

    cards: Mapping[str, Card]
    offline: str = ""

    def card(self, name: str) -> Card:
        """The card of this name.

        Raises:
            UsageError: There is none.
        """
        found = self.cards.get(name)
        if found is None:
            from difflib import get_close_matches

            near = get_close_matches(name, self.cards, cutoff=_NEAR)
            hint = f"did you mean {near[0]}?" if near else "`anybit zoo list` shows the names"
            raise UsageError("no such model in the catalogue", got=repr(name[:100]), hint=hint)
        return found


def open_catalogue(source: str | os.PathLike[str] | None = None, *, cache: Path | None = None) -> Shelf:
    """The cards of a catalogue.

    Args:
        source: A folder, a JSON file, or an http, https or file address of one; None for what the environment variable
            ANYBIT_CATALOGUE names, and without it for what ships with anybit. Of a folder all ``*/card.json`` are
            read, or its ``catalogue.json`` where there is none.
        cache: Folder of the cache, see `anybit.zoo.places.cache_folder`: a copy of a remote catalogue is kept there.

    Raises:
        CatalogueError: It cannot be read, or is malformed.
    """
    wanted = source or os.environ.get(ENVIRONMENT)
    if not wanted:
        return _built_in()
    text = os.fspath(wanted)
    parts = urlsplit(text)
    if parts.scheme in ("http", "https"):
        from anybit.zoo.download import read_remote
        from anybit.zoo.places import cache_folder

        data, offline = read_remote(text, (cache or cache_folder()) / "catalogues", largest=_LARGEST)
        cards = parse(data, text)
        _check_remote(cards, text)
        return Shelf(_by_name([resolved(c, text) for c in cards], text), offline)
    path = local_path(text) if parts.scheme == "file" else Path(text)
    return Shelf(_by_name(read_folder(path) if path.is_dir() else _read_file(path), text))


def _built_in() -> Shelf:
    root = Path(str(files("anybit.zoo")))
    return Shelf(_by_name([*read_folder(root / "models"), *_read_file(root / "qonnx.json")], "the built-in catalogue"))


def read_folder(folder: Path) -> list[Card]:
    """The cards below a folder, by name; of its ``catalogue.json`` if there are none.

    Raises:
        CatalogueError: One is malformed, or there is nothing.
    """
    paths = sorted(folder.glob(f"[!.]*/{CARD_FILE}"))
    if not paths and (folder / CATALOGUE_FILE).exists():
        return _read_file(folder / CATALOGUE_FILE)
    if not paths:
        expected = f"{CATALOGUE_FILE}, or folders with a {CARD_FILE} each"
        raise CatalogueError("nothing in the folder is a catalogue", node=str(folder), expected=expected)
    cards = [resolved(read_card(path), path.resolve().as_uri()) for path in paths]
    for card, path in zip(cards, paths, strict=True):
        if card.name != path.parent.name:
            raise CatalogueError("name of the card", node=str(path), got=card.name, expected=path.parent.name)
    return cards


def read_card(path: Path) -> Card:
    """The card in a file, with the addresses as they are written.

    Raises:
        CatalogueError: It cannot be read, or is malformed.
    """
    card = _decoded(_bytes_of(path), Card, str(path))
    _check(card, str(path))
    return card


def parse(data: bytes, where: str) -> tuple[Card, ...]:
    """The cards of a ``catalogue.json``, with the addresses as they are written.

    Raises:
        CatalogueError: It is malformed.
    """
    catalogue = _decoded(data, Catalogue, where)
    for card in catalogue.models:
        _check(card, where)
    return catalogue.models


def encoded(cards: Sequence[Card]) -> bytes:
    """A ``catalogue.json``."""
    content = Catalogue(schema=VERSION, models=tuple(cards))
    return msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n"


def encoded_card(card: Card) -> bytes:
    """A ``card.json``."""
    return msgspec.json.format(msgspec.json.encode(card), indent=1) + b"\n"


def schema() -> bytes:
    """The JSON Schema of a ``catalogue.json``."""
    return msgspec.json.format(msgspec.json.encode(msgspec.json.schema(Catalogue)), indent=1) + b"\n"


def resolved(card: Card, base: str) -> Card:
    """The card with whole addresses, where it was read from this one."""
    return _with_addresses(card, lambda address: urljoin(base, address))


def below(card: Card, folder: str) -> Card:
    """The card as it is written in a catalogue whose folder has the card's own one, of this name."""
    return _with_addresses(card, lambda address: address if "://" in address else f"{folder}/{address}")


def _with_addresses(card: Card, change: Callable[[str], str]) -> Card:
    replaced = tuple(msgspec.structs.replace(f, urls=tuple(map(change, f.urls))) for f in card.files)
    return msgspec.structs.replace(card, files=replaced)


def _read_file(path: Path) -> list[Card]:
    base = path.resolve().as_uri()
    return [resolved(card, base) for card in parse(_bytes_of(path), str(path))]


def _bytes_of(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LARGEST:
            raise CatalogueError("the file is too large", node=str(path), expected=f"at most {_LARGEST:,} bytes")
        return read_regular(path)
    except OSError as error:
        raise CatalogueError(
            "cannot read the catalogue",
            node=str(path),
            got=error.strerror or error,
            expected="a JSON file, or a folder",
        ) from error


def _decoded(data: bytes, kind: type[_T], where: str) -> _T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CatalogueError("malformed catalogue", node=where, got=str(error)[:500]) from error


def _check(card: Card, where: str) -> None:
    """What the schema cannot say."""
    here = f"{where}, model '{card.name}'"
    models = sum(f.role is Role.MODEL for f in card.files)
    if models != 1 or sum(f.role is Role.DATA for f in card.files) > 1:
        raise CatalogueError(
            "files", node=here, got=f"{models} models", expected="one model, and one data file at most"
        )
    repeated = [name for name, count in Counter(f.name.lower() for f in card.files).items() if count > 1]
    if repeated:
        raise CatalogueError("two files of one name", node=here, got=repeated[0])
    if card.judging is not None and card.data is None:
        raise CatalogueError("judging without a data file", node=here, expected="a file of role data")
    claim = card.claim
    if claim is not None and claim.correct is not None and claim.correct > (claim.samples or 0):
        raise CatalogueError("claim", node=here, got=f"{claim.correct} of {claim.samples or 0} samples correct")


def _check_remote(cards: Sequence[Card], where: str) -> None:
    for card in cards:
        own = [url for f in card.files for url in f.urls if url.startswith("file:")]
        if own:
            here = f"{where}, model '{card.name}'"
            raise CatalogueError("a remote catalogue names a file of this machine", node=here, got=own[0])


def _by_name(cards: Sequence[Card], where: str) -> dict[str, Card]:
    found: dict[str, Card] = {}
    for card in cards:
        if card.name.lower() in found:
            raise CatalogueError("two models of one name", node=where, got=card.name)
        found[card.name.lower()] = card
    return {card.name: card for card in cards}


if __name__ == "__main__":
    print(schema().decode(), end="")  # noqa: T201  (the file beside this one is its output)
