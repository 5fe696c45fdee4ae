"""The command line in this process: a process of its own would load everything for each call."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import BinaryIO

import pytest

from anybit.cli.app import main


@dataclass(frozen=True, slots=True)
class Ended:
    """What a call printed, and its exit code."""

    returncode: int
    stdout: str
    stderr: str


def anybit(*arguments: object) -> Ended:
    """What ``anybit ARGUMENTS`` prints to the file descriptors of stdout and stderr, those of libraries included."""
    with TemporaryFile() as out, TemporaryFile() as err:
        with ExitStack() as stack:
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            patch.setattr(sys, "argv", ["anybit", *map(str, arguments)])
            patch.setattr(sys, "excepthook", sys.excepthook)
            patch.setattr(logging, "lastResort", logging.lastResort)
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("default")
            for name, number, file in (("stdout", 1, out), ("stderr", 2, err)):
                patch.setattr(sys, name, stack.enter_context(_written_to(file, number)))
            code = _exit_code()
        return Ended(code, _text(out), _text(err))


def _exit_code() -> int:
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    except Exception as error:  # noqa: BLE001  (as the interpreter ends)
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    return 0


@contextmanager
def _written_to(file: BinaryIO, number: int) -> Iterator[object]:
    before = os.dup(number)
    os.dup2(file.fileno(), number)
    try:
        with os.fdopen(number, "w", encoding="utf-8", closefd=False) as stream:
            yield stream
    finally:
        os.dup2(before, number)
        os.close(before)


def _text(file: BinaryIO) -> str:
    file.seek(0)
    return file.read().decode()
