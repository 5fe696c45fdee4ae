"""random_inputs: numbers that the model's input may hold, ties and overflow among them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

import anybit
from anybit.engines.sampling import random_inputs, within_stated_format
from anybit.errors import InputError, LimitError
from anybit.graph.annotations import annotate_number_format
from anybit.io.load import load
from anybit.number_formats import parse_number_format
from tests.models import model, parameters, quant

_FORMATS = ("UINT8", "INT4", "BIPOLAR", "TERNARY", "BINARY", "FIXED<6,3>", "FLOAT<4,3,7>")


def stated(name: str):
    loaded = load(model([quant("x", "y")], parameters("y"), inputs={"x": [1, 16]}, outputs=["y"]))
    annotate_number_format(loaded.graph.inputs[0], parse_number_format(name))
    return loaded


@pytest.mark.parametrize("name", _FORMATS)
def test_a_stated_format_is_kept_to(name: str):
    loaded = stated(name)
    x = random_inputs(loaded, 64)["x"]
    assert parse_number_format(name).allows(x).all()
    assert np.unique(x).size > 1


@given(st.sampled_from(_FORMATS), st.lists(st.floats(width=32), min_size=1, max_size=8))
def test_any_number_is_moved_into_the_format(name: str, numbers: list[float]):
    value = stated(name).graph.inputs[0]
    moved = within_stated_format(np.array(numbers, np.float32), value)
    assert moved.dtype == np.float32
    assert parse_number_format(name).allows(moved).all()


def test_numbers_of_the_format_stay():
    value = stated("INT4").graph.inputs[0]
    numbers = np.arange(-8, 8, dtype=np.float32)
    np.testing.assert_array_equal(within_stated_format(numbers, value), numbers)


def test_a_linear_quantiser_meets_ties_and_overflow():
    known = {"s": np.float32(0.5), "z": np.uint8(3)}
    source = model(
        [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"])], known, inputs={"x": [1]}, outputs=["y"]
    )
    source.graph.output[0].type.tensor_type.elem_type = TensorProto.UINT8
    x = random_inputs(source, 4000)["x"] / 0.5 + 3
    assert x.min() < 0
    assert x.max() > 255
    assert (x % 1 == 0.5).mean() > 0.1


def test_bytes_are_drawn_over_their_range():
    source = model(
        [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)],
        {},
        inputs={"x": [1, 64]},
        outputs=["y"],
        input_type=TensorProto.INT8,
    )
    x = random_inputs(source, 64)["x"]
    assert x.dtype == np.int8
    assert (x.min(), x.max()) == (-128, 127)


@pytest.mark.parametrize(
    "name", [d.name for d in ir.DataType if d.is_floating_point() or (d.is_integer() and d.itemsize <= 2)]
)
def test_every_type_of_number_is_drawn(name: str):
    dtype = ir.DataType[name]
    source = model(
        [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)],
        {},
        inputs={"x": [1, 64]},
        outputs=["y"],
        input_type=dtype.value,
    )
    x = random_inputs(source, 64)["x"]
    assert x.dtype == dtype.numpy()
    assert np.isfinite(x.astype(np.float64)).all()
    assert np.unique(x.astype(np.float64)).size > 3


def test_free_dimensions():
    source = model([quant("x", "y")], parameters("y"), inputs={"x": ["N", "C", 3]}, outputs=["y"])
    with pytest.raises(InputError, match="free dimensions"):
        random_inputs(source, 2)
    assert random_inputs(source, 2, free=5)["x"].shape == (2, 5, 3)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [1e38, 3e38, 2.0**120])
@pytest.mark.parametrize("signed", [0, 1])
def test_inputs_of_the_largest_scales_are_finite(scale: float, signed: int):
    proto = model([quant("x", "y", signed=signed)], parameters("y", scale=scale), inputs={"x": [1, 1]}, outputs=["y"])
    assert np.isfinite(random_inputs(proto, 100)["x"]).all()
    certificate = anybit.convert(proto, "finn").certificate
    assert certificate is not None
    assert certificate.samples > 100
    assert certificate.counter_example is None


def test_an_empty_input_that_numpy_cannot_address_is_refused():
    empty = model([helper.make_node("Relu", ["x"], ["y"])], {}, inputs={"x": [1, 0, 2**62]}, outputs=["y"])
    with pytest.raises(LimitError, match="input 'x'"):
        random_inputs(empty, 4)
