"""The examples of public names under docs/generate/examples run as doctests."""

from __future__ import annotations

import doctest
from importlib import import_module

import numpy as np
import pytest

import anybit
from anybit.ops import registry
from docs.generate.examples import examples_of
from docs.generate.python_api import MODULES, names_of
from tests.models import DIGITS

_WITH_EXAMPLES = [m for m in MODULES if examples_of(m)]
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.mark.parametrize("module", _WITH_EXAMPLES)
def test_the_examples_of_a_module_run(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_operators", {k: list(v) for k, v in registry._operators.items()})
    pixels = np.load(DIGITS / "test.npz")["pixels"]
    names = {"anybit": anybit, "np": np, "digits": DIGITS / "model.onnx", "pixels": pixels}
    runner, parser, said = doctest.DocTestRunner(optionflags=_FLAGS), doctest.DocTestParser(), []
    for name, text in examples_of(module).items():
        test = parser.get_doctest(text, names, f"{module}.{name}", None, 0)
        runner.run(test, out=said.append, clear_globs=False)
        names = test.globs
    assert runner.summarize(verbose=False).failed == 0, "".join(said)


@pytest.mark.parametrize("module", _WITH_EXAMPLES)
def test_an_example_is_one_of_a_public_name(module):
    assert set(examples_of(module)) <= set(names_of(module))


def test_every_function_of_the_front_door_has_an_example():
    written = set(examples_of("anybit")) | {"from_brevitas", "from_keras", "from_torch"}  # tutorials
    without = [n for n in anybit.__all__ if n not in written and ">>>" not in (getattr(anybit, n).__doc__ or "")]
    assert without == []


@pytest.mark.parametrize("module", ["annotations", "engines", "rounding", "surgery", "targets"])
def test_every_name_of_a_small_module_has_an_example(module):
    loaded = import_module(f"anybit.{module}")
    written = examples_of(f"anybit.{module}")
    names = names_of(f"anybit.{module}")
    assert [n for n in names if n not in written and ">>>" not in (getattr(loaded, n).__doc__ or "")] == []
