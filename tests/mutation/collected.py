"""Judges mutants of functions in forks of a process that has imported the package and collected the tests already."""

from __future__ import annotations

import gc
import os
import resource
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import CodeType, FunctionType

import pytest

from tests.mutation.execution import Recorder

UNFIT = 3
"""Exit code where only a process of its own can tell: the mutant would be met before the first test."""
_POLL = 0.02  # seconds


@dataclass(frozen=True)
class Task:
    """What is asked of the process; sent as a tuple, as the process has other modules of the same names.

    Attributes:
        module: The module, by its path in the project.
        source: Its mutant.
        line: Number of the line that is changed, which tests alone execute.
        span: Lines of the statement that is changed.
        tests: Ids of tests, in order.
        alone: Seconds of processor time that each of them may take.
        limit: Seconds of processor time that all of them may take.
        patience: Seconds of the clock that all of them may take.
    """

    module: str
    source: str
    line: int
    span: frozenset[int]
    tests: list[str]
    alone: list[float]
    limit: float
    patience: float


@dataclass(frozen=True, eq=False)
class Loop:
    """A plugin of pytest that runs no tests but those of tasks, each task in a fork, until the connection ends.

    A fork changes the code of the functions around the line, wherever they are held, and runs the tests: the line was
    not executed before, so that nothing that the mutant would have changed is left of it.
    """

    recorder: Recorder
    tasks: Connection

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Sends whether the tests could be collected, and then the exit code for each task; None after its patience."""
        items = {item.nodeid: item for item in session.items}
        self.tasks.send(not session.testsfailed)
        for task in self._received():
            self.tasks.send(self._code(session, items, task))
        return True

    def _received(self) -> Iterator[Task]:
        while True:
            try:
                yield Task(*self.tasks.recv())
            except EOFError:
                return

    def _code(self, session: pytest.Session, items: dict[str, pytest.Item], task: Task) -> int | None:
        if any((task.module, line) in self.recorder.collected for line in task.span):
            return UNFIT
        child = os.fork()
        if child == 0:
            code = UNFIT
            try:
                code = self._failed(session, [items[test] for test in task.tests], task)
            finally:
                os._exit(code)
        end = time.monotonic() + task.patience
        while time.monotonic() < end:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(_POLL)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return None

    def _failed(self, session: pytest.Session, items: list[pytest.Item], task: Task) -> int:
        """1 if one of the tests fails, 0 if none does."""
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (round(task.limit), round(task.limit) + 10))
        change(self.recorder.root / task.module, task.source, task.line)
        for item, following, alone in zip(items, [*items[1:], None], task.alone, strict=True):
            signal.setitimer(signal.ITIMER_PROF, alone)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.testsfailed:
                return 1
        return 0


def change(path: Path, source: str, line: int) -> None:
    """Gives the functions around a line, of a module that was imported, the code of the mutant.

    Raises:
        LookupError: They are not known by their names and first lines.
    """
    wanted: dict[tuple[str, int], CodeType] = {}
    for code in _codes(compile(source, str(path), "exec", dont_inherit=True)):
        last = max((number for *_, number in code.co_lines() if number is not None), default=0)
        if code.co_firstlineno <= line <= last and code.co_name != "<module>":
            place = code.co_qualname, code.co_firstlineno
            if place in wanted and "comp>" not in code.co_name:
                raise LookupError(place)
            wanted[place] = code
    changed = 0
    for function in gc.get_objects():
        if isinstance(function, FunctionType) and function.__code__.co_filename == str(path):
            code = wanted.get((function.__code__.co_qualname, function.__code__.co_firstlineno))
            if code is not None:
                function.__code__ = code
                changed += 1
    if not changed:
        raise LookupError(line)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)
