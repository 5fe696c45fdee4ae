"""JournalFile: the verdicts on the blocks of a data set, a line each, so that an evaluation can be continued.

The first line has a key: the hash of all that decides the verdicts. Each line has a checksum: one that was not written
to its end, or was changed, ends the journal, and what follows is judged anew.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self, cast

import filelock

from anybit.errors import ModelFileError, UsageError
from anybit.evaluation.metrics import ScoredSamples
from anybit.io.files.checked_lines import checked_line, content_of_line
from anybit.io.files.regular import open_regular

_FORMAT = "anybit evaluation 1"


class JournalFile:
    """A file of verdicts, for one evaluation at a time.

    Args:
        path: The file; it is made where there is none.
        decides: All that decides the verdicts, by name.

    Raises:
        UsageError: The file belongs to another evaluation, or another process writes it.
        ModelFileError: It cannot be read or written.
    """

    def __init__(self, path: Path, decides: Mapping[str, Any]) -> None:
        self._path = path
        self._header = {"format": _FORMAT, "decides": dict(decides)}
        self._lock = filelock.FileLock(path.with_name(f"{path.name}.lock"), timeout=0)
        self._finished: dict[int, ScoredSamples] = {}

    def __enter__(self) -> Self:
        if self._path.exists() and not self._path.is_file():
            raise self._unusable(OSError(errno.EINVAL, "no regular file"))
        try:
            self._lock.acquire()
        except filelock.Timeout:
            raise UsageError("another process writes the journal", node=str(self._path)) from None
        except OSError as error:
            raise self._unusable(error) from error
        try:
            kept = self._read()
            self._file = self._path.open("r+b" if kept else "wb", buffering=0)
        except OSError as error:
            self._lock.release()
            raise self._unusable(error) from error
        except UsageError:
            self._lock.release()
            raise
        try:
            self._file.truncate(kept)
            self._end = kept
            if not kept:
                self._write(self._header)
        except OSError as error:
            self.__exit__()
            raise self._unusable(error) from error
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # each line was written, or its failure raised
            self._file.close()
        self._lock.release()

    @property
    def finished(self) -> Mapping[int, ScoredSamples]:
        """The verdicts, by the number of the block."""
        return self._finished

    def record(self, number: int, verdict: ScoredSamples) -> None:
        """Writes the verdict on a block.

        Raises:
            ModelFileError: It cannot be written.
        """
        self._finished[number] = verdict
        try:
            self._write({"block": number} | asdict(verdict))
        except OSError as error:
            raise self._unusable(error) from error

    def _write(self, content: Mapping[str, Any]) -> None:
        """Writes a line, or leaves the file as it was."""
        line = checked_line(content)
        self._file.seek(self._end)
        try:
            written = 0
            while written < len(line):
                written += self._file.write(line[written:])
        except OSError:
            with suppress(OSError):
                self._file.truncate(self._end)
            raise
        self._end += len(line)

    def _read(self) -> int:
        """Reads the lines that are as they were written; returns where they end."""
        if not self._path.exists():
            return 0
        with open_regular(self._path) as file:
            first = file.readline()
            end = len(first)
            header = content_of_line(first)
            if header is None and checked_line(self._header).startswith(first) and not file.read(1):
                return 0  # it was ended before it had begun
            if header is None:
                raise UsageError("no journal", node=str(self._path), hint="name another file, or remove it")
            if header != self._header:
                raise UsageError(
                    "the journal belongs to another evaluation",
                    node=str(self._path),
                    got=_differences(header, self._header),
                    hint="name another file, or remove it",
                )
            for line in file:
                found = _finished(line)
                if found is None:
                    break
                self._finished |= found
                end += len(line)
        return end

    def _unusable(self, error: OSError) -> ModelFileError:
        return ModelFileError("cannot use the journal", node=str(self._path), got=error.strerror or error)


def verdict_of(content: Mapping[str, Any]) -> ScoredSamples:
    """The verdict that was written with `asdict`."""
    scores = tuple(float(score) for score in content["scores"])
    return ScoredSamples(int(content["samples"]), int(content["correct"]), int(content["correct_in_top"]), scores)


def _finished(line: bytes) -> dict[int, ScoredSamples] | None:
    """The verdict of a line by the number of its block; None where the line holds none."""
    content = content_of_line(line)
    try:
        return None if content is None else {int(content["block"]): verdict_of(content)}
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _differences(got: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    if got.get("format") != _FORMAT:
        return "another format"
    ours, theirs = expected["decides"], got.get("decides")
    if not isinstance(theirs, dict):
        return "another format"
    theirs = cast("dict[str, Any]", theirs)
    return "another " + ", ".join(sorted(k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k)))


def hash_of(path: Path) -> str:
    """The hash of a file, or of all files in a folder and below with their names."""
    paths = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    whole = hashlib.sha256()
    for part in paths:
        whole.update(f"{part.relative_to(path).as_posix()}\0".encode())
        with open_regular(part) as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()
