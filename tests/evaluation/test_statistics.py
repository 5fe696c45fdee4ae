"""statistics: counts that numpy finds as well, whatever the size of a batch."""

from __future__ import annotations

import itertools
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from anybit.analysis.statistics import Levels, Tally
from anybit.analysis.values.tensor_values import IntegerGrid
from anybit.errors import InputError, UsageError
from anybit.evaluation.statistics import stats
from anybit.runtime.session import Session
from tests.integration.corpus import corpus_files, needs_corpus
from tests.models import DOMAIN, mlp, model, parameters, quant, samples
from tests.strategies import examples


def _quantized(*, scale=0.5, bits=4.0, shape=(1, 6), **attributes):
    return model(
        [quant("x", "y", **attributes)], parameters("y", scale=scale, bits=bits), inputs={"x": shape}, outputs=["y"]
    )


def test_weights_are_counted_without_data():
    result = stats(mlp())
    (weights,) = result.weights
    wq = Session(mlp(), engine="reference", tensors=["wq"]).run(samples(1, 6))["wq"]
    integers = Counter(np.rint(wq / 0.25).astype(int).ravel().tolist())
    assert (result.samples, result.activations, result.left_out) == (0, (), ())
    assert weights.name == "wq"
    assert weights.levels == 15
    assert weights.used_levels == len(integers)
    assert weights.histogram.start == -7
    assert weights.histogram.width == 1
    assert weights.histogram.counts == tuple(integers[k] for k in range(-7, 8))
    assert weights.zeros == integers[0] / wq.size
    assert weights.saturated == (integers[-7] + integers[7]) / wq.size
    assert (weights.lowest, weights.highest) == (wq.min(), wq.max())


@pytest.mark.parametrize(
    ("op_type", "shape", "axis", "options"),
    [
        ("MatMul", (6, 3), 1, {}),
        ("Gemm", (6, 3), 1, {}),
        ("Gemm", (3, 6), 0, {"transB": 1}),
        ("Conv", (3, 6, 2, 2), 0, {}),
        ("ConvTranspose", (6, 3, 2, 2), 1, {}),
    ],
)
def test_dead_output_channels_are_found_on_the_axis_of_the_operator(op_type, shape, axis, options):
    weights = np.ones(shape, np.float32)
    np.moveaxis(weights, axis, 0)[1] = 0.1  # rounds to 0
    nodes = [quant("w", "wq"), helper.make_node(op_type, ["x", "wq"], ["y"], **options)]
    image = [1, 6, 4, 4] if len(shape) == 4 else [1, 6]
    proto = model(nodes, {"w": weights} | parameters("wq"), inputs={"x": image}, outputs=["y"])
    (found,) = stats(proto).weights
    assert (found.axis, found.channels, found.dead_channels) == (axis, 3, (1,))


def test_output_channels_are_found_behind_a_transposition():
    weights = np.ones((3, 6), np.float32)
    weights[2] = 0
    nodes = [
        quant("w", "wq"),
        helper.make_node("Transpose", ["wq"], ["wt"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "wt"], ["y"]),
    ]
    proto = model(nodes, {"w": weights} | parameters("wq"), inputs={"x": [1, 6]}, outputs=["y"])
    (found,) = stats(proto).weights
    assert (found.axis, found.dead_channels) == (0, (2,))


@pytest.mark.parametrize("batch", ["N", 1, 3])
def test_activations_are_what_numpy_counts(batch):
    x = samples(30, 6) * 3
    x[:, 2] = 0.6  # never leaves one value
    x[:, 4] = 50  # beyond the grid
    x[::2, 5], x[1::2, 5] = 50, -50
    result = stats(_quantized(shape=(batch, 6)), x, batch_size=7)
    (found,) = result.activations
    y = Session(_quantized(shape=("N", 6)), engine="reference").run(x)["y"]
    integers = np.rint(y / 0.5).astype(int)
    counts = Counter(integers.ravel().tolist())
    assert result.samples == 30
    assert found.elements == y.size
    assert found.histogram.counts == tuple(counts[k] for k in range(-8, 8))
    assert found.used_levels == len(counts)
    assert found.dead_channels == (2, 4)
    assert found.saturated_channels == (4, 5)
    assert found.saturated == np.isin(integers, (-8, 7)).mean()
    assert found.zeros == (y == 0).mean()
    assert (found.lowest, found.highest) == (y.min(), y.max())


