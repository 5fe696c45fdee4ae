"""Guests: contenders that need packages of their own, run in their own environment and taking turns like all others."""

from __future__ import annotations

import importlib.metadata
import os
import signal
import subprocess
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

from peers import MissingPeerError

_ENVIRONMENTS = Path(__file__).parents[1] / "build"
_HERE = Path(__file__).parent
_PATIENCE = 300  # seconds until a guest has to be ready; hls4ml compiles a small net in a tenth of that


def run_guest(environment: str, script: str, *arguments: str) -> None:
    """Runs a script beside this file in an environment of its own, to its end.

    Raises:
        MissingPeerError: There is no such environment, or the script fails.
    """
    done = subprocess.run(
        [_python(environment), _HERE / script, *arguments], check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise MissingPeerError(f"{script} {' '.join(arguments)}: {_last_line(done.stderr)}")


def version(environment: str, package: str) -> str | None:
    """Version of a package in an environment of its own; None where there is none."""
    folders = [str(path) for path in (_ENVIRONMENTS / environment).glob("lib/python*/site-packages")]
    found = importlib.metadata.Distribution.discover(name=package, path=folders)
    return next((distribution.version for distribution in found), None)


def _python(environment: str) -> Path:
    python = _ENVIRONMENTS / environment / "bin" / "python"
    if not python.exists():
        raise MissingPeerError(f"no environment '{environment}': make bench sets it up")
    return python


def _last_line(text: str) -> str:
    return (text.strip() or "no message").splitlines()[-1]


class Guest:
    """A script that builds a contender, says "ready", and for each number of calls it reads prints seconds a call.

    It runs on the processor of this process, in one thread.

    Args:
        environment: Name of the folder under ``build`` that `make bench` has put its packages into.
        script: Name of the script, beside this file.
        arguments: What it is to build.
        patience: Seconds until it has to be ready.

    Raises:
        MissingPeerError: There is no such environment, or the script does not get ready.
    """

    def __init__(self, environment: str, script: str, *arguments: str, patience: float = _PATIENCE) -> None:
        self._name = f"{script} {' '.join(arguments)}"
        command = [_python(environment), _HERE / script, *arguments]
        # A file, since nobody reads while it runs: frameworks warn and compilers report until a pipe is full.
        self._messages = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the guest
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._messages,
            text=True,
            start_new_session=True,  # so that a compiler that it started ends with it
        )
        self._late = False
        timer = threading.Timer(patience, self._give_up)
        timer.start()
        ready = self._answer() == "ready"
        timer.cancel()
        if not ready:
            raise self._failure(f"not ready after {patience:g} seconds" if self._late else None)

    def turn(self, calls: int) -> float:
        """Seconds a call, of so many calls in a row.

        Raises:
            MissingPeerError: The guest has ended.
        """
        stream = self._process.stdin
        if stream is None:
            raise MissingPeerError("the guest has no input")
        with suppress(BrokenPipeError):  # then there is no answer either
            stream.write(f"{calls}\n")
            stream.flush()
        answer = self._answer()
        if not answer:
            raise self._failure()
        return float(answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._messages.closed:
            return  # it failed, and has ended: its number may be another's by now
        self._end()
        self._messages.close()

    def _answer(self) -> str:
        """The next line that begins as an answer does; compilers and frameworks print others."""
        for line in self._process.stdout or ():
            if line.startswith("answer "):
                return line.split()[1]
        return ""

    def _give_up(self) -> None:
        self._late = True
        self._kill()

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _end(self) -> None:
        self._kill()
        with suppress(BrokenPipeError):  # of a request that it never read
            self._process.communicate()

    def _failure(self, reason: str | None = None) -> MissingPeerError:
        """Ends the guest; what it said last is the reason, unless one is given."""
        self._end()
        self._messages.seek(0)
        said = self._messages.read()
        self._messages.close()
        return MissingPeerError(f"{self._name}: {reason or _last_line(said)}")
