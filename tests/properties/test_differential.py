"""Random graphs: the reference against ONNX Runtime at every level, and against every conversion.

An element may differ only where float rounding explains it, see `rounding`. About 500 graphs in CI, 20,000 by
`make nightly`.
"""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from hypothesis import note
from hypothesis import strategies as st

import anybit
from anybit.errors import AnybitError, InputError, UnsupportedError
from anybit.formats.convert import WRITERS, translate
from tests.graphs import BATCH, WITH_SCOPES, RandomGraph, random_graphs
from tests.properties.attempts import inputs_within
from tests.properties.rounding import departing, undecided
from tests.strategies import Array, in_parts

_PARTS = 10
_LEVELS = onnxruntime.GraphOptimizationLevel
_STOCK_LEVELS = (_LEVELS.ORT_DISABLE_ALL, _LEVELS.ORT_ENABLE_BASIC, _LEVELS.ORT_ENABLE_EXTENDED, _LEVELS.ORT_ENABLE_ALL)


# ONNX Runtime's Scan wants shapes in its body, which nothing knows behind a Loop.
_UNKNOWN_SHAPE = "Subgraph must have the shape set for all outputs"
# It refuses pools with `ceil_mode` whose windows it counts as onnx's inference did before version 22.
_MISCOUNTED = "ShapeInferenceError"
_RELU_CLIP = "relu_clip_fusion.cc"  # it puts Relu into Clip, and fails for other types than float32 and float16
_Fail = onnxruntime.capi.onnxruntime_pybind11_state.Fail


class Trial:
    """A graph, inputs that lie on corners, ties and anywhere, and what the reference makes of them."""

    def __init__(self, graph: RandomGraph, seed: int) -> None:
        self.graph, self.seed = graph, seed
        self.session = anybit.Session(graph.model, engine="reference")
        rng = np.random.default_rng(seed)
        self.feeds = {
            i.name: inputs_within(rng, (BATCH, *i.shape[1:]), *graph.ranges[i.name], i.dtype.type)
            for i in self.session.inputs
        }
        self.outputs = self.session.run(self.feeds)
        self._undecided: dict[str, Array] | None = None

    def compare(self, found: dict[str, Array], what: str) -> None:
        """Fails where results differ by more than rounding explains."""
        assert found.keys() == self.outputs.keys(), what
        for name, array in self.outputs.items():
            other = found[name]
            assert (other.shape, other.dtype) == (array.shape, array.dtype), (what, name)
            wrong = departing(array, other)
            if not wrong.any():
                continue
            if self._undecided is None:
                self._undecided = undecided(self.graph.model, self.feeds, self.outputs, seed=self.seed)
            unexplained = wrong & ~self._undecided[name]
            if unexplained.any():
                note(f"{what}, {name}: {array[unexplained]} and {other[unexplained]}")
            assert not unexplained.any(), (what, name)


@pytest.mark.filterwarnings("ignore::anybit.engines.engine.FallbackWarning")
@in_parts(_PARTS, random_graphs(WITH_SCOPES), st.integers(0, 2**32 - 1))
def test_reference_against_onnxruntime_and_every_conversion(graph, seed):
    trial = Trial(graph, seed)
    for engine in ("onnxruntime", "auto"):
        _engine(trial, engine)
    _stock(trial)
    for to in WRITERS:
        made = translate(graph.model, to)
        session = anybit.Session(made.model, engine="reference")
        trial.compare(session.run(trial.feeds), to.value)
    _no_samples(trial)


def _engine(trial: Trial, engine: str) -> None:
    try:
        session = anybit.Session(trial.graph.model, engine=engine, threads=1)
    except UnsupportedError as error:  # it has no kernel for float64, say
        assert "NOT_IMPLEMENTED" in str(error) or _is_miscounted(trial, error)
        return
    try:
        found = session.run(trial.feeds)
    except InputError as error:
        assert _UNKNOWN_SHAPE in str(error)
        return
    trial.compare(found, engine)


def _stock(trial: Trial) -> None:
    """Stock ONNX Runtime on the model with the bodies of its operators."""
    try:
        made = translate(trial.graph.model, "qonnx", embed_functions=True)
    except UnsupportedError as error:  # one operator on two float types, say
        note(str(error))
        return
    data = anybit.to_proto(made.model).SerializeToString()
    for level in _STOCK_LEVELS:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level, options.log_severity_level = level, 4
        options.intra_op_num_threads = 1
        try:
            session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented:  # it has no kernel for float64, say
            return
        except _Fail as error:
            assert _RELU_CLIP in str(error) or _is_miscounted(trial, error)
            continue
        names = [o.name for o in session.get_outputs()]
        try:
            found = dict(zip(names, session.run(names, trial.feeds), strict=True))
        except _Fail as error:
            assert _UNKNOWN_SHAPE in str(error)
            return
        trial.compare(found, f"stock, {level}")


def _is_miscounted(trial: Trial, error: Exception) -> bool:
    pools = (n for n in trial.graph.model.graph.node if any(a.name == "ceil_mode" and a.i for a in n.attribute))
    return _MISCOUNTED in str(error) and any(pools)


def _no_samples(trial: Trial) -> None:
    """A batch of none has results of none, or an error of ours."""
    if any(i.shape[0] != "N" for i in trial.session.inputs):
        return
    feeds = {name: array[:0] for name, array in trial.feeds.items()}
    results = []
    for engine in ("reference", "onnxruntime"):
        try:
            results.append(anybit.Session(trial.graph.model, engine=engine, threads=1).run(feeds))
        except AnybitError as error:
            note(str(error))
    if len(results) == 2:
        assert {n: a.shape for n, a in results[0].items()} == {n: a.shape for n, a in results[1].items()}
