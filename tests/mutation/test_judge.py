"""A mutant is judged by the tests that execute its line."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.mutation.collected import UNFIT
from tests.mutation.execution import Execution
from tests.mutation.judge import Judge, Verdict, folder_of
from tests.mutation.mutants import Mutant, mutants_of

MODULE = Path("src/anybit/ops/trunc.py")
SOURCE = """\
from functools import cache, cached_property

def step():
    return 2

STEP = step()

def double(x):
    if x < 0:
        return 0
    return (
        x
        * STEP
    )

@cache
def table():
    return [3]

def unseen():
    return 1

def reads(function):
    return function.__code__.co_consts

class Body:
    @cached_property
    def constants(self):
        @reads
        def body():
            return 7
        return body

def early():
    return (
        5
    )

BODY = Body()
by_name = {"seven": lambda: BODY.constants[-1]}
"""
TESTS = """\
import pytest
from anybit.ops.trunc import by_name, double, early, table

FIVE = early()

@pytest.fixture(scope="module")
def four():
    return double(2)

def test_negative():
    assert double(-1) == 0

def test_double(four):
    assert four == 4

def test_first():
    table()

def test_second():
    assert table() == [3]

def test_third():
    by_name["seven"]()

def test_early():
    assert early() == FIVE

def test_fourth():
    assert by_name["seven"]() == 7
"""


@pytest.fixture(scope="module")
def judge(tmp_path_factory) -> Generator[Judge]:
    root = tmp_path_factory.mktemp("project")
    for place, text in {MODULE: SOURCE, Path("tests/ops/test_other.py"): TESTS}.items():
        (root / place).parent.mkdir(parents=True)
        (root / place).write_text(text)
        (root / place.parent / "__init__.py").touch()
    (root / "src/anybit/__init__.py").touch()
    (root / "tests/__init__.py").touch()
    judge = Judge(root, root / "kept", 60)
    yield judge
    judge.close()


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        ("    if x < 0:", "    if x <= 0:", Verdict.SURVIVED),  # x is -1 and 2
        ("        * STEP", "        + STEP", Verdict.SURVIVED),  # 2 * 2 == 2 + 2
        ("    if x < 0:", "    if False:", Verdict.CAUGHT),
        ("        * STEP", "        - STEP", Verdict.CAUGHT),  # by what a fixture of the module made
        ("    return [3]", "    return None", Verdict.CAUGHT),  # by the test that got a kept result
        ("STEP = step()", "STEP = 3", Verdict.CAUGHT),
        ("    return 2", "    return 3", Verdict.CAUGHT),  # executed before any test
        ("    return 1", "    return 2", Verdict.SURVIVED),
        ("            return 7", "            return 8", Verdict.CAUGHT),  # read by a decorator, and kept by an object
        ('by_name = {"seven": lambda: BODY.constants[-1]}', 'by_name = {"seven": lambda: 8}', Verdict.CAUGHT),
    ],
)
def test_verdicts(judge, old, new, verdict):
    line = SOURCE.splitlines().index(old) + 1
    assert judge.judge(MODULE, Mutant(line, f"{old}\n", f"{new}\n")) is verdict
    assert (judge.copy / MODULE).read_text() == SOURCE


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("        * STEP", "        - STEP", 1),
        ("        * STEP", "        + STEP", 0),
        ("    return [3]", "    return None", 1),
        ("STEP = step()", "STEP = 3", UNFIT),
        ("    return 2", "    return 3", UNFIT),
        ("            return 7", "            return 8", UNFIT),  # read from the file
        ("        5", "        6", UNFIT),  # executed where tests are collected
    ],
)
def test_a_process_that_has_collected_the_tests_judges_what_only_tests_execute(judge, old, new, code):
    line = SOURCE.splitlines().index(old) + 1
    mutant = Mutant(line, f"{old}\n", f"{new}\n")
    tests = judge._execution(folder_of(MODULE)).tests_of(MODULE, line, SOURCE)
    assert judge._in_a_fork(MODULE, mutant, tests, 60) == code


def test_a_folder_that_fails_without_a_mutant_judges_nothing(tmp_path, judge):
    for part in ("src", "tests"):
        (tmp_path / part).symlink_to(judge.copy / part)
    failing = Path("tests/quantizers/test_failing.py")
    (tmp_path / failing).parent.mkdir(exist_ok=True)
    (tmp_path / failing).write_text("def test():\n    assert False\n")
    module = Path("src/anybit/quantizers/minifloat.py")
    (tmp_path / module).parent.mkdir()
    (tmp_path / module).write_text("X = 1\n")
    with pytest.raises(RuntimeError, match="tests of tests/quantizers fail without a mutant: "):
        Judge(tmp_path, tmp_path / "kept", 60).judge(module, mutants_of("X = 1\n")[0])


def test_tests_of_the_module_come_first_then_the_quickest():
    seconds = {"tests/ops/test_quant.py::a": 1.0, "tests/ops/test_quant.py::b": 0.5, "tests/ops/test_trunc.py::c": 9.0}
    execution = Execution(seconds, {str(MODULE): {9: [*seconds], 12: [*seconds][:1]}}, {str(MODULE): [12, 6]})
    a, b, c = seconds
    assert execution.tests_of(MODULE, 9, SOURCE) == [c, b, a]
    assert execution.tests_of(MODULE, 11, SOURCE) == [a, c, b]  # line 12 is of the same statement
    assert execution.tests_of(MODULE, 6, SOURCE) == [c, b, a]
    assert execution.tests_of(MODULE, 10, SOURCE) == []


def test_runs_of_two_files_are_one():
    first = Execution({"a": 1.0}, {"m": {3: ["a"], 4: ["a"]}}, {"m": [1, 2]})
    second = Execution({"b": 2.0}, {"m": {4: ["b"]}, "n": {5: ["b"]}}, {"m": [1], "n": [1]})
    executed = {"m": {3: ["a"], 4: ["a", "b"]}, "n": {5: ["b"]}}
    assert Execution.of_all([first, second]) == Execution({"a": 1.0, "b": 2.0}, executed, {"m": [1, 2], "n": [1]})


def test_what_was_executed_is_kept(tmp_path):
    execution = Execution({"a": 1.0, "b": 2.0}, {"m": {3: ["b"], 4: ["a", "b"]}}, {"m": [1]})
    execution.save(tmp_path / "kept" / "m.json")
    assert Execution.load(tmp_path / "kept" / "m.json") == execution


@pytest.mark.parametrize(
    ("module", "folder"),
    [("ops/trunc.py", "tests/ops"), ("ops/finn/debug_marker.py", "tests/ops/finn"), ("exact/runs.py", "tests/exact")],
)
def test_the_folder_of_tests_mirrors_the_module(module, folder):
    assert folder_of(Path("src/anybit") / module) == Path(folder)
