"""The fuzzer in small: its list of calls is complete, what it found stays mended, and mutants escape nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from hypothesis import settings

import anybit
import anybit.cli.app
from tests.fuzz.calls import CALLS, COMMANDS, FIRST, NO_MODEL, Mutant, is_expected
from tests.fuzz.mutate import mutated
from tests.fuzz.runner import fuzz
from tests.fuzz.seeds import small_seeds
from tests.fuzz.worker import Plan
from tests.public import public_functions

FOUND = sorted((Path(__file__).parent / "found").glob("*.onnx"))
MUTANTS = settings.default.max_examples * 40  # 2,000 in CI


def test_every_public_function_is_called():
    called = {name.split()[0] for name in CALLS}
    assert {*anybit.__all__, *public_functions()} - called == NO_MODEL


def test_every_command_is_called():
    commands = dict(typer.main.get_command(anybit.cli.app.app).commands)
    del commands["zoo"]  # it takes models by name
    prepare = commands.pop("prepare")
    assert {*COMMANDS} == {*commands, *(f"prepare {name}" for name in prepare.commands)}


@pytest.fixture(scope="module")
def seeds(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("seeds")
    for number, data in enumerate(small_seeds()):
        (folder / f"{number:05}.onnx").write_bytes(data)
    return folder


def test_a_mutant_is_decided_by_its_key(seeds):
    data = [path.read_bytes() for path in sorted(seeds.iterdir())]
    keys = [f"7:{k}" for k in range(200)]
    assert [mutated(data, key) for key in keys] == [mutated(data, key) for key in keys]
    assert len({mutated(data, key) for key in keys}) > 190


def test_mutants_escape_nowhere(seeds):
    result = fuzz(Plan(seeds, 1, others=0, rotate=True), count=MUTANTS, workers=2)
    assert result.mutants == MUTANTS
    assert [f"{e.index} {e.call}: {e.what} {e.place}\n{e.text}" for e in result.escapes] == []


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_what_was_found_stays_mended(path, tmp_path):
    """The name of a file begins with the call that raised; load, check and clean are tried as well."""
    data, name = path.read_bytes(), path.stem.partition("--")[0].replace("+", " ")
    for call in {*FIRST, name}:
        for form in range(4):
            try:
                CALLS[call](Mutant(data, form, tmp_path))
            except anybit.AnybitError as error:
                assert is_expected(error), call
