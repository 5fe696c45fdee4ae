"""What a test needs besides Python; in CI nothing of it may be absent."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest


def need(*programs: str, why: str, files: Sequence[Path] = ()) -> None:
    """Skips the test where a program or a file is not installed; where ANYBIT_COMPILERS is "required" it fails."""
    absent = [p for p in programs if shutil.which(p) is None] + [str(f) for f in files if not f.exists()]
    if not absent:
        return
    message = f"{why}: {', '.join(absent)} is not installed"
    if os.environ.get("ANYBIT_COMPILERS") == "required":
        pytest.fail(message)
    pytest.skip(message)
