"""read_json: a value of a known type from a JSON file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

import msgspec

from anybit.errors import InputError
from anybit.io.files.regular import read_regular

T = TypeVar("T")


def read_json(path: str | os.PathLike[str], kind: type[T], *, what: str) -> T:
    """The value of a file.

    Args:
        path: The file.
        kind: Type of the value; names that it does not have are passed over, and numbers may be texts such as "inf".
        what: What a message calls it.

    Raises:
        InputError: The file cannot be read, or holds something else.
    """
    try:
        return msgspec.json.decode(read_regular(Path(path)), type=kind, strict=False)
    except OSError as error:
        raise InputError(f"cannot read the {what}", node=str(path), got=error.strerror or error) from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(f"no {what}", node=str(path), got=error) from error
