"""Every real model: it loads, is checked, runs like its framework by each engine, and survives being saved."""

from __future__ import annotations

import numpy as np
import pytest

from anybit import check, compare, load, repairs, save
from anybit.analysis.grid_step import grid_step
from anybit.errors import Severity, UnsupportedError
from anybit.runtime.session import Session
from tests.integration.corpus import (
    CORPUS,
    NOT_EXECUTABLE,
    POOLED_TIES,
    WRONG_EXPORTS,
    corpus_files,
    departures,
    executable_files,
    needs_corpus,
    zoo_files,
)

ENGINES = ("reference", "onnxruntime", "auto")


def _step(path) -> float | None:
    step = grid_step(load(path).graph.outputs[0])
    return None if step is None or step.size != 1 else float(step)


@needs_corpus
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", executable_files(), ids=lambda c: c.name)
def test_runs_like_the_framework_at_batch_1_and_beyond(case, engine):
    session = Session(case.path, engine=engine, threads=1)
    at_once = next(iter(session.run(case.inputs).values())).reshape(case.outputs.shape)
    singly = [next(iter(session.run(x[None]).values())) for x in case.inputs]
    step = _step(case.path)
    apart = departures(np.concatenate(singly).reshape(case.outputs.shape), at_once, step)
    wrong = departures(at_once, case.outputs, step)
    assert apart == 0, "results depend on the batch size"
    if case.name in WRONG_EXPORTS:
        assert wrong > 0, f"the export was thought wrong: {WRONG_EXPORTS[case.name]}"
    elif case.name not in POOLED_TIES:
        assert wrong == 0


@needs_corpus
@pytest.mark.parametrize("name", POOLED_TIES)
def test_pooled_ties_agree_with_the_framework_in_one_of_the_engines(name):
    (case,) = (c for c in executable_files() if c.name == name)
    outputs = [next(iter(Session(case.path, engine=e).run(case.inputs).values())) for e in ENGINES]
    assert 0 in [departures(y, case.outputs, None) for y in outputs]


@needs_corpus
@pytest.mark.parametrize("case", corpus_files(), ids=lambda c: c.name)
def test_check_finds_errors_only_where_no_engine_runs_the_model(case):
    errors = [f for f in check(case.path) if f.severity is Severity.ERROR]
    assert bool(errors) == (case.name in NOT_EXECUTABLE), errors


@needs_corpus
def test_an_operator_that_nothing_runs_is_refused_by_name():
    for engine in ENGINES:
        with pytest.raises(UnsupportedError, match="QuantLSTMCell"):
            Session(CORPUS / NOT_EXECUTABLE[0], engine=engine)


@needs_corpus
@pytest.mark.parametrize(
    "path", [c.path for c in corpus_files()] + zoo_files(), ids=lambda p: f"{p.parent.name}/{p.name}"
)
def test_saved_models_load_without_repairs_and_mean_the_same(path, tmp_path):
    target = tmp_path / "saved.onnx"
    save(load(path), target)
    assert repairs(load(target)) == ()
    if path.parent.name != "quant_lstm_full":
        assert compare(path, target, samples=2, tolerance=0).equal


@needs_corpus
@pytest.mark.parametrize("engine", ENGINES[1:])
@pytest.mark.parametrize("path", zoo_files(), ids=lambda p: p.name)
def test_zoo_models_agree_between_engines(path, engine):
    result = compare(path, path, samples=32, engine_a="reference", engine_b=engine, layers=True)
    assert result.equal
    assert result.first_departure is None
