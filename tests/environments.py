"""Environments of their own for the tools that models are handed to: made once, kept in the user's cache, shared."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from tests.models import PROJECT

_CONSTRAINTS = PROJECT / "constraints.txt"
_UNREACHABLE = (
    "Temporary failure in name resolution",
    "Failed to establish a new connection",
    "Network is unreachable",
    "No route to host",
    "ConnectTimeoutError",
    "ReadTimeoutError",
)
_TIMEOUT = 900


@cache
def environment(name: str, requirements: Sequence[str]) -> Path:
    """The Python of an environment that has these packages, in the versions of the project's constraints.

    It is made when a test first asks for it, and again when a pin changes; processes that run tests side by side
    wait for the one that makes it. Where no package can be fetched because there is no network, the test skips.

    Args:
        name: Of the environment, such as ``qonnx``.
        requirements: A tuple of packages with their versions, such as ``("qonnx==1.0.0",)``.
    """
    pins = "\n".join((sys.version, *requirements, _CONSTRAINTS.read_text()))
    key = hashlib.sha256(pins.encode()).hexdigest()[:16]
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "anybit-tests"
    base.mkdir(parents=True, exist_ok=True)
    folder = base / f"{name}-{key}"
    with (base / f"{name}-{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            _make(folder, requirements)
            (folder / "complete").touch()
    return folder / "bin" / "python"


def _make(folder: Path, requirements: Sequence[str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=_TIMEOUT)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    command = [*pip, "--constraint", str(_CONSTRAINTS), *requirements]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT)
    if done.returncode == 0:
        return
    if any(text in done.stderr for text in _UNREACHABLE):
        pytest.skip(f"no network: {', '.join(requirements)} cannot be fetched")
    pytest.fail(f"{' '.join(requirements)} cannot be installed:\n{done.stderr}")


def run_script(python: Path, script: Path, *arguments: str, timeout: float = _TIMEOUT) -> str:
    """What a script prints in an environment; the test fails with its errors if it does."""
    done = subprocess.run(
        [str(python), str(script), *arguments], capture_output=True, text=True, check=False, timeout=timeout
    )
    if done.returncode:
        pytest.fail(f"{script.name} failed:\n{done.stderr[-4000:]}")
    return done.stdout
