"""Random graphs try to break the analysis of values: no tensor may leave its bounds, its grid, its accumulator."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import reject
from hypothesis import strategies as st
from onnx import numpy_helper

import anybit
from anybit.analysis.values.interpreter import analyse
from anybit.errors import AnybitError
from tests.graphs import BATCH, RandomGraph, random_graphs
from tests.properties.attempts import assert_bounded, assert_sound, inputs_within
from tests.strategies import in_parts

# About 500 examples in CI and 20,000 in the nightly profile, in parts that run side by side.
_PARTS = 10
_RUNS = 4


@in_parts(_PARTS, random_graphs(), st.integers(0, 2**32 - 1))
def test_no_tensor_leaves_its_bounds_its_grid_or_its_accumulator(graph, seed):
    values = analyse(graph.model, input_ranges=graph.ranges)
    for tensors in _runs(graph, np.random.default_rng(seed), "reference", "all"):
        assert_sound(values, tensors)


@in_parts(2, random_graphs(), st.integers(0, 2**32 - 1), st.sampled_from(["all", ()]))
def test_onnxruntime_stays_in_the_bounds_too(graph, seed, tensors):
    values = analyse(graph.model, input_ranges=graph.ranges)
    try:
        runs = list(_runs(graph, np.random.default_rng(seed), "onnxruntime", tensors))
    except AnybitError:
        reject()  # it has no kernel for one of the nodes
    for run in runs:
        assert_bounded(replace(values, tensors={v: replace(t, grid=None) for v, t in values.tensors.items()}), run)


def _runs(graph: RandomGraph, rng: np.random.Generator, engine: str, tensors: str | tuple[str, ...]):
    """All known tensors of a few runs on inputs within the ranges."""
    session = anybit.Session(graph.model, engine=engine, tensors=tensors, threads=1)
    constants = {t.name: numpy_helper.to_array(t) for t in graph.model.graph.initializer}
    for _ in range(_RUNS):
        feeds = {
            info.name: inputs_within(rng, (BATCH, *info.shape[1:]), *graph.ranges[info.name], info.dtype.type)
            for info in session.inputs
        }
        yield constants | feeds | session.run(feeds)
