"""Store: the files of cards in a folder that processes share, each checked by its hash before it is there."""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import filelock

from anybit.io.files.regular import open_regular
from anybit.io.files.whole import put
from anybit.zoo.card import Card, File, Role
from anybit.zoo.download import Downloader, write_to
from anybit.zoo.errors import DownloadError
from anybit.zoo.places import cache_folder, local_path

_KEY = 16
_HASH = re.compile(rb"[0-9a-f]{64}")


class State(enum.Enum):
    """What there is of a file."""

    SOUND = "sound"
    DAMAGED = "damaged"
    ABSENT = "absent"
    UNPINNED = "not pinned"
    """Absent, and its card has no hash of it."""


@dataclass(frozen=True)
class FileState:
    """What there is of one file: where it is, or will be, and its hash if it is there."""

    name: str
    state: State
    path: Path
    sha256: str = ""


class Store:
    """A cache of files.

    Files that a card finds on this machine are used where they are, after a look at their hash. The others are
    downloaded: under a lock, each mirror in turn, into a temporary file that takes its place when its hash is right.

    Args:
        folder: See `cache_folder`.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = cache_folder(folder)

    def fetch(
        self,
        card: Card,
        roles: Collection[Role] = frozenset(Role),
        *,
        accept_unpinned: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> dict[str, Path]:
        """The files of a card, by name.

        Args:
            card: Card with whole addresses.
            roles: Which of its files.
            accept_unpinned: Whether files without a hash in the card are taken as they come. What came is pinned in
                the cache: it must be the same from then on.
            progress: Called with the number of bytes of each piece that comes.

        Raises:
            DownloadError: A file cannot be had, is not what the card says, or is not pinned.
        """
        wanted = [f for f in card.files if f.role in roles]
        folder = self._folder_of(card)
        pins = {f.name: self._pin(card, f) for f in wanted}
        for file in wanted:
            if pins[file.name] is None and not accept_unpinned:
                raise DownloadError(
                    "the file is not pinned: its card has no hash",
                    node=f"{card.name}/{file.name}",
                    hint="--accept-unpinned takes and pins it",
                )
        paths = {f.name: self._place(card, f) for f in wanted}
        for file in wanted:
            if paths[file.name].parent != folder:
                _check_hash(paths[file.name], pins[file.name])
        missing = [f for f in wanted if paths[f.name].parent == folder]
        if missing:
            with _locked(folder):
                for file in missing:
                    self._retrieve(card, file, progress)
        for file in wanted:
            if file.sha256 is None:
                write_to(self._pin_file(card, file), sha256_of(paths[file.name]).encode())
        return paths

    def states(self, card: Card) -> list[FileState]:
        """What there is of each file of a card; nothing is downloaded."""
        return [self._state(card, file) for file in card.files]

    def _state(self, card: Card, file: File) -> FileState:
        path, pin = self._place(card, file), self._pin(card, file)
        if not path.is_file():
            return FileState(file.name, State.ABSENT if pin else State.UNPINNED, path)
        actual = sha256_of(path)
        good = State.UNPINNED if pin is None else State.SOUND if pin == actual else State.DAMAGED
        return FileState(file.name, good, path, actual)

    def _retrieve(self, card: Card, file: File, progress: Callable[[int], None] | None) -> None:
        target = self._folder_of(card) / file.name
        pin = self._pin(card, file)
        if target.is_file() and pin in (None, sha256_of(target)):
            return
        failures: list[str] = []
        for url in file.urls:
            failure = self._try(url, target, file, pin, progress)
            if failure is None:
                return
            failures.append(failure)
        raise DownloadError(
            "no address has the file", node=f"{card.name}/{file.name}", got="; ".join(failures), expected=pin or ""
        )

    def _try(
        self, url: str, target: Path, file: File, pin: str | None, progress: Callable[[int], None] | None
    ) -> str | None:
        """Gets a file from one address, or says why that failed. Pieces that do not belong together are had anew."""
        part = target.with_name(f".{file.name}.part")
        resumes = pin is not None and part.is_file() and part.stat().st_size > 0
        try:
            Downloader(part, size=file.size, resume=pin is not None, progress=progress).get(url)
        except DownloadError as error:
            return str(error)
        try:
            if pin is None or sha256_of(part) == pin:
                put(part, target)
                return None
            part.unlink()
        except OSError as error:
            raise DownloadError(
                "cannot write to the cache", node=str(target.parent), got=error.strerror or error
            ) from error
        return self._try(url, target, file, pin, progress) if resumes else f"{url}: it has another hash"

    def _place(self, card: Card, file: File) -> Path:
        """Where the file is, or will be: on this machine, if that is so for all files of the card."""
        own = {f.name: _local(f) for f in card.files}
        found = own[file.name]
        return found if found is not None and None not in own.values() else self._folder_of(card) / file.name

    def _folder_of(self, card: Card) -> Path:
        """A folder for each state of a card: all of its files lie beside each other in it."""
        known = "\n".join(f"{f.name} {f.sha256 or f.urls}" for f in card.files)
        return self._folder / "models" / card.name / hashlib.sha256(known.encode()).hexdigest()[:_KEY]

    def _pin(self, card: Card, file: File) -> str | None:
        if file.sha256 is not None:
            return file.sha256
        path = self._pin_file(card, file)
        if not path.is_file():
            return None
        pin = path.read_bytes()
        if not _HASH.fullmatch(pin):
            raise DownloadError("a pin that is damaged", node=str(path), got=pin[:100], expected="a SHA-256")
        return pin.decode()

    def _pin_file(self, card: Card, file: File) -> Path:
        return self._folder_of(card) / f".{file.name}.sha256"


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits.

    Raises:
        DownloadError: It cannot be read.
    """
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DownloadError("cannot read the file", node=str(path), got=error.strerror or error) from error


def _check_hash(path: Path, pin: str | None) -> None:
    actual = sha256_of(path)
    if pin is not None and actual != pin:
        raise DownloadError("the file has another hash than its card says", node=str(path), got=actual, expected=pin)


def _local(file: File) -> Path | None:
    paths = [local_path(url) for url in file.urls if url.startswith("file:")]
    return next((p for p in paths if p.is_file() and p.name == file.name), None)


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    """Makes a folder of the cache, where one process at a time is at work."""
    lock = filelock.FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise DownloadError("cannot make the cache", node=str(folder), got=error.strerror or error) from error
    try:
        yield
    finally:
        lock.release()
