"""whole: files and folders that appear whole or not at all, also when the process is killed at any moment.

What is written goes into a temporary file beside its place, is flushed to the disk, and takes its place by one rename.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import stat
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from anybit.io.files.temporary import file_beside

_LOOKS = 100  # at a file that others replace meanwhile
_PERMISSIONS = 0o777
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of linux/fs.h


def put(temporary: Path, place: Path) -> None:
    """Moves a finished file to its place, whose permissions it takes over where there is a file.

    Raises:
        OSError: It cannot be done; what is at the place is as it was.
    """
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    with suppress(FileNotFoundError):
        temporary.chmod(place.stat().st_mode & _PERMISSIONS)
    os.replace(temporary, place)
    sync_folder(place.parent)


def put_folder(temporary: Path, place: Path) -> None:
    """Moves a finished folder to its place. A folder that is there is then under the temporary name.

    Raises:
        OSError: It cannot be done; what is at the place is as it was.
    """
    if not place.exists() or not _exchanged(temporary, place):
        _move_folder(temporary, place)
    sync_folder(place.parent)


@contextmanager
def whole(target: Path, *, put: Callable[[Path, Path], None] = put) -> Generator[Path]:
    """A temporary file, which takes the target's place if all goes well.

    Symbolic links are followed. Into a pipe or a character device the content is copied.

    Args:
        target: The place.
        put: What moves the temporary file to the place.

    Raises:
        OSError: It cannot be written; the target is as it was.
    """
    place = destination(target)
    if place is None:
        with TemporaryDirectory() as folder:
            yield Path(folder) / target.name
            _copy(Path(folder) / target.name, target)
        return
    with file_beside(place) as temporary:
        yield temporary
        put(temporary, place)


def write_whole(target: Path, content: bytes) -> None:
    """Writes a file that appears whole or not at all; see `whole`."""
    with whole(target) as temporary:
        temporary.write_bytes(content)


def _is_at(place: Path, target: Path) -> bool:
    """Whether a place holds the file of a path; another writer may replace it between two looks at it."""
    return place.exists() and place.samefile(target)


def destination(target: Path) -> Path | None:
    """Where a file of this path is, all links followed; None for a pipe or a character device.

    Raises:
        OSError: It is something that is not written to, such as a folder, a socket or a disk.
    """
    if "\0" in str(target):
        raise OSError(errno.EINVAL, "a path with a null character")
    place = Path(os.path.realpath(target))
    try:
        found = target.stat()
    except FileNotFoundError:
        return place
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if stat.S_ISFIFO(found.st_mode) or stat.S_ISCHR(found.st_mode):
        return None
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "neither a file nor a pipe")
    if not any(_is_at(place, target) for _ in range(_LOOKS)):  # reached by an open descriptor, in /dev/fd
        raise OSError(errno.EINVAL, "a file that has no name any more")
    return place


def sync_folder(folder: Path) -> None:
    """Flushes the entries of a folder to the disk: a rename in it then outlasts a failure of the power."""
    if sys.platform == "win32":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # it may be written but not read
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy(source: Path, special: Path) -> None:
    unread_pipe_fails = getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(special, os.O_WRONLY | unread_pipe_fails | getattr(os, "O_NOCTTY", 0))
    os.set_blocking(descriptor, True)
    with os.fdopen(descriptor, "wb") as target, source.open("rb") as file:
        shutil.copyfileobj(file, target)


def _exchanged(one: Path, other: Path) -> bool:
    """Whether two entries of a file system could change their names at once: Linux can."""
    if not sys.platform.startswith("linux"):
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    return rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0


def _move_folder(temporary: Path, place: Path) -> None:
    """By renames alone: between two of them there is nothing at the place."""
    old = temporary.with_name(f"{temporary.name}.old")
    if place.exists():
        os.replace(place, old)
    try:
        os.replace(temporary, place)
    except OSError:
        if old.exists():
            os.replace(old, place)
        raise
    if old.exists():
        os.replace(old, temporary)
