"""ranges: the figures contain what the reference engine computes, and count what is stuck."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest
from onnx import helper

from anybit.analysis.ranges import ranges
from anybit.analysis.values.accumulator import Bound
from anybit.errors import UsageError
from anybit.runtime.session import Session
from tests.integration.corpus import corpus_files, needs_corpus
from tests.models import DOMAIN, mlp, model, parameters, quant, samples


def _tensors(source, **options) -> dict:
    return {t.name: t for t in ranges(source, **options).tensors}


def _product(weights: np.ndarray, *, bits: float = 2.0, signed: int = 0) -> onnx.ModelProto:
    """x -> Quant (scale 1) -> MatMul(Quant(weights), scale 1) -> y"""
    nodes = [
        quant("x", "xq", signed=signed),
        quant("w", "wq"),
        helper.make_node("MatMul", ["xq", "wq"], ["y"], name="product"),
    ]
    arrays = {"w": weights.astype(np.float32)} | parameters("xq", scale=1.0, bits=bits) | parameters("wq", scale=1.0)
    return model(nodes, arrays, inputs={"x": [1, len(weights)]}, outputs=["y"])


def test_accumulators_are_what_brute_force_finds():
    weights = np.random.default_rng(3).integers(-8, 8, (4, 5))
    (accumulator,) = ranges(_product(weights)).accumulators
    inputs = np.array(list(itertools.product(range(4), repeat=4)))
    sums = inputs @ weights
    bounds = {b.bound: b for b in accumulator.bounds}
    assert list(bounds) == list(Bound)
    assert (bounds[Bound.VALUES].lo, bounds[Bound.VALUES].hi) == (sums.min(), sums.max())
    assert bounds[Bound.DATA_TYPE].lo <= bounds[Bound.WEIGHTS].lo <= sums.min()
    assert sums.max() <= bounds[Bound.WEIGHTS].hi <= bounds[Bound.DATA_TYPE].hi
    assert (accumulator.node, accumulator.terms) == ("MatMul 'product'", 4)
    assert list(map(str, accumulator.operands)) == ["UINT2", "INT4"]
    width = bounds[Bound.VALUES].bits
    assert -(2 ** (width - 1)) <= sums.min()
    assert sums.max() < 2 ** (width - 1)
    assert not (-(2 ** (width - 2)) <= sums.min() and sums.max() < 2 ** (width - 2))
    assert accumulator.channels is not None
    assert accumulator.channels.axis == 1
    assert accumulator.channels.lo == tuple(sums.min(0))
    assert accumulator.channels.hi == tuple(sums.max(0))


def test_partial_sums_may_be_wider_than_the_sum():
    (accumulator,) = ranges(
        _product(np.array([[7], [7], [-7], [-7]]), bits=1.0), input_ranges={"x": (1, 1)}
    ).accumulators
    tight = accumulator.bounds[-1]
    assert (tight.lo, tight.hi, tight.bits) == (0, 0, 1)
    assert tight.partial_bits == 5  # 14 and -14


def test_stuck_channels_are_those_that_no_input_moves():
    weights = np.random.default_rng(3).integers(1, 8, (4, 5))
    weights[:, [1, 4]] = 0
    found = _tensors(_product(weights))
    assert found["y"].stuck_channels == 2
    assert found["xq"].stuck_channels == 0
    assert found["wq"].stuck_channels is None
    assert found["w"].stuck_channels is None
    assert _tensors(_product(np.zeros((4, 5))))["y"].stuck_channels == 5
    assert _tensors(_product(weights), input_ranges={"x": (2, 2)})["y"].stuck_channels == 5


def test_stuck_channels_of_images_are_counted_along_the_channels():
    weights = np.ones((3, 2, 1, 1), np.float32)
    weights[1] = 0
    nodes = [quant("x", "xq"), helper.make_node("Conv", ["xq", "w"], ["y"])]
    proto = model(nodes, {"w": weights} | parameters("xq", scale=1.0), inputs={"x": [1, 2, 4, 4]}, outputs=["y"])
    found = _tensors(proto)["y"]
    assert found.stuck_channels == 1
    assert (found.channels.axis, len(found.channels.lo)) == (1, 3)


def test_a_channel_that_is_stuck_in_places_is_not_stuck():
    mask = np.ones((2, 3, 1), np.float32)
    mask[0, 1] = mask[1] = 0
    nodes = [quant("x", "xq"), helper.make_node("Mul", ["xq", "mask"], ["y"])]
    proto = model(nodes, {"mask": mask} | parameters("xq"), inputs={"x": [1, 2, 3, 4]}, outputs=["y"])
    found = _tensors(proto)["y"]
    assert found.stuck_channels == 1
    assert (found.channels.axis, found.channels.lo, found.channels.hi) == (1, (-4.0, 0.0), (3.5, 0.0))


def test_input_ranges_narrow_what_follows():
    wide, narrow = _tensors(mlp()), _tensors(mlp(), input_ranges={"x": (-0.5, 1.0)})
    assert (wide["x"].lo, wide["x"].hi) == (-np.inf, np.inf)
    assert (narrow["x"].lo, narrow["x"].hi) == (-0.5, 1.0)
    assert (narrow["xq"].integers.lo, narrow["xq"].integers.hi) == (-1, 2)
    assert str(narrow["xq"].integers.format) == "INT4"
    assert narrow["h"].hi < wide["h"].hi


@pytest.mark.parametrize("given", [{"z": (0, 1)}, {"x": (1, 0)}])
def test_ranges_that_make_no_sense_are_refused(given):
    with pytest.raises(UsageError):
        ranges(mlp(), input_ranges=given)


def test_nodes_that_are_not_followed_are_listed_with_the_reason():
    node = helper.make_node("Mystery", ["x"], ["y"], name="m", domain="elsewhere")
    proto = model([node], {}, inputs={"x": [1]}, outputs=["y"], imports={"": 21, "elsewhere": 1})
    (found,) = ranges(proto).unfollowed
    assert found.node == "Mystery 'm'"
    assert "rule" in found.reason


def test_per_channel_scales_are_given_in_full():
    scale = np.float32([0.5, 0.25, 1.0])
    nodes = [quant("x", "y")]
    proto = model(nodes, parameters("y", scale=scale), inputs={"x": [1, 3]}, outputs=["y"], imports={"": 21, DOMAIN: 1})
    found = _tensors(proto)["y"]
    assert found.integers.scale == (0.5, 0.25, 1.0)
    assert found.integers.zero_point == (0.0,)
    assert found.channels.lo == (-4.0, -2.0, -8.0)
    assert found.channels.hi == (3.5, 1.75, 7.0)


@needs_corpus
@pytest.mark.parametrize("name", ["cnv_2w2a", "transformer_4w8a", "zoo_asym_ternary", "fp8_e4m3_ocp"])
def test_real_models_stay_inside(name):
    (case,) = [c for c in corpus_files() if c.name == f"{name}/model.onnx"]
    found = _tensors(case.path)
    session = Session(case.path, tensors="all")
    results = session.run({session.inputs[0].name: case.inputs[:1]})
    for tensor in results.keys() & found.keys():
        known, array = found[tensor], np.asarray(results[tensor], np.float64)
        assert known.lo <= array.min(), tensor
        assert array.max() <= known.hi, tensor
        if known.channels is None:
            continue
        shape = [-1 if axis == known.channels.axis else 1 for axis in range(array.ndim)]
        assert (np.reshape(known.channels.lo, shape) <= array).all(), tensor
        assert (array <= np.reshape(known.channels.hi, shape)).all(), tensor


def test_samples_of_the_small_model_stay_inside_per_channel():
    results = Session(mlp(), engine="reference", tensors=["h"]).run(samples(50, 6) * 9)
    found = _tensors(mlp())["h"]
    assert (results["h"] >= found.channels.lo).all()
    assert (results["h"] <= found.channels.hi).all()
