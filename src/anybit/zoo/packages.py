"""needed: what to say where a package of the extra `zoo` is not installed."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from anybit.errors import UnsupportedError


@contextmanager
def needed(extra: str = "zoo") -> Generator[None]:
    """Turns the failure of an import into a message that names the extra."""
    try:
        yield
    except ImportError as error:
        raise UnsupportedError(
            "a package is missing", got=str(error.name), hint=f"pip install 'anybit[{extra}]'"
        ) from error
