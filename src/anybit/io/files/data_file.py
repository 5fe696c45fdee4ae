"""The file of a model's external data: its name holds the hash of its content.

So a new one never takes the place of one that the model on the disk refers to. The rename of the model is the only
switch between the two; data files that it leaves without a model are removed after it.
"""

from __future__ import annotations

import mmap
import re
from contextlib import suppress
from pathlib import Path

from anybit.io.files.temporary import locked
from anybit.io.files.whole import put

_DIGITS = 12


def data_name(model: str, sha256: str) -> str:
    """The name of a data file.

    Args:
        model: Name of the model's file.
        sha256: Hash of the data, in hexadecimal digits.

    Example:
        >>> data_name("net.onnx", "0123456789abcdef")
        'net.onnx.0123456789ab.data'
    """
    return f"{model}.{sha256[:_DIGITS]}.data"


def switch(model: Path, place: Path, data: Path | None = None, name: str = "") -> None:
    """Moves a model, and before it the data that it refers to; removes data that only its predecessor referred to.

    Args:
        model: The finished model.
        place: Where it belongs.
        data: Its finished data file, where it has one.
        name: What that is to be called, by `data_name`.

    Raises:
        OSError: It cannot be done; the model that was there is as it was, and so are its data.
    """
    with locked(place.parent):  # else another process could remove the data between the two
        before = _data_of(place)
        beside = place.with_name(name) if data is not None else None
        added = beside is not None and not beside.exists()
        try:
            if data is not None and beside is not None:
                put(data, beside)
            put(model, place)
        except OSError:
            if added and beside is not None:
                beside.unlink(missing_ok=True)
            raise
        for old in before - {beside}:
            with suppress(OSError):
                old.unlink()


def _data_of(place: Path) -> set[Path]:
    """The files with names of `data_name` that the model at this place names."""
    own = re.compile(re.escape(place.name) + rf"\.[0-9a-f]{{{_DIGITS}}}\.data")
    with suppress(OSError):
        found = [path for path in place.parent.iterdir() if own.fullmatch(path.name)]
        return _named(place, found) if found else set()
    return set()


def _named(place: Path, files: list[Path]) -> set[Path]:
    try:
        with place.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return {path for path in files if content.find(path.name.encode()) >= 0}
    except ValueError:  # an empty file
        return set()
