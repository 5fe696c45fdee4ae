"""Temporary files and folders beside their place: ``.NAME.xxxxxxxx.tmp``, and ``.d`` behind it for a folder.

The file is locked while its process works. What a killed process left has no lock any more, and is removed by the next
one that makes a temporary for the same place.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_LONGEST = 200  # bytes of the name of the place that are kept: file systems take 255


@contextmanager
def file_beside(place: Path) -> Generator[Path]:
    """An empty temporary file; it is removed at the end if it is still there.

    Raises:
        OSError: It cannot be made.
    """
    _sweep(place)
    temporary, descriptor = _claimed(place)
    try:
        yield temporary
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        os.close(descriptor)


@contextmanager
def folder_beside(place: Path) -> Generator[Path]:
    """An empty temporary folder; it is removed at the end, with all in it, if it is still there.

    Raises:
        OSError: It cannot be made.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    with file_beside(place) as mark:
        folder = _folder_of(mark)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


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


def _claimed(place: Path) -> tuple[Path, int]:
    """A new file, and its descriptor, which holds the lock."""
    while True:
        path = place.with_name(f"{_prefix(place)}.{secrets.token_hex(4)}.tmp")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        if _is_locked(path, descriptor):
            return path, descriptor
        os.close(descriptor)  # another process took it for dead before it was locked


def _is_locked(path: Path, descriptor: int) -> bool:
    """Locks a new file, and says whether it still has its name."""
    if sys.platform == "win32":
        return True
    with suppress(OSError):  # a file system without locks
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    return False


def _sweep(place: Path) -> None:
    """Removes what processes left that are dead."""
    left = re.compile(re.escape(_prefix(place)) + r"\.[0-9a-f]{8}\.tmp")
    with suppress(OSError):
        for path in [Path(entry.path) for entry in os.scandir(place.parent) if left.fullmatch(entry.name)]:
            _remove_unlocked(path)


def _remove_unlocked(path: Path) -> None:
    if sys.platform == "win32":  # where nothing tells whether it is in use
        return
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(_folder_of(path), ignore_errors=True)
            path.unlink()
        finally:
            os.close(descriptor)


def _folder_of(mark: Path) -> Path:
    return mark.with_name(f"{mark.name}.d")


def _prefix(place: Path) -> str:
    return os.fsdecode(b"." + os.fsencode(place.name)[:_LONGEST])
