"""open_regular: plain files only. A pipe would wait for a writer without end, a device has no end."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path


def open_regular(path: Path) -> BufferedReader:
    """Opens a file for reading.

    Raises:
        OSError: It cannot be read, or is a pipe, a device, a socket or a folder.
    """
    if "\0" in str(path):
        raise OSError(errno.EINVAL, "a path with a null character")
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115  (Path.open takes no opener)
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise OSError(errno.EINVAL, "no regular file")


def read_regular(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        OSError: See `open_regular`.
    """
    with open_regular(path) as file:
        return file.read()


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
