"""JournalFile: the verdicts on the blocks of a data set, a line each, so that an evaluation can be continued.

The first line has a key: the hash of all that decides the verdicts. Each line has a checksum: one that was not written
to its end, or was changed, ends the journal, and what follows is judged anew.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from anybit.errors import ModelFileError, UsageError
from anybit.runtime.judge import Verdict
from anybit.zoo.packages import needed

with needed():
    import filelock

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
        self._finished: dict[int, Verdict] = {}

    def __enter__(self) -> Self:
        try:
            self._lock.acquire()
        except filelock.Timeout:
            raise UsageError("another process writes the journal", node=str(self._path)) from None
        except OSError as error:
            raise self._unusable(error) from error
        try:
            kept = self._read()
            self._file = self._path.open("r+b" if kept else "wb")
            self._file.truncate(kept)
            self._file.seek(kept)
            if not kept:
                self._write(self._header)
        except OSError as error:
            self._lock.release()
            raise self._unusable(error) from error
        except UsageError:
            self._lock.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._lock.release()

    @property
    def finished(self) -> Mapping[int, Verdict]:
        """The verdicts, by the number of the block."""
        return self._finished

    def record(self, number: int, verdict: Verdict) -> None:
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
        line = json.dumps(content).encode()
        self._file.write(b"%08x %b\n" % (zlib.crc32(line), line))
        self._file.flush()

    def _read(self) -> int:
        """Reads the lines that are as they were written; returns where they end."""
        if not self._path.exists():
            return 0
        end = 0
        with self._path.open("rb") as file:
            for line in file:
                content = _content(line)
                if content is None:
                    break
                if end == 0 and content != self._header:
                    raise UsageError(
                        "the journal belongs to another evaluation",
                        node=str(self._path),
                        got=_differences(content, self._header),
                        hint="name another file, or remove it",
                    )
                if end:
                    number = content.pop("block")
                    self._finished[number] = verdict_of(content)
                end += len(line)
            if end == 0 and self._path.stat().st_size:
                raise UsageError("no journal", node=str(self._path), hint="name another file, or remove it")
        return end

    def _unusable(self, error: OSError) -> ModelFileError:
        return ModelFileError("cannot use the journal", node=str(self._path), got=error.strerror or error)


def verdict_of(content: Mapping[str, Any]) -> Verdict:
    """The verdict that was written with `asdict`."""
    scores = tuple(content["scores"])
    return Verdict(content["samples"], content["correct"], content["correct_in_top"], scores)


def _content(line: bytes) -> dict[str, Any] | None:
    checksum, _, text = line.removesuffix(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text):
        return None
    return json.loads(text)


def _differences(got: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    if got.get("format") != _FORMAT:
        return "another format"
    ours, theirs = expected["decides"], got["decides"]
    return "another " + ", ".join(sorted(k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k)))


def hash_of(path: Path) -> str:
    """The hash of a file, or of all files in a folder and below with their names."""
    paths = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    whole = hashlib.sha256()
    for part in paths:
        whole.update(f"{part.relative_to(path).as_posix()}\0".encode())
        with part.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()