def test_results_do_not_depend_on_the_batch():
    x = samples(41, 6) * 2
    proto = mlp(batch="N")
    first = stats(proto, x, batch_size=41)
    assert len(first.activations) == 2
    for size in (1, 2, 7, 64):
        assert stats(proto, {"x": x}, batch_size=size) == first


def test_both_engines_count_the_same():
    x = samples(20, 6)
    assert stats(mlp(), x, engine="reference") == stats(mlp(), x, engine="onnxruntime")


def test_tensors_that_do_not_begin_with_the_batch_are_counted_in_pieces():
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0]),
        quant("t", "q"),
        helper.make_node("Transpose", ["q"], ["y"], perm=[1, 0]),
    ]
    proto = model(nodes, parameters("q"), inputs={"x": [2, 6]}, outputs=["y"])
    x = samples(20, 6)
    seen: list[int] = []
    (found,) = stats(proto, x, batch_size=8, progress=seen.append).activations
    y = np.concatenate([Session(proto, engine="reference").run(x[k : k + 2])["y"] for k in range(0, 20, 2)])
    assert seen == [2] * 10
    assert (found.elements, found.zeros) == (y.size, (y == 0).mean())


def test_samples_that_mix_are_run_at_once():
    nodes = [
        helper.make_node("Softmax", ["x"], ["s"], axis=0),
        quant("s", "y"),
    ]
    proto = model(nodes, parameters("y", scale=0.01), inputs={"x": ["N", 6]}, outputs=["y"])
    x = samples(20, 6)
    seen: list[int] = []
    result = stats(proto, x, batch_size=8, progress=seen.append)
    y = Session(proto, engine="reference").run(x)["y"]
    assert seen == [20]
    assert result.activations[0].zeros == (y == 0).mean()


def test_wide_grids_have_bins():
    x = samples(50, 6) * 1000
    (found,) = stats(_quantized(bits=12.0), x, bins=10).activations
    y = Session(_quantized(bits=12.0), engine="reference").run(x)["y"]
    integers = np.rint(y / 0.5).astype(int)
    width = found.histogram.width
    edges = -2048 + width * np.arange(len(found.histogram.counts) + 1)
    assert len(found.histogram.counts) == 10
    assert edges[-1] > 2047
    assert found.histogram.counts == tuple(np.histogram(integers, edges)[0].tolist())
    assert (found.levels, found.used_levels) == (4096, len(np.unique(integers)))


def test_levels_of_the_widest_grids_are_not_counted():
    (found,) = stats(_quantized(bits=24.0), samples(5, 6)).activations
    assert found.used_levels is None
    assert sum(found.histogram.counts) == 30


def test_memory_does_not_grow_with_the_samples():
    def peak(count: int) -> int:
        x = samples(count, 64, 32)
        tracemalloc.start()
        stats(_quantized(shape=("N", 64, 32)), x, batch_size=4)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(4)
    one = 4 * 64 * 32 * 8
    assert peak(200) - peak(20) < 2 * one


def test_bipolar_tensors_have_two_levels():
    (found,) = stats(_quantized(bits=1.0), samples(9, 6)).activations
    assert (found.levels, found.used_levels, found.saturated, found.saturated_channels) == (2, 2, None, ())
    assert found.histogram.counts[1] == 0


def test_nans_are_counted_apart():
    x = samples(4, 6)
    x[0, 0] = np.nan
    (found,) = stats(_quantized(), x, engine="reference").activations
    assert (found.nans, found.elements) == (1, 23)


