"""Which tests of a folder execute which lines of the modules that they judge."""

from __future__ import annotations

import ast
import functools
import gc
import json
import sys
import time
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, cast

import pytest

_MARKS = "__marks__"
"""Name of the marks in the modules that have some."""


@dataclass(frozen=True)
class Execution:
    """One run of tests without any mutant.

    Attributes:
        seconds: Processor time of each test, by its id.
        executed: Ids of the tests that execute a line, by module and number of the line.
        imported: Numbers of the lines that are executed before the first test, or where the module is imported later,
            by module.
    """

    seconds: dict[str, float]
    executed: dict[str, dict[int, list[str]]]
    imported: dict[str, list[int]]

    def tests_of(self, module: Path, line: int, source: str) -> list[str]:
        """Tests that execute a line, the likeliest to fail first: those of the module itself, then the quickest.

        What is executed on import can matter to any test: those that do not execute the line come behind the others.
        """
        name = str(module)
        spans = spans_of(source, line)
        lines = self.executed.get(name, {})
        executing = ({test for number in span for test in lines.get(number, ())} for span in spans)
        direct = next(filter(None, executing), set[str]())
        found = self._sorted(module, direct)
        if spans[0] & {*self.imported.get(name, ())}:
            found += self._sorted(module, self.seconds.keys() - direct)
        return found

    def only_by_tests(self, module: Path, span: set[int]) -> bool:
        """Whether lines are executed by tests, and not where the module is imported."""
        lines = self.executed.get(str(module), {})
        return not span & {*self.imported.get(str(module), ())} and any(number in lines for number in span)

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
class Recorder:
    """A plugin of pytest that records which statements of some modules each test executes.

    The modules are compiled with a mark before each statement of a function, which costs next to nothing; a trace
    function would be called for every function of every library. Results that functions and objects keep are dropped
    before each test, so that each test that needs one is seen to compute it; what a fixture executes counts for all
    tests of its file.

    Attributes:
        root: Folder that the paths of modules and the ids of tests are relative to.
        modules: The modules.
        collected: Modules and lines that were executed before the first test.
    """

    root: Path
    modules: frozenset[str]
    collected: frozenset[tuple[str, int]] = frozenset()
    marks: bytearray = field(default_factory=bytearray)
    _places: list[tuple[str, int]] = field(default_factory=list)
    _imported: dict[str, set[int]] = field(default_factory=dict)
    _seconds: dict[str, float] = field(default_factory=dict)
    _lines: dict[str, set[tuple[str, int]]] = field(default_factory=dict)
    _fixtures: dict[str, set[tuple[str, int]]] = field(default_factory=dict)
    _functions: list[Any] = field(default_factory=list)
    _objects: list[tuple[Any, frozenset[str]]] = field(default_factory=list)

    def execution(self) -> Execution:
        """What was recorded."""
        executed: dict[str, dict[int, list[str]]] = {}
        for test, lines in self._lines.items():
            for module, line in sorted(lines | self._fixtures[_file(test)]):
                executed.setdefault(module, {}).setdefault(line, []).append(test)
        imported = {module: sorted(lines) for module, lines in self._imported.items()}
        return Execution(self._seconds, executed, imported)

    def find_spec(self, name: str, path: Sequence[str] | None, _target: object = None) -> ModuleSpec | None:
        """The module with marks, if it is one of those that are recorded."""
        spec = PathFinder.find_spec(name, path) if name.startswith("anybit.") else None
        if spec is None or spec.origin is None or not Path(spec.origin).is_relative_to(self.root):
            return None
        module = str(Path(spec.origin).relative_to(self.root))
        if module not in self.modules:
            return None
        spec.loader = _Loader(name, spec.origin, self)
        return spec

    def marked(self, path: str, source: bytes) -> ast.Module:
        """A module with its marks."""
        module = str(Path(path).relative_to(self.root))
        tree = ast.parse(source)
        self._imported[module] = _outside_functions(tree)
        marks = _Marks(len(self._places))
        marks.visit(tree)
        self._places += [(module, line) for line in marks.lines]
        self.marks.extend(bytes(len(marks.lines)))
        return ast.fix_missing_locations(tree)

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self) -> None:
        """Comes before pytest's own finder, which would compile the modules whose doctests are run."""
        sys.meta_path.insert(0, cast("Any", self))

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self) -> None:
        self.collected = frozenset(self._since())
        for module, line in self.collected:
            self._imported[module].add(line)
        for kept in gc.get_objects():
            if isinstance(kept, functools._lru_cache_wrapper):
                self._functions += [kept] if _ours(kept) else []
            elif _ours(type(kept)) and hasattr(kept, "__dict__") and (names := _cached_properties(type(kept))):
                self._objects.append((kept, names))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        for kept in self._functions:
            kept.cache_clear()
        for kept, names in self._objects:
            for name in names & kept.__dict__.keys():
                del kept.__dict__[name]
        fixtures = self._fixtures.setdefault(_file(item.nodeid), set())
        start = time.process_time()
        result = yield
        self._seconds[item.nodeid] = time.process_time() - start
        fixtures |= self._since()
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        self._fixtures[_file(item.nodeid)] |= self._since()
        result = yield
        self._lines[item.nodeid] = self._since()
        return result

    def _since(self) -> set[tuple[str, int]]:
        """The lines that were executed since the last call."""
        found: set[tuple[str, int]] = set()
        place = self.marks.find(1)
        while place >= 0:
            found.add(self._places[place])
            place = self.marks.find(1, place + 1)
        self.marks[:] = bytes(len(self.marks))
        return found


