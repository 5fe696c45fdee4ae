"""Which tests of a folder execute which lines of the modules that they judge."""

from __future__ import annotations

import ast
import functools
import gc
import json
import sys
import threading
import time
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest


@dataclass(frozen=True)
class Execution:
    """One run of tests without any mutant.

    Attributes:
        seconds: Processor time of each test, traced, by its id.
        executed: Ids of the tests that execute a line, by module and number of the line.
        imported: Numbers of the lines that are executed before the first test, by module.
    """

    seconds: dict[str, float]
    executed: dict[str, dict[int, list[str]]]
    imported: dict[str, list[int]]

    def tests_of(self, module: Path, line: int, source: str) -> list[str]:
        """Tests that execute a line, the likeliest to fail first: those of the module itself, then the quickest.

        What is executed on import can matter to any test: those that do not execute the line come behind the others.
        """
        name = str(module)
        span = _statement(source, line)
        lines = self.executed.get(name, {})
        direct = {test for number in span for test in lines.get(number, ())}
        found = self._sorted(module, direct)
        if span & {*self.imported.get(name, ())}:
            found += self._sorted(module, self.seconds.keys() - direct)
        return found

    def _sorted(self, module: Path, tests: Iterable[str]) -> list[str]:
        own = (f"{module}::", f"test_{module.stem}.py::")
        return sorted(tests, key=lambda test: (not any(o in test for o in own), self.seconds[test], test))

    @classmethod
    def of_all(cls, parts: Iterable[Execution]) -> Execution:
        """Runs of other tests as one."""
        seconds: dict[str, float] = {}
        executed: dict[str, dict[int, list[str]]] = {}
        imported: dict[str, set[int]] = {}
        for part in parts:
            seconds |= part.seconds
            for module, by_line in part.executed.items():
                for line, tests in by_line.items():
                    executed.setdefault(module, {}).setdefault(line, []).extend(tests)
            for module, lines in part.imported.items():
                imported.setdefault(module, set()).update(lines)
        return cls(seconds, executed, {module: sorted(lines) for module, lines in imported.items()})

    def save(self, path: Path) -> None:
        """Written as JSON, with each id once."""
        numbers = {test: number for number, test in enumerate(self.seconds)}
        executed = {m: {n: [numbers[t] for t in ts] for n, ts in lines.items()} for m, lines in self.executed.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([self.seconds, executed, self.imported]))

    @classmethod
    def load(cls, path: Path) -> Execution:
        """What was saved."""
        seconds, executed, imported = json.loads(path.read_text())
        ids = [*seconds]
        by_line = {m: {int(n): [ids[t] for t in ts] for n, ts in lines.items()} for m, lines in executed.items()}
        return cls(seconds, by_line, imported)


@dataclass(eq=False)
class Tracer:
    """A plugin of pytest that traces the lines of some modules.

    Results that functions keep are dropped before each test, so that each test that needs one is seen to compute it;
    what a fixture executes counts for all tests of its file.

    Attributes:
        root: Folder that the paths of modules and the ids of tests are relative to.
        modules: The modules.
    """

    root: Path
    modules: frozenset[str]
    _seconds: dict[str, float] = field(default_factory=dict)
    _lines: dict[str, set[tuple[str, int]]] = field(default_factory=dict)
    _fixtures: dict[str, set[tuple[str, int]]] = field(default_factory=dict)
    _seen: set[tuple[str, int]] = field(default_factory=set)
    _imported: frozenset[tuple[str, int]] = frozenset()
    _names: dict[CodeType, str | None] = field(default_factory=dict)
    _caches: list[Any] = field(default_factory=list)

    def start(self) -> None:
        """Traces this thread and those that it starts."""
        threading.settrace(self._call)
        sys.settrace(self._call)

    def execution(self) -> Execution:
        """What was traced."""
        executed: dict[str, dict[int, list[str]]] = {}
        for test, lines in self._lines.items():
            for module, line in sorted(lines | self._fixtures.get(test.split("::")[0], set())):
                executed.setdefault(module, {}).setdefault(line, []).append(test)
        imported: dict[str, list[int]] = {}
        for module, line in sorted(self._imported):
            imported.setdefault(module, []).append(line)
        return Execution(self._seconds, executed, imported)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self) -> None:
        self._imported = frozenset(self._seen)
        objects = gc.get_objects()
        self._caches = [o for o in objects if isinstance(o, functools._lru_cache_wrapper) and _ours(o)]

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        for kept in self._caches:
            kept.cache_clear()
        start = time.process_time()
        result = yield
        self._seconds[item.nodeid] = time.process_time() - start
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, Any, Any]:
        self._seen = self._fixtures.setdefault(item.nodeid.split("::")[0], set())
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        self._seen = self._lines.setdefault(item.nodeid, set())
        return (yield)

    def _call(self, frame: FrameType, _event: str, _argument: object) -> Any:
        code = frame.f_code
        name = self._names.get(code, "")
        if name == "":
            name = self._names[code] = self._name(code)
        if name is None:
            return None
        seen = self._seen
        seen.add((name, frame.f_lineno))

        def line(frame: FrameType, _event: str, _argument: object) -> Any:
            seen.add((name, frame.f_lineno))
            return line

        return line

    def _name(self, code: CodeType) -> str | None:
        path = Path(code.co_filename)
        if not path.is_relative_to(self.root):
            return None
        name = str(path.relative_to(self.root))
        return name if name in self.modules else None


def _ours(kept: Any) -> bool:
    return getattr(kept, "__module__", "").startswith("anybit.")


def _statement(source: str, line: int) -> set[int]:
    """The lines of the innermost statement around a line, of a compound one those before its body."""
    found = {line}
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.stmt) or node.end_lineno is None:
            continue
        body = getattr(node, "body", None)
        last = body[0].lineno - 1 if body else node.end_lineno
        if node.lineno <= line <= max(last, node.lineno):
            found = {*range(node.lineno, max(last, node.lineno) + 1)}
    return found
