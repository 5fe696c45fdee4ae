"""Programs that a test needs besides Python; in CI none may be absent."""

from __future__ import annotations

import os
import shutil

import pytest


def need(*programs: str, why: str) -> None:
    """Skips the test where one of the programs is not installed; where ANYBIT_COMPILERS is "required" it fails."""
    absent = [p for p in programs if shutil.which(p) is None]
    if not absent:
        return
    message = f"{why}: {', '.join(absent)} is not installed"
    if os.environ.get("ANYBIT_COMPILERS") == "required":
        pytest.fail(message)
    pytest.skip(message)
