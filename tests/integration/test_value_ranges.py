"""Every real model: no tensor leaves its bounds or its grid, and the analysis follows every node."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import anybit
from anybit.analysis.values.interpreter import analyse
from tests.integration.corpus import Case, executable_files, needs_corpus, zoo_files
from tests.properties.attempts import assert_bounded, assert_nested
from tests.strategies import Array

_SAMPLES = 2


def _assert_sound(path: Path, samples: Array) -> None:
    session = anybit.Session(path, engine="reference", tensors="all")
    (info,) = session.inputs
    size = info.shape[0]
    x = samples[: size if isinstance(size, int) else _SAMPLES].astype(info.dtype)
    values = analyse(path, input_ranges={info.name: (float(x.min()), float(x.max()))})
    constants = {str(v.name): v.const_value.numpy() for v in values.model.graph.initializers.values()}
    assert_bounded(values, constants | {info.name: x} | session.run({info.name: x}))
    for accumulator in values.accumulators.values():
        assert_nested(accumulator)
    assert not values.unfollowed


@needs_corpus
@pytest.mark.parametrize("case", executable_files(), ids=lambda c: c.name)
def test_tensors_of_real_models_stay_in_their_bounds(case: Case):
    _assert_sound(case.path, case.inputs)


@needs_corpus
@pytest.mark.parametrize("path", zoo_files(), ids=lambda p: p.name)
def test_tensors_of_zoo_models_stay_in_their_bounds(path: Path):
    (info,) = anybit.Session(path).inputs
    _assert_sound(path, np.random.default_rng(0).random((_SAMPLES, *info.shape[1:])))
