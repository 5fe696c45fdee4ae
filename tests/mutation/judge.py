"""Whether the tests of a folder tell a mutant from the module that it was made of."""

from __future__ import annotations

import contextlib
import enum
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mutation.mutants import Mutant

ROOT = Path(__file__).resolve().parents[2]
_PACKAGE = Path("src/anybit")
_HEAVY = ["numpy", "onnx", "onnx_ir", "onnxruntime", "onnxscript", "pytest"]
_EXAMPLES = "20"  # of a property, at the most: a test that needs more of them to see a slip is a weak one
_NO_TESTS = 5  # pytest's exit code


class Verdict(enum.Enum):
    """What became of a mutant."""

    CAUGHT = "caught"
    SURVIVED = "survived"
    UNDECIDED = "undecided"
    """No test had failed when the time was over: the tests are slow, or the mutant does not end."""


@dataclass(frozen=True)
class Judge:
    """Runs tests on mutants, in a copy of the project.

    Attributes:
        copy: Folder of the copy.
        seconds: Time that the tests of one mutant may take.
    """

    copy: Path
    seconds: float

    def judge(self, module: Path, mutant: Mutant) -> Verdict:
        """The verdict on a mutant of a module, which is named by its path in the project."""
        place = self.copy / module
        original = place.read_text()
        place.write_text(mutant.of(original))
        try:
            return self._tested(stages_of(module))
        finally:
            place.write_text(original)

    def _tested(self, tests: list[list[str]]) -> Verdict:
        process = multiprocessing.get_context("forkserver").Process(target=_test, args=(self.copy, tests))
        process.start()
        process.join(self.seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            return Verdict.UNDECIDED
        return Verdict.CAUGHT if process.exitcode else Verdict.SURVIVED


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
        yield Judge(Path(folder), seconds)


def stages_of(module: Path) -> list[list[str]]:
    """The tests of a module in stages, the likeliest to fail first: its own, those that name it, others of its folder.

    The folder of tests is that which mirrors the module's, or the nearest above that there is.
    """
    inside = module.relative_to(_PACKAGE)
    folder = next(f for p in inside.parents if (ROOT / (f := Path("tests") / p) / "__init__.py").exists())
    name = ".".join(inside.with_suffix("").parts)
    files = sorted((ROOT / folder).glob("test_*.py"))
    own = [p for p in files if p.stem == f"test_{module.stem}"]
    naming = [p for p in files if p not in own and f"anybit.{name} " in p.read_text()]
    others = [p for p in files if p not in own and p not in naming]
    stages = [[str(p.relative_to(ROOT)) for p in stage] for stage in (own, naming, others)]
    return [stage for stage in ([str(module), *stages[0]], *stages[1:]) if stage]


def _test(copy: Path, stages: list[list[str]]) -> None:
    os.chdir(copy)
    os.environ["ANYBIT_MOST_EXAMPLES"] = _EXAMPLES
    sys.path.insert(0, str(copy / "src"))
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", str(copy)]
    with (
        Path(os.devnull).open("w") as nothing,
        contextlib.redirect_stdout(nothing),
        contextlib.redirect_stderr(nothing),
    ):
        failed = any(pytest.main([*options, *tests]) not in {0, _NO_TESTS} for tests in stages)
    os._exit(failed)
