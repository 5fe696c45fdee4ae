"""The tables of docs/migration-from-qonnx.md name all that the installed package has, and passes that there are."""

from __future__ import annotations

import pytest

pytest.importorskip("qonnx", reason="the qonnx package is not installed: make test-qonnx")

import inspect
import pkgutil
import re
from importlib import import_module
from importlib.metadata import distribution

import qonnx.transformation
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.base import Transformation

from anybit.passes.catalog import catalog, parse_pass
from tests.models import PROJECT

PAGE = (PROJECT / "docs" / "migration-from-qonnx.md").read_text()


def table(heading: str) -> dict[str, str]:
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return {cells[0].strip(): cells[1].strip() for cells in rows[2:]}


def test_every_transformation_has_a_row():
    modules = pkgutil.iter_modules(qonnx.transformation.__path__, "qonnx.transformation.")
    found = {
        value.__name__
        for module in modules
        for value in vars(import_module(module.name)).values()
        if inspect.isclass(value) and issubclass(value, Transformation) and value.__module__ == module.name
    }
    assert set(table("Transformations")) == found
    assert len(found) >= 60


def test_every_command_line_has_a_row():
    scripts = {e.name for e in distribution("qonnx").entry_points if e.group == "console_scripts"}
    assert set(table("Command lines")) == scripts


def test_every_method_of_the_wrapper_has_a_row():
    assert set(table("ModelWrapper")) == {n for n in vars(ModelWrapper) if not n.startswith("_") and n != "T"}


def test_every_pass_that_is_named_exists():
    named = re.findall(r"`([a-z0-9]+(?:-[a-z0-9]+)+)(?=[`:])", "\n".join(table("Transformations").values()))
    assert set(named) <= set(catalog())
    assert len(named) > 30
    for text in re.findall(r"`([a-z0-9-]+:[a-z_]+=[^`]*)`", "\n".join(table("Transformations").values())):
        if "DIR" not in text and "..." not in text:
            parse_pass(text)
