"""Guests: contenders that need packages of their own, run in their own environment and taking turns like all others."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Self

from peers import MissingPeerError

_ENVIRONMENTS = Path(__file__).parents[1] / "build"
_HERE = Path(__file__).parent


def run_guest(environment: str, script: str, *arguments: str) -> None:
    """Runs a script beside this file in an environment of its own, to its end.

    Raises:
        MissingPeerError: There is no such environment, or the script fails.
    """
    done = subprocess.run(
        [_python(environment), _HERE / script, *arguments], check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise MissingPeerError(f"{script} {' '.join(arguments)}: {done.stderr.strip().splitlines()[-1]}")


def _python(environment: str) -> Path:
    python = _ENVIRONMENTS / environment / "bin" / "python"
    if not python.exists():
        raise MissingPeerError(f"no environment '{environment}': make bench sets it up")
    return python


class Guest:
    """A script that builds a contender, says "ready", and for each number of calls it reads prints seconds a call.

    It runs on the processor of this process, in one thread.

    Args:
        environment: Name of the folder under ``build`` that `make bench` has put its packages into.
        script: Name of the script, beside this file.
        arguments: What it is to build.

    Raises:
        MissingPeerError: There is no such environment, or the script does not get ready.
    """

    def __init__(self, environment: str, script: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [_python(environment), _HERE / script, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if self._answer() != "ready":
            self._process.kill()
            raise MissingPeerError(f"{script} {' '.join(arguments)}: {self._last_words()}")

    def turn(self, calls: int) -> float:
        """Seconds a call, of so many calls in a row."""
        stream = self._process.stdin
        if stream is None:
            raise MissingPeerError("the guest has no input")
        stream.write(f"{calls}\n")
        stream.flush()
        return float(self._answer())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> str:
        """The next line that begins as an answer does; compilers and frameworks print others."""
        for line in self._process.stdout or ():
            if line.startswith("answer "):
                return line.split()[1]
        return ""

    def _last_words(self) -> str:
        return (self._process.communicate()[1].strip() or "no message").splitlines()[-1]
