"""Temporary files and folders beside their place, ``.NAME.xxxxxxxx.tmp``.

Each is locked while its process works on it. What a killed process left has no lock any more, and is removed by the
next one that makes a temporary for the same place.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_LONGEST = 200  # bytes of the name of the place that are kept: file systems take 255


@contextmanager
def file_beside(place: Path) -> Generator[Path]:
    """An empty temporary file; it is removed at the end if it is still there."""
    with _claimed(place, _new_file) as temporary:
        try:
            yield temporary
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


@contextmanager
def folder_beside(place: Path) -> Generator[Path]:
    """An empty temporary folder; it is removed at the end, with all in it, if it is still there."""
    with _claimed(place, _new_folder) as temporary:
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """One process at a time, where the file system has locks and the folder may be read."""
    descriptor = None
    if sys.platform != "win32":
        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


@contextmanager
def _claimed(place: Path, make: Callable[[Path], int | None]) -> Generator[Path]:
    """A new temporary under a lock of its own."""
    name = _prefix(place)
    _sweep(place.parent, name)
    while True:
        temporary = place.with_name(f"{name}.{secrets.token_hex(4)}.tmp")
        descriptor = make(temporary)
        if descriptor is None or _is_locked(temporary, descriptor):
            break
        os.close(descriptor)  # another process took it for dead before it was locked
    try:
        yield temporary
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _new_file(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)


def _new_folder(path: Path) -> int | None:
    path.mkdir(parents=True)
    return None if sys.platform == "win32" else os.open(path, os.O_RDONLY)


def _is_locked(path: Path, descriptor: int) -> bool:
    """Locks a new file, and says whether it still has its name."""
    if sys.platform == "win32":
        return True
    with suppress(OSError):  # a file system without locks
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    return False


def _sweep(folder: Path, name: str) -> None:
    """Removes what processes left that are dead."""
    if sys.platform == "win32":
        return
    left = re.compile(re.escape(name) + r"\.[0-9a-f]{8}\.tmp")
    with suppress(OSError), os.scandir(folder) as entries:
        paths = [Path(entry.path) for entry in entries if left.fullmatch(entry.name)]
        for path in paths:
            _remove_unlocked(path)


def _remove_unlocked(path: Path) -> None:
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        finally:
            os.close(descriptor)


def _prefix(place: Path) -> str:
    return os.fsdecode(b"." + os.fsencode(place.name)[:_LONGEST])
