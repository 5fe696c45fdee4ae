"""The rows of C, compiled and run by the compiler of this machine, and of da4ml, where DA4ML_PYTHON names one."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import anybit
from anybit.targets.project import Project
from tests.hardware.row import Row, verdict
from tests.hardware.sources import Source

_LIMIT = 1800  # seconds


def c_rows(source: Source) -> Iterator[Row]:
    """One row: the project's own test program compares its vectors."""
    project = anybit.prepare_c(source.load(), logits=True)
    yield _row(source, project, "c", "c99", _compiled(project) if project.ready else "not run")


def da4ml_rows(source: Source) -> Iterator[Row]:
    """One row: the project's own script compares da4ml's emulation."""
    project = anybit.prepare_da4ml(source.load(), logits=True)
    python = os.environ.get("DA4ML_PYTHON")
    ran = "not run" if python is None or not project.ready else _in_project(project, [python, "build.py"])
    yield _row(source, project, "da4ml", "circuit", ran)


def _row(source: Source, project: Project, target: str, form: str, ran: str) -> Row:
    return Row(f"{source.group}/{source.name}", target, form, verdict=verdict(project.findings), ran=ran)


def _compiled(project: Project) -> str:
    compiler = shutil.which("cc")
    if compiler is None:
        return "not run"
    sources = sorted(name for name in project.files if name.endswith(".c"))
    return _in_project(project, [compiler, "-std=c99", "-O1", "-o", "test", *sources, "-lm"], ["./test"])


def _in_project(project: Project, *commands: Sequence[str]) -> str:
    """What came of commands in the project's folder: the last one says whether it is right."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "project"
        project.write(folder)
        for command in commands:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=_LIMIT)
            if done.returncode:
                return "WRONG" if command is commands[-1] else "FAILED"
    return "right"