def test_what_cannot_be_counted_is_listed():
    nodes = [
        quant("x", "y"),
        helper.make_node("FloatQuant", ["x", "one", "e", "m", "b", "most"], ["f"], domain=DOMAIN),
    ]
    arrays = {"one": 1.0, "e": 4.0, "m": 3.0, "b": 7.0, "most": 448.0}
    initializers = {k: np.float32(v) for k, v in arrays.items()} | parameters("y")
    result = stats(model(nodes, initializers, inputs={"x": [1, 3]}, outputs=["y", "f"]), samples(2, 3))
    assert [t.name for t in result.activations] == ["y"]
    assert [t.name for t in result.left_out] == ["f"]
    assert "FLOAT<4,3,7>" in result.left_out[0].reason


def test_misuse_is_refused():
    with pytest.raises(UsageError):
        stats(mlp(), bins=0)
    with pytest.raises(UsageError):
        stats(mlp(), samples(1, 6), batch_size=0)
    with pytest.raises(InputError):
        stats(mlp(), {"z": samples(1, 6)})
    with pytest.raises(InputError, match="no samples"):
        stats(mlp(batch="N"), samples(0, 6))


@given(cuts=st.lists(st.integers(0, 40), max_size=6), scale=st.sampled_from((0.5, 0.3, 1.0)), seed=st.integers(0, 99))
@examples(40)
def test_a_tally_does_not_depend_on_the_pieces(cuts, scale, seed):
    rng = np.random.default_rng(seed)
    integers = rng.integers(-300, 300, (40, 3, 2))
    x = (integers * np.float64(scale)).astype(np.float32)
    grid = IntegerGrid(np.asarray(scale), np.zeros(()), np.asarray(-300.0), np.asarray(299.0))

    def tally() -> Tally:
        return Tally("x", grid, Levels(-300, 299, 600), bins=7)

    whole, parts = tally(), tally()
    whole.add(x)
    edges = sorted((0, 40, *cuts))
    for start, stop in itertools.pairwise(edges):
        parts.add(x[start:stop])
    assert parts.result(weights=False) == whole.result(weights=False)
    assert whole.result(weights=False).used_levels == len(np.unique(integers))


@needs_corpus
@pytest.mark.parametrize("file", ["tfc_2w2a/model.onnx", "tfc_2w2a/model_qcdq.onnx"])
def test_both_dialects_of_a_real_model_count_the_same(file):
    (case,) = [c for c in corpus_files() if c.name == file]
    result = stats(case.path, case.inputs, batch_size=3)
    weights = [t for t in result.weights if t.channels]
    assert [t.levels for t in weights] == [3] * 4
    assert [t.channels for t in weights] == [64, 64, 64, 10]
    assert sum(t.elements for t in weights) == 59008
    assert len(result.activations) == 4
    assert not result.left_out


@pytest.mark.parametrize(("low", "high"), [(128, 15), (7, 7), (2, 9)])
def test_a_lower_bound_above_the_upper_one_leaves_the_upper_one(low, high):
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("Clip", ["q", "low", "high"], ["c"]),
        helper.make_node("DequantizeLinear", ["c", "s", "z"], ["d"]),
        helper.make_node("Relu", ["d"], ["y"]),
    ]
    values = {"s": np.float32(0.5), "z": np.uint8(3), "low": np.uint8(low), "high": np.uint8(high)}
    x = np.random.default_rng(4).normal(size=(50, 6)).astype(np.float32) * 9
    (found,) = (t for t in stats(model(nodes, values, inputs={"x": ["N", 6]}, outputs=["y"]), x).activations)
    held = np.minimum(np.maximum(np.rint(x / 0.5) + 3, low), high)
    assert found.levels == max(high - low, 0) + 1
    assert found.used_levels == len(np.unique(held))
