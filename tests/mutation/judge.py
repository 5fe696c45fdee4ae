"""Whether the tests of a folder tell a mutant from the module that it was made of."""

from __future__ import annotations

import contextlib
import enum
import hashlib
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from dataclasses import astuple, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from tests.mutation.collected import UNFIT, Loop, Task
from tests.mutation.execution import Execution, Recorder, spans_of
from tests.mutation.mutants import Mutant

ROOT = Path(__file__).resolve().parents[2]
_PACKAGE = Path("src/anybit")
_HEAVY = ["numpy", "onnx", "onnx_ir", "onnxruntime", "onnxscript", "pytest", "hypothesis"]
_EXAMPLES = "20"  # of a property, at the most: a test that needs more of them to see a slip is a weak one
_NO_TESTS = 5  # pytest's exit code
_PATIENCE = 10  # times the processor time, and the wall clock's, that something may take
_LEAST = 20.0  # seconds that a test may take in any case


class Verdict(enum.Enum):
    """What became of a mutant."""

    CAUGHT = "caught"
    ENDLESS = "endless"
    """A test took more than ten times its processor time, and 20 s: who runs the tests would notice."""
    SURVIVED = "survived"
    UNDECIDED = "undecided"
    """No test had failed when the time was over."""


_VERDICTS: dict[int | None, Verdict] = {
    0: Verdict.SURVIVED,
    -signal.SIGPROF: Verdict.ENDLESS,
    -signal.SIGXCPU: Verdict.UNDECIDED,
    None: Verdict.UNDECIDED,
}


@dataclass(frozen=True)
class Judge:
    """Runs tests on mutants, in a copy of the project.

    Attributes:
        copy: Folder of the copy.
        kept: Folder where what the tests execute is kept for the next run.
        seconds: Processor time that the tests of one mutant may take.
    """

    copy: Path
    kept: Path
    seconds: float
    _executions: dict[Path, Execution] = field(default_factory=dict)
    _collections: dict[Path, Collection] = field(default_factory=dict)

    def judge(self, module: Path, mutant: Mutant, *, patience: float = 1) -> Verdict:
        """The verdict on a mutant of a module, which is named by its path in the project, in so many times the time."""
        place = self.copy / module
        original = place.read_text()
        execution = self._execution(folder_of(module))
        tests = execution.tests_of(module, mutant.line, original)
        if not tests:
            return Verdict.SURVIVED
        code = self._in_a_fork(module, mutant, tests, self.seconds * patience)
        if code not in {UNFIT, None}:
            return _VERDICTS.get(code, Verdict.CAUGHT)
        place.write_text(mutant.of(original))
        try:
            code = _in_a_process(_test, self.copy, tests, execution.seconds, self.seconds * patience)
        finally:
            place.write_text(original)
            # Bytecode of this mutant may pass for that of the next one, of the same time and length.
            for compiled in place.parent.glob(f"__pycache__/{place.stem}.*"):
                compiled.unlink()
        return _VERDICTS.get(code, Verdict.CAUGHT)

    def close(self) -> None:
        """Ends the processes that have collected tests."""
        for collection in self._collections.values():
            collection.close()
        self._collections.clear()

    def _in_a_fork(self, module: Path, mutant: Mutant, tests: list[str], limit: float) -> int | None:
        """The exit code of a fork of the process that has collected the tests; `UNFIT` where it cannot tell."""
        folder = folder_of(module)
        source = (self.copy / module).read_text()
        execution, span = self._execution(folder), spans_of(source, mutant.line)[0]
        if not execution.only_by_tests(module, span):
            return UNFIT
        if folder not in self._collections:
            judged, tests_of = self._files(folder)
            self._collections[folder] = Collection(self.copy, [*judged, *tests_of], frozenset(judged))
        alone = [_alone(execution.seconds[test]) for test in tests]
        span, changed = frozenset(span), mutant.of(source)
        task = Task(str(module), changed, mutant.line, span, tests, alone, limit, limit * _PATIENCE)
        return self._collections[folder].code(task)

    def _files(self, folder: Path) -> tuple[list[str], list[str]]:
        """The modules that a folder of tests judges, and the files of its tests."""
        modules = [p.relative_to(self.copy) for p in sorted((self.copy / _PACKAGE).rglob("*.py"))]
        judged = [str(m) for m in modules if folder_of(m) == folder]
        return judged, [str(p.relative_to(self.copy)) for p in sorted((self.copy / folder).glob("test_*.py"))]

    def _execution(self, folder: Path) -> Execution:
        """What the tests of a folder execute, file by file; kept until the package or the file changes."""
        if folder not in self._executions:
            judged, tests = self._files(folder)
            parts = [self._recorded(folder, files, frozenset(judged)) for files in (judged, *([t] for t in tests))]
            self._executions[folder] = Execution.of_all(parts)
        return self._executions[folder]

    def _recorded(self, folder: Path, files: list[str], judged: frozenset[str]) -> Execution:
        kept = self.kept / f"{'-'.join(folder.parts)}-{self._fingerprint(folder, files)}.json"
        if not kept.exists() and _in_a_process(_record, self.copy, files, judged, kept) not in {0, _NO_TESTS}:
            raise RuntimeError(f"tests of {folder} fail without a mutant: {', '.join(files)}")
        return Execution.load(kept)

    def _fingerprint(self, folder: Path, files: list[str]) -> str:
        """A name for tests, the package, what tests import, and what records them."""
        shared = [p for f in (self.copy / "tests", self.copy / folder) for p in f.glob("*.py")]
        places = {*(self.copy / "src").rglob("*.py"), *(p for p in shared if not p.name.startswith("test_"))}
        places |= {self.copy / f for f in files}
        recorder = Path(__file__).with_name("execution.py").read_bytes()
        contents = recorder + b"".join(str(p.relative_to(self.copy)).encode() + p.read_bytes() for p in sorted(places))
        return hashlib.sha256(contents).hexdigest()[:16]


