"""Which graphs keep samples apart: numbers of one type for all samples are no samples themselves."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import anybit
from anybit.errors import InvalidModelError
from tests.models import model

X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


def _cast_like(*nodes: onnx.NodeProto, shape: tuple[int, ...] = ()) -> onnx.ModelProto:
    """c, cast to the type of x, in front of other nodes; the model states a batch of 2."""
    constants = {"c": np.full(shape, 3, np.int32)}
    cast = helper.make_node("CastLike", ["c", "x"], ["n"])
    return model([cast, *nodes], constants, inputs={"x": [2, 3]}, outputs=["y"])


@pytest.mark.parametrize("nodes", [
    [helper.make_node("Mul", ["x", "n"], ["y"])],
    [helper.make_node("Sign", ["n"], ["s"]), helper.make_node("Mul", ["s", "n"], ["t"]),
     helper.make_node("Add", ["t", "x"], ["y"])],
    [helper.make_node("CastLike", ["x", "n"], ["y"])],
    [helper.make_node("Max", ["x", "n"], ["m"]), helper.make_node("CastLike", ["m", "x"], ["y"])],
])  # fmt: skip
def test_a_number_that_takes_its_type_from_a_batch_has_none(nodes):
    proto = _cast_like(*nodes)
    session = anybit.Session(proto, engine="onnxruntime")
    assert session.piece(3) == 3
    parts = [anybit.run(proto, X[i : i + 1], engine="reference")["y"] for i in range(len(X))]
    np.testing.assert_array_equal(session.run(X)["y"], np.concatenate(parts))
    assert anybit.clean(proto, batch=1).graph.inputs[0].shape == (1, 3)


def test_numbers_of_each_sample_are_bound_to_the_batch():
    proto = _cast_like(helper.make_node("Mul", ["x", "n"], ["y"]), shape=(2, 1))
    assert anybit.Session(proto, engine="onnxruntime").piece(1) == 2
    with pytest.raises(InvalidModelError, match="has values of its own along the batch"):
        anybit.clean(proto, batch=1)


def test_a_number_that_is_an_output_has_no_batch():
    proto = _cast_like(helper.make_node("Mul", ["x", "n"], ["y"]))
    proto.graph.output.add(name="n").type.tensor_type.elem_type = TensorProto.FLOAT
    with pytest.raises(InvalidModelError, match="an output has no batch axis"):
        anybit.clean(proto, batch=1)
