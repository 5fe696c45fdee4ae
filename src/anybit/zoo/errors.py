"""Errors of the zoo."""

from __future__ import annotations

from anybit.errors import AnybitError


class CatalogueError(AnybitError):
    """A catalogue that cannot be read, is malformed, or cannot be written."""


class DownloadError(AnybitError):
    """A file that cannot be had, or is not what its catalogue says."""
