"""Comparing models: what differs, by how much, and where it begins."""

from __future__ import annotations

import tracemalloc

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

import anybit
from anybit import compare
from anybit.engines.sampling import random_inputs
from anybit.errors import InputError, UsageError
from anybit.runtime.compare import difference
from tests.models import mlp, model, parameters, quant, samples


def _with(proto: onnx.ModelProto, name: str, value) -> onnx.ModelProto:
    changed = onnx.ModelProto.FromString(proto.SerializeToString())
    for tensor in changed.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.asarray(value, np.float32), name))
    return changed


def test_a_model_equals_itself():
    result = compare(mlp(), mlp(), layers=True, tolerance=0)
    assert result.equal
    assert result.first_departure is None
    assert result.samples == 16


def test_differences_are_counted_in_steps_of_the_grid():
    values = parameters("y", scale=0.5)
    plain = model([quant("x", "y")], values, inputs={"x": [1, 4]}, outputs=["y"])
    up = model([quant("x", "y", rounding_mode="CEIL")], values, inputs={"x": [1, 4]}, outputs=["y"])
    x = np.array([[0.5, 0.6, 1.0, 2.1]], np.float32)
    result = compare(plain, up, x)
    (difference,) = result.outputs
    assert not result.equal
    assert (difference.elements, difference.unequal, difference.departing) == (4, 2, 2)
    assert difference.steps == 1
    assert difference.at == (0, 1)


def test_the_first_departing_tensor_is_found():
    result = compare(mlp(), _with(mlp(), "wq_scale", 0.3), layers=True)
    assert result.first_departure is not None
    assert result.first_departure.name == "wq"


def test_nan_against_a_number_departs_and_nan_against_nan_does_not():
    sqrt = model([helper.make_node("Sqrt", ["x"], ["y"])], {}, inputs={"x": ["N", 2]}, outputs=["y"])
    absolute = model([helper.make_node("Abs", ["x"], ["y"])], {}, inputs={"x": ["N", 2]}, outputs=["y"])
    x = np.array([[-1, 1]], np.float32)
    assert compare(sqrt, sqrt, x).equal
    (difference,) = compare(sqrt, absolute, x).outputs
    assert difference.departing == 1
    assert difference.largest == np.inf


def test_float_noise_is_within_the_tolerance_and_beyond_zero():
    nodes = [helper.make_node("Mul", ["x", "f"], ["y"])]
    a, b = (model(nodes, {"f": np.float32(f)}, inputs={"x": ["N", 2]}, outputs=["y"]) for f in (1, 1 + 2**-22))
    x = samples(4, 2)
    assert compare(a, b, x).equal
    assert not compare(a, b, x, tolerance=0).equal


def test_inputs_and_outputs_are_matched_by_position_where_names_differ():
    a = model([helper.make_node("Neg", ["x"], ["y"])], {}, inputs={"x": ["N", 2]}, outputs=["y"])
    b = model([helper.make_node("Neg", ["u"], ["v"])], {}, inputs={"u": ["N", 2]}, outputs=["v"])
    assert compare(a, b).equal


def test_models_that_cannot_be_compared_are_refused():
    two = model(
        [helper.make_node("Neg", ["x"], ["y"]), helper.make_node("Abs", ["x"], ["z"])],
        {},
        inputs={"x": ["N", 2]},
        outputs=["y", "z"],
    )
    one = model([helper.make_node("Neg", ["x"], ["y"])], {}, inputs={"x": ["N", 2]}, outputs=["y"])
    with pytest.raises(InputError, match="outputs"):
        compare(one, two)
    wide = model([helper.make_node("Concat", ["x", "x"], ["y"], axis=1)], {}, inputs={"x": ["N", 2]}, outputs=["y"])
    with pytest.raises(InputError, match="shapes"):
        compare(one, wide)
    for arguments in ({"samples": 0}, {"tolerance": -1}):
        with pytest.raises(UsageError):
            compare(one, one, **arguments)


