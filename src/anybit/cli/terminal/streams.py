"""stdout and stderr: they take every text, and what cannot be written is a line and an exit code."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import TextIO

from anybit.errors import ModelFileError


def write(text: str, *, error: bool = False) -> None:
    """Writes a text to stdout or stderr, now.

    Raises:
        ModelFileError: It cannot be written to stdout. What cannot be written to stderr nobody can be told.
    """
    stream = sys.stderr if error else sys.stdout
    try:
        stream.write(text)
        stream.flush()
    except OSError as failure:
        _abandon(stream)
        if not error:
            raise ModelFileError("cannot write to standard output", got=failure.strerror or failure) from failure


@contextmanager
def standard_streams() -> Generator[None]:
    """Makes the streams take every text: a character that a stream has no code for is shown as its escape.

    Raises:
        ModelFileError: At the end, what others than `write` printed to stdout cannot be written.
    """
    _open_missing()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        write("")
        write("", error=True)


def _open_missing() -> None:
    """Takes the descriptors of streams that the caller closed, which the next files would have else.

    What stands for a closed stdout cannot be written to: what is printed there is lost, and that is an error.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)  # gets the lowest number that is free
    sys.stdout, sys.stderr = sys.stdout or _stream(1), sys.stderr or _stream(2)


def _stream(number: int) -> TextIO:
    return os.fdopen(number, "w", encoding="utf-8", closefd=False)


def _abandon(stream: TextIO) -> None:
    """Drops what is in the buffer: Python would try again at its end, and complain in lines of its own."""
    with suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
