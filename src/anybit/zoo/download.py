"""download: files over HTTP that continue where they were broken off, and catalogues that outlive their server."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from anybit.io.files.regular import open_regular, read_regular
from anybit.io.files.whole import write_whole
from anybit.zoo.errors import CatalogueError, DownloadError
from anybit.zoo.places import local_path

if TYPE_CHECKING:
    from requests import Response

_PIECE = 1 << 16
_ATTEMPTS = 3  # in a row that bring nothing
_LARGEST = 1 << 34  # bytes of a file whose size nobody stated
_TIMEOUT = (10, 60)  # seconds to connect, and between two pieces
_PARTIAL, _BEYOND = 206, 416  # what a server answers to a range: the rest of the file, or that there is none
_SERVER_ERROR = 500


class Downloader:
    """Writes what is at an address into a file.

    What came before a connection broke is kept, and the next attempt, in this or another process, asks for the rest
    only. A server that knows no ranges sends all of it again.

    Args:
        part: File for what comes.
        size: Bytes of the file, None if nobody stated them.
        resume: Whether `part` may be continued: only if a hash will tell that the pieces belong together.
        progress: Called with the number of bytes of each piece.
    """

    def __init__(
        self, part: Path, *, size: int | None, resume: bool, progress: Callable[[int], None] | None = None
    ) -> None:
        self._part = part
        self._wanted = size
        self._limit = _LARGEST if size is None else size
        self._resume = resume
        self._progress = progress or (lambda _: None)

    def get(self, url: str) -> None:
        """Downloads.

        Raises:
            DownloadError: The file cannot be had, or is too large, or cannot be written.
        """
        try:
            if not (self._resume and self._part.is_file()):
                self._part.unlink(missing_ok=True)
            self._part.touch()
            if url.startswith("file:"):
                self._copy(local_path(url), url)
            else:
                self._get(url)
        except OSError as error:
            with suppress(OSError):
                self._part.unlink(missing_ok=True)  # what is left of a full disk
            raise DownloadError(
                "cannot write to the cache", node=str(self._part.parent), got=error.strerror or error
            ) from error

    def _copy(self, source: Path, url: str) -> None:
        try:
            file = open_regular(source)
        except OSError as error:
            raise DownloadError("cannot read the file", node=url, got=error.strerror or error) from error
        with file, self._part.open("wb") as target:
            self._append(target, iter(lambda: file.read(_PIECE), b""), url)

    def _get(self, url: str) -> None:
        idle = furthest = 0
        while self._wanted is None or self._size() != self._wanted:
            start = self._size()
            try:
                with _reaching(url), _response(url, start) as response:
                    self._receive(response, start, url)
                if self._wanted is None:
                    return
                if self._size() < self._wanted:
                    raise _BrokenOffError("truncated", node=url, got=f"{self._size():,} of {self._wanted:,} bytes")
            except DownloadError as error:
                idle = 0 if self._size() > furthest else idle + 1
                furthest = max(furthest, self._size())
                if idle >= _ATTEMPTS or not isinstance(error, _BrokenOffError):
                    raise
                if not self._resume:
                    self._part.unlink(missing_ok=True)

    def _receive(self, response: Response, start: int, url: str) -> None:
        if response.status_code == _BEYOND:
            self._part.unlink(missing_ok=True)
            raise _BrokenOffError("the server has no more than came before", node=url, got=f"{start} bytes")
        if not response.ok:
            raise DownloadError("the server refuses", node=url, got=f"{response.status_code} {response.reason}")
        rest = response.status_code == _PARTIAL
        if rest and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            self._part.unlink(missing_ok=True)
            raise _BrokenOffError("the server sends another range", node=url, expected=f"from byte {start}")
        with self._part.open("ab" if rest else "wb") as file:
            self._append(file, response.iter_content(_PIECE), url)

    def _append(self, file: BinaryIO, pieces: Iterator[bytes], url: str) -> None:
        for piece in pieces:
            if file.tell() + len(piece) > self._limit:
                self._part.unlink(missing_ok=True)
                raise DownloadError("the file is too large", node=url, expected=f"{self._limit:,} bytes at most")
            file.write(piece)
            self._progress(len(piece))

    def _size(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0


class _BrokenOffError(DownloadError):
    """A connection that may be tried again."""


def read_remote(url: str, cache: Path, *, largest: int) -> tuple[bytes, str]:
    """A remote catalogue, and why it is the copy of an earlier time; empty if it is not.

    Args:
        url: Its address.
        cache: Folder for the copy.
        largest: Bytes at most.

    Raises:
        CatalogueError: It is too large, or the server has none, or cannot be reached and there is no copy.
    """
    copy = cache / f"{hashlib.sha256(url.encode()).hexdigest()}.json"
    try:
        with _reaching(url), _response(url, 0) as response:
            if not response.ok and response.status_code < _SERVER_ERROR:
                got = f"{response.status_code} {response.reason}"
                raise CatalogueError("no catalogue there", node=url, got=got)
            response.raise_for_status()
            data = bytearray()
            for piece in response.iter_content(_PIECE):
                data += piece
                if len(data) > largest:
                    raise CatalogueError("the catalogue is too large", node=url, expected=f"{largest:,} bytes at most")
    except DownloadError as error:
        if not copy.exists():
            raise CatalogueError(
                "the catalogue cannot be reached, and there is no copy of it", node=url, got=error.diagnosis.got
            ) from error
        return _copy_of(copy), str(error)
    write_to(copy, bytes(data))
    return bytes(data), ""


def _copy_of(path: Path) -> bytes:
    try:
        return read_regular(path)
    except OSError as error:
        raise CatalogueError("cannot read the copy", node=str(path), got=error.strerror or error) from error


def write_to(path: Path, data: bytes) -> None:
    """Writes a file that appears whole or not at all, and its folder where there is none.

    Raises:
        DownloadError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)
    except OSError as error:
        raise DownloadError("cannot write the file", node=str(path), got=error.strerror or error) from error


def _response(url: str, start: int) -> Response:
    import requests

    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    return requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT)


@contextmanager
def _reaching(url: str) -> Generator[None]:
    import requests

    try:
        yield
    except requests.RequestException as error:
        raise _BrokenOffError("cannot download", node=url, got=" ".join(str(error).split())[:300]) from error