def test_random_inputs_meet_ties_and_overflow():
    proto = model([quant("x", "y")], parameters("y", scale=0.5), inputs={"x": [1, 50]}, outputs=["y"])
    x = random_inputs(proto, 40)["x"] / 0.5
    assert x.shape == (40, 50)
    assert (x % 1 == 0.5).mean() > 0.1
    assert x.min() < -8
    assert x.max() > 7
    np.testing.assert_array_equal(random_inputs(proto, 40)["x"], random_inputs(proto, 40)["x"])
    assert not np.array_equal(random_inputs(proto, 40)["x"], random_inputs(proto, 40, seed=1)["x"])


def test_random_indices_stay_inside_the_table():
    proto = model(
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        {"table": np.zeros((7, 2), np.float32)},
        inputs={"x": [1, 30]},
        outputs=["y"],
        input_type=onnx.TensorProto.INT64,
    )
    x = random_inputs(proto, 20)["x"]
    assert set(np.unique(x)) == set(range(7))


def test_inputs_with_free_dimensions_must_be_given():
    proto = model([helper.make_node("Neg", ["x"], ["y"])], {}, inputs={"x": ["N", "L"]}, outputs=["y"])
    with pytest.raises(InputError, match="free dimensions"):
        compare(proto, proto)
    assert compare(proto, proto, samples(2, 5)).equal


def test_samples_are_drawn_in_whole_batches_where_the_model_needs_them():
    nodes = [helper.make_node("CumSum", ["x", "axis"], ["y"])]
    fixed = model(nodes, {"axis": np.int64(0)}, inputs={"x": [5, 2]}, outputs=["y"])
    assert compare(fixed, fixed, samples=6).samples == 10


def test_inputs_of_different_first_sizes_keep_them():
    proto = model([helper.make_node("MatMul", ["x", "w"], ["y"])], {}, inputs={"x": [1, 4], "w": [4, 3]}, outputs=["y"])
    assert compare(proto, proto).equal


def test_a_negative_seed_and_outputs_that_are_no_tensors_are_refused():
    with pytest.raises(UsageError, match="seed"):
        compare(mlp(), mlp(), seed=-1)
    proto = model([helper.make_node("SequenceConstruct", ["x"], ["y"])], {}, inputs={"x": ["N", 2]}, outputs=["y"])
    tensor = helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    proto.graph.output[0].CopyFrom(helper.make_value_info("y", helper.make_sequence_type_proto(tensor)))
    with pytest.raises(InputError, match="only tensors"):
        compare(proto, proto)


@pytest.mark.parametrize("piece", [1, 7, 30])
def test_tensors_are_compared_piece_by_piece(monkeypatch, piece):
    scale = np.float32([[[0.25]], [[0.5]], [[2.0]]])
    values = parameters("y", scale=scale)
    plain = model([quant("x", "y")], values, inputs={"x": [2, 3, 4, 5]}, outputs=["y"])
    up = model([quant("x", "y", rounding_mode="CEIL")], values, inputs={"x": [2, 3, 4, 5]}, outputs=["y"])
    x = np.random.default_rng(3).normal(size=(2, 3, 4, 5)).astype(np.float32) * 3
    a, b = (anybit.run(m, x)["y"].astype(np.float64) for m in (plain, up))
    monkeypatch.setattr("anybit.runtime.compare._PIECE", piece)
    (found,) = compare(plain, up, x, tolerance=0.1).outputs
    gap = np.abs(a - b)
    assert found.unequal == np.count_nonzero(gap) > found.departing == (gap > 0.1 * np.abs(a).max()).sum() > 0
    assert found.largest == gap.max()
    assert found.at == np.unravel_index(np.argmax(gap), gap.shape)
    assert found.steps == (gap / scale).max() == 1


def test_a_comparison_takes_little_memory_of_its_own():
    a = np.zeros((1 << 23, 2), np.float32)
    b = a + 1
    tracemalloc.start()
    found = difference("y", a, b, ir.Value(name="y"), 0.0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.departing == a.size
    assert peak < a.nbytes
