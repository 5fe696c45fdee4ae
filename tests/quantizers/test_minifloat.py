"""Minifloats: FloatQuant and the element types of ONNX agree on every number, tie and neighbour, or are refused."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from anybit.errors import Refusal
from anybit.ops.float_quant import FLOAT_QUANT
from anybit.quantizers.linear_parameters import Parameters
from anybit.quantizers.minifloat import Minifloat, _points, minifloat_of, read_float_quant
from tests.formats.qdq.linear_models import loaded
from tests.models import DOMAIN, model

_TYPES = {
    ir.DataType.FLOAT8E4M3FN: (ml_dtypes.float8_e4m3fn, 4, 3, 7, 448.0),
    ir.DataType.FLOAT8E4M3FNUZ: (ml_dtypes.float8_e4m3fnuz, 4, 3, 8, 240.0),
    ir.DataType.FLOAT8E5M2: (ml_dtypes.float8_e5m2, 5, 2, 15, 57344.0),
    ir.DataType.FLOAT8E5M2FNUZ: (ml_dtypes.float8_e5m2fnuz, 5, 2, 16, 57344.0),
    ir.DataType.FLOAT6E2M3: (ml_dtypes.float6_e2m3fn, 2, 3, 1, 7.5),
    ir.DataType.FLOAT6E3M2: (ml_dtypes.float6_e3m2fn, 3, 2, 3, 28.0),
    ir.DataType.FLOAT4E2M1: (ml_dtypes.float4_e2m1fn, 2, 1, 1, 6.0),
}
_WITHOUT_NAN = (ir.DataType.FLOAT6E2M3, ir.DataType.FLOAT6E3M2, ir.DataType.FLOAT4E2M1)


def _source(key, **attributes):
    names = ("scale", "exponent", "mantissa", "bias", "most")
    flags = {"has_inf": 0, "has_nan": 1, "has_subnormal": 1, "saturation": 1, "rounding_mode": "ROUND", **attributes}
    node = helper.make_node("FloatQuant", ["x", *names], ["y"], name="node", domain=DOMAIN, **flags)
    values = dict(zip(names, map(np.float32, (0.5, *key)), strict=True))
    return loaded(model([node], values, inputs={"x": [4]}, outputs=["y"]))


@pytest.mark.parametrize("dtype", list(_TYPES))
def test_the_numbers_of_a_type_are_those_of_ml_dtypes(dtype):
    own, *_, most = _TYPES[dtype]
    x = np.concatenate([np.linspace(-most, most, 4001), np.float32(2.0) ** np.arange(-20, 8)]).astype(np.float32)
    expected = x.astype(own).astype(np.float32)
    found = Minifloat(np.ones((), np.float32), dtype)
    np.testing.assert_array_equal(found(x), expected)
    np.testing.assert_array_equal(found.dequantized(found.numbers(x)), expected)


@pytest.mark.parametrize("dtype", list(_TYPES))
def test_a_node_is_read_as_its_type(dtype):
    _, *key = _TYPES[dtype]
    infinite = dtype == ir.DataType.FLOAT8E5M2
    found = read_float_quant(_source(key, has_inf=int(infinite), has_nan=int(dtype not in _WITHOUT_NAN)).graph.node(0))
    assert isinstance(found, Minifloat)
    assert (found.dtype, float(found.scale), found.saturate) == (dtype, 0.5, True)
    assert found.has_negative_zero == (dtype not in (ir.DataType.FLOAT8E4M3FNUZ, ir.DataType.FLOAT8E5M2FNUZ))
    x = np.linspace(-40, 40, 999).astype(np.float32)
    arrays = [np.float32(v) for v in (0.5, *key)]
    np.testing.assert_array_equal(found(x), FLOAT_QUANT.evaluate([x, *arrays], found.attributes))


@pytest.mark.parametrize("dtype", list(_TYPES))
def test_a_type_is_tried_at_every_number_tie_and_neighbour_and_beyond_both_ends(dtype):
    own = np.dtype(_TYPES[dtype][0])
    numbers = np.arange(1 << int(dtype.bitwidth), dtype=np.uint8).view(own).astype(np.float32)
    numbers = np.unique(numbers[np.isfinite(numbers)])
    points = set(_points(dtype).tolist())
    for wanted in (numbers, (numbers[1:] + numbers[:-1]) / 2):
        around = (wanted, np.nextafter(wanted, np.float32(-np.inf)), np.nextafter(wanted, np.float32(np.inf)))
        assert all({*array.tolist()} <= points for array in around)
    most, step = numbers[-1], numbers[-1] - numbers[-2]
    assert {float(sign * (most + step * f)) for sign in (-1, 1) for f in (0.25, 0.5, 1, 2)} <= points
    assert {-np.inf, np.inf} <= points


@pytest.mark.parametrize("dtype", list(_TYPES))
@pytest.mark.parametrize("saturate", [None, 0, 1])
def test_a_pair_of_a_small_type_means_what_its_casts_do(dtype, saturate):
    """Without saturation what exceeds the type is NaN, or infinite where it has that; a type without both has none."""
    attributes = {} if saturate is None else {"saturate": saturate}
    node = ir.node("QuantizeLinear", [ir.Value(name=n) for n in "xsz"], attributes)
    parameters = Parameters(np.asarray(0.5, np.float32), np.zeros(()))
    found = minifloat_of(dtype, parameters, node)
    if saturate == 0 and dtype in _WITHOUT_NAN:
        assert isinstance(found, Refusal)
        return
    assert (found.dtype, found.saturate) == (dtype, saturate != 0)
    assert minifloat_of(dtype, parameters, None) == Minifloat(parameters.scale, dtype)
    own, *_, most = _TYPES[dtype]
    x = np.float32([0.3, -0.3, 1, most, -4 * most, 4 * most])
    with np.errstate(all="ignore"):
        expected = (x if saturate == 0 else np.clip(x, -most, most)).astype(own).astype(np.float32)
    np.testing.assert_array_equal(found.numbers(x / 2).astype(np.float32), expected)
    np.testing.assert_array_equal(found.dequantized(found.numbers(x / 2)), expected / 2)
    np.testing.assert_array_equal(found(x / 2), expected / 2)
    assert isinstance(minifloat_of(dtype, Parameters(parameters.scale, np.ones(())), node), Refusal)


@pytest.mark.parametrize("dtype", [None, ir.DataType.INT8, ir.DataType.FLOAT16])
def test_other_types_are_no_minifloats(dtype):
    assert isinstance(minifloat_of(dtype, Parameters(np.ones((), np.float32), np.zeros(())), None), Refusal)


def _read_with(change) -> Minifloat | Refusal:
    """What is read of a node of FLOAT8E4M3FN that was changed."""
    _, *key = _TYPES[ir.DataType.FLOAT8E4M3FN]
    node = _source(key).graph.node(0)
    change(node)
    return read_float_quant(node)


def _typed(place: int, dtype: ir.DataType | None):
    def change(node: ir.Node) -> None:
        node.inputs[place].type = None if dtype is None else ir.TensorType(dtype)

    return change


@pytest.mark.parametrize(
    ("dtype", "got"), [(ir.DataType.FLOAT16, "FLOAT16"), (ir.DataType.DOUBLE, "DOUBLE"), (None, "unknown")]
)
def test_only_tensors_of_float32_are_read(dtype, got):
    found = _read_with(_typed(0, dtype))
    assert isinstance(found, Refusal)
    assert (found.problem, found.node) == ("element type of X", "FloatQuant 'node'")
    assert (found.got, found.expected) == (got, "FLOAT")


@pytest.mark.parametrize("place", range(1, 6))
def test_parameters_are_numbers_that_are_known(place):
    assert isinstance(_read_with(lambda node: node.name), Minifloat)
    found = _read_with(lambda node: node.replace_input_with(place, node.inputs[0]))
    assert isinstance(found, Refusal)
    assert found.problem == "a parameter is computed, or not one number"


@pytest.mark.parametrize("place", range(2, 6))
def test_parameters_by_element_are_of_no_type(place):
    def change(node: ir.Node) -> None:
        constant = ir.tensor(np.full(4, node.inputs[place].const_value.numpy().item(), np.float32))
        node.inputs[place].const_value, node.inputs[place].shape = constant, ir.Shape([4])

    found = _read_with(change)
    assert isinstance(found, Refusal)
    assert found.problem == "a parameter is computed, or not one number"


@pytest.mark.parametrize(
    ("key", "attributes"),
    [
        ((4, 3, 7, 447.0), {}),
        ((4, 3, 7, 256.0), {}),
        ((4, 3, 6, 448.0), {}),
        ((3, 4, 3, 15.5), {}),
        ((4, 3, 7, 448.0), {"rounding_mode": "FLOOR"}),
        ((5, 2, 15, 57344.0), {"has_inf": 1, "saturation": 0}),
        ((4, 3, 7, 448.0), {"rounding_mode": "BOGUS"}),
        ((4, 3, 7, 448.0), {"has_inf": 2}),
    ],
)
def test_what_no_type_has_is_refused(key, attributes):
    found = read_float_quant(_source(key, **attributes).graph.node(0))
    assert isinstance(found, Refusal)
    assert "node" in found.node
    assert found.got