class _Loader(SourceFileLoader):
    """Loads a module with its marks, and keeps no bytecode of it."""

    def __init__(self, name: str, path: str, recorder: Recorder) -> None:
        super().__init__(name, path)
        self._recorder = recorder

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return compile(self._recorder.marked(path, self.get_data(path)), path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__[_MARKS] = self._recorder.marks
        super().exec_module(module)


class _Marks(ast.NodeTransformer):
    """Puts a mark at the begin of each function, before each statement of it, and into each lambda."""

    def __init__(self, first: int) -> None:
        self.lines: list[int] = []
        self._first = first
        self._functions = 0

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for name in ("body", "orelse", "finalbody"):
            statements = getattr(node, name, None)
            if self._functions and isinstance(statements, list):
                setattr(node, name, [s for old in statements for s in (*self._before(old), old)])
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self._functions += 1
        self.generic_visit(node)
        self._functions -= 1
        node.body.insert(ast.get_docstring(node) is not None, ast.Expr(self._call(node.lineno)))
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.Lambda:
        self.generic_visit(node)
        node.body = ast.BoolOp(ast.Or(), [self._call(node.lineno), node.body])
        return node

    def _before(self, statement: ast.stmt) -> list[ast.stmt]:
        """The mark of a statement; a docstring has to stay the first of its function."""
        is_text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        return [] if is_text else [ast.Expr(self._call(statement.lineno))]

    def _call(self, line: int) -> ast.expr:
        """Sets the mark of a line, and is None."""
        self.lines.append(line)
        return ast.parse(f"{_MARKS}.__setitem__({self._first + len(self.lines) - 1}, 1)", mode="eval").body


def _file(test: str) -> str:
    return test.split("::", maxsplit=1)[0]


def _ours(kept: Any) -> bool:
    return str(getattr(kept, "__module__", "")).startswith("anybit.")


@functools.cache
def _cached_properties(kind: type) -> frozenset[str]:
    found = (n for c in kind.__mro__ for n, v in vars(c).items() if isinstance(v, functools.cached_property))
    return frozenset(found)


def _outside_functions(node: ast.AST) -> set[int]:
    """First lines of the statements that are executed where a module is imported."""
    found: set[int] = set()
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            found.add(child.lineno)
        if not isinstance(child, ast.FunctionDef):
            found |= _outside_functions(child)
    return found


def spans_of(source: str, line: int) -> list[set[int]]:
    """The lines of the innermost statement around a line, of a compound one those before its body.

    Behind it stand the decorated functions around the line, the innermost first: a body that onnxscript reads is never
    executed, and counts as such where it is decorated.
    """
    found, decorated = {line}, []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.stmt) or node.end_lineno is None:
            continue
        body = getattr(node, "body", None)
        last = max(body[0].lineno - 1 if body else node.end_lineno, node.lineno)
        if node.lineno <= line <= last:
            found = {*range(node.lineno, last + 1)}
        if isinstance(node, ast.FunctionDef) and node.decorator_list and node.lineno < line <= node.end_lineno:
            decorated.insert(0, {*range(node.lineno, last + 1)})
    return [found, *decorated]
