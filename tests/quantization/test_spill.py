"""Spill: what is written to a stream is what is read."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import pytest

import anybit
from anybit.errors import UnsupportedError
from anybit.grid import Grid
from anybit.quantization.ranges import Range
from anybit.quantization.spill import Spill
from tests.models import model
from tests.quantization.nets import images, node, normal

TYPES = (
    np.float32,
    np.float16,
    np.bool_,
    np.int64,
    np.complex64,
    ml_dtypes.bfloat16,
    ml_dtypes.float8_e4m3fn,
    ml_dtypes.int4,
)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (2, 3, 4)])
def test_blocks_of_any_type_and_shape_come_back_as_they_were_written(dtype, shape):
    blocks = [np.random.default_rng(k).integers(0, 2, shape).astype(dtype) for k in range(3)]
    with Spill() as spill:
        stream = spill.stream("x")
        for block in blocks:
            stream.write(block)
        for written, read in zip(blocks, stream, strict=True):
            assert (read.dtype, read.shape) == (written.dtype, written.shape)
            np.testing.assert_array_equal(read, written)


@pytest.mark.parametrize("to", [16, 10, 1, 7, 9])
def test_a_net_in_which_tensors_of_other_types_stand_is_quantised(to):
    rng = np.random.default_rng(0)
    nodes = [
        node("Conv", ["x", "w"], "a", pads=[1, 1, 1, 1]),
        node("Cast", ["a"], "b", to=to),
        node("Cast", ["b"], "c", to=1),
        node("Conv", ["c", "v"], "y"),
    ]
    weights = {"w": normal(rng, 8, 2, 3, 3), "v": normal(rng, 4, 8, 1, 1)}
    net = model(nodes, weights, inputs={"x": ("N", 2, 6, 6)}, outputs=["y"])
    quantised = anybit.quantize(net, images())
    assert anybit.Session(quantised.model).run(images()[:2])["y"].shape == (2, 4, 6, 6)


def test_inputs_of_strings_are_refused_by_name():
    rng = np.random.default_rng(0)
    nodes = [
        node("Conv", ["x", "w"], "a", pads=[1, 1, 1, 1]),
        node("Cast", ["s"], "c", to=1),
        node("Add", ["a", "c"], "d"),
        node("Conv", ["d", "v"], "y"),
    ]
    weights = {"w": normal(rng, 8, 2, 3, 3), "v": normal(rng, 4, 8, 1, 1)}
    net = model(nodes, weights, inputs={"x": ("N", 2, 6, 6), "s": ("N", 1, 1, 1)}, outputs=["y"])
    net.graph.input[1].type.tensor_type.elem_type = onnx.TensorProto.STRING
    data = {"x": images(), "s": np.full((48, 1, 1, 1), "1.5", object)}
    with pytest.raises(UnsupportedError, match="tensor 's'"):
        anybit.quantize(net, [data])


@pytest.mark.parametrize("zero_point", [0, 2])
@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_a_quantiser_keeps_the_shape_of_what_is_read_through_it(shape, zero_point):
    block = np.full(shape, 0.3, np.float32)
    with Spill() as spill:
        stream = spill.stream("x")
        stream.write(block)
        (read,) = stream.seen_through(Range(Grid(4, signed=True), 0.25, zero_point))
    assert isinstance(read, np.ndarray)
    np.testing.assert_array_equal(read, np.full(shape, 0.25, np.float32))


def test_a_net_in_which_numbers_without_axes_are_added_is_quantised():
    rng = np.random.default_rng(0)
    nodes = [
        node("Conv", ["x", "w"], "a", pads=[1, 1, 1, 1]),
        node("ReduceMax", ["a"], "m", keepdims=0),
        node("Add", ["a", "m"], "b"),
        node("Relu", ["m"], "r"),
        node("Add", ["b", "r"], "d"),
        node("Conv", ["d", "v"], "y"),
    ]
    weights = {"w": normal(rng, 8, 2, 3, 3), "v": normal(rng, 4, 8, 1, 1)}
    net = model(nodes, weights, inputs={"x": (1, 2, 6, 6)}, outputs=["y"])
    quantised = anybit.quantize(net, images())
    assert anybit.Session(quantised.model).run(images()[:1])["y"].shape == (1, 4, 6, 6)
