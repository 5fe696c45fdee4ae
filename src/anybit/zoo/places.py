"""Places of files: the path of a file address, the folder of the cache."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit


def local_path(address: str) -> Path:
    """The path on this machine that a ``file:`` address names, with its escapes decoded."""
    from urllib.request import url2pathname  # loads what speaks HTTP

    return Path(url2pathname(urlsplit(address).path))


CACHE_VARIABLE = "ANYBIT_CACHE"
"""Variable that names the folder to use where none is given."""


def cache_folder(folder: Path | None = None) -> Path:
    """The folder of the cache: the given one, that of ANYBIT_CACHE, or the one that is usual on this system."""
    chosen = folder or os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen)
    import pooch

    return Path(pooch.os_cache("anybit"))