@contextlib.contextmanager
def judging(*, seconds: float) -> Generator[Judge]:
    """A judge with a copy of the files that git knows, which is removed in the end."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(_HEAVY)
    with tempfile.TemporaryDirectory(prefix="anybit-mutants-") as folder:
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "src", "tests", "pyproject.toml"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
        for name in filter(lambda n: (ROOT / n).is_file(), listed.stdout.splitlines()):
            target = Path(folder) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
        judge = Judge(Path(folder), ROOT / "build/mutation", seconds)
        try:
            yield judge
        finally:
            judge.close()


class Collection:
    """A process that has collected tests, and judges mutants in forks of itself."""

    def __init__(self, copy: Path, files: list[str], modules: frozenset[str]) -> None:
        """Starts the process, and waits until it is ready."""
        context = multiprocessing.get_context("forkserver")
        self._tasks, theirs = context.Pipe()
        self._process = context.Process(target=_quietly, args=(_collect, (copy, files, modules, theirs)))
        self._process.start()
        theirs.close()
        self._is_ready = self._answer()

    def code(self, task: Task) -> int | None:
        """The exit code of the tests of a task; `UNFIT` where this process cannot tell, None if they took too long."""
        if not self._is_ready:
            return UNFIT
        self._tasks.send(astuple(task))
        return self._answer()

    def close(self) -> None:
        """Ends the process."""
        self._tasks.close()
        self._process.kill()
        self._process.join()

    def _answer(self) -> Any:
        try:
            return self._tasks.recv()
        except EOFError:  # it could not collect the tests
            self._is_ready = False
            return UNFIT


def folder_of(module: Path) -> Path:
    """The folder of tests that mirrors the module's, or the nearest above that there is."""
    parents = module.relative_to(_PACKAGE).parents
    return next(f for p in parents if (ROOT / (f := Path("tests") / p) / "__init__.py").exists())


def _in_a_process(work: Callable[..., int], *arguments: Any) -> int | None:
    """The exit code of a process that does some work, and None if it waits longer than it may compute."""
    process = multiprocessing.get_context("forkserver").Process(target=_quietly, args=(work, arguments))
    process.start()
    limit = arguments[-1] * _PATIENCE if work is _test else None
    try:
        process.join(limit)
        return process.exitcode
    finally:  # after the limit, or an interrupt
        process.kill()
        process.join()


def _quietly(work: Callable[..., int], arguments: tuple[Any, ...]) -> None:
    """Work in the copy, whose package and tests are those that it imports."""
    copy = arguments[0]
    os.chdir(copy)
    os.environ["ANYBIT_MOST_EXAMPLES"] = _EXAMPLES
    sys.dont_write_bytecode = False  # each mutant would compile all others and all tests
    sys.path[:0] = [str(copy / "src"), str(copy)]
    for name in [n for n in sys.modules if n.split(".")[0] == "tests"]:
        del sys.modules[name]
    with (
        Path(os.devnull).open("w") as nothing,
        contextlib.redirect_stdout(nothing),
        contextlib.redirect_stderr(nothing),
    ):
        code = work(*arguments)
    os._exit(code)


def _run(copy: Path, files: list[str], plugins: list[object], *options: str) -> int:
    known = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"
    fixed = ["-q", "-W", known, "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", str(copy)]
    own = f"--basetemp={copy / f'temporary-{os.getpid()}'}"  # other runs clean up the folder that all of them share
    return pytest.main([*fixed, own, *options, *files], plugins=plugins)


def _record(copy: Path, files: list[str], modules: frozenset[str], kept: Path) -> int:
    recorder = Recorder(copy, modules)
    code = _run(copy, files, [recorder])
    if code in {0, _NO_TESTS}:
        recorder.execution().save(kept)
    return code


def _collect(copy: Path, files: list[str], modules: frozenset[str], tasks: Connection) -> int:
    recorder = Recorder(copy, modules)
    return _run(copy, files, [recorder, Loop(recorder, tasks)])


def _test(copy: Path, tests: list[str], seconds: dict[str, float], limit: float) -> int:
    """Whether one of the tests fails: the first few in a run of their own, as these mostly tell."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (round(limit), round(limit) + 10))
    for some in (tests[:20], tests[20:]):
        files = [*dict.fromkeys(test.split("::")[0] for test in some)]
        if files and _run(copy, files, [_Chosen(some, seconds)], "-x") not in {0, _NO_TESTS}:
            return 1
    return 0


def _alone(seconds: float) -> float:
    """Processor time that a test may take which takes so many seconds without a mutant."""
    return max(_LEAST, _PATIENCE * seconds)


@dataclass(frozen=True, eq=False)
class _Chosen:
    """A plugin of pytest that runs tests in an order, and ends a test that takes far too long."""

    tests: list[str]
    seconds: dict[str, float]

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        by_id = {item.nodeid: item for item in items}
        items[:] = [by_id[test] for test in self.tests if test in by_id]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        signal.setitimer(signal.ITIMER_PROF, _alone(self.seconds[item.nodeid]))
        try:
            return (yield)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
