"""Lines of a journal: JSON with a checksum, so that one that was not written to its end, or was changed, is told."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any, cast


def checked_line(content: Mapping[str, Any]) -> bytes:
    """The line of some content, with its checksum in front."""
    text = json.dumps(content).encode()
    return b"%08x %b\n" % (zlib.crc32(text), text)


def content_of_line(line: bytes) -> dict[str, Any] | None:
    """What `checked_line` was given; None where it did not make the line."""
    checksum, _, text = line.removesuffix(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text):
        return None
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", content) if isinstance(content, dict) else None
