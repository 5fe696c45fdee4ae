"""Minifloats: FloatQuant and the element types of ONNX agree on every number, tie and neighbour, or are refused."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from anybit.errors import Refusal
from anybit.ops.float_quant import FLOAT_QUANT
from anybit.quantizers.minifloat import Minifloat, read_float_quant
from tests.formats.qdq.linear_models import loaded
from tests.models import DOMAIN, model

_TYPES = {
    ir.DataType.FLOAT8E4M3FN: (ml_dtypes.float8_e4m3fn, 4, 3, 7, 448.0),
    ir.DataType.FLOAT8E4M3FNUZ: (ml_dtypes.float8_e4m3fnuz, 4, 3, 8, 240.0),
    ir.DataType.FLOAT8E5M2: (ml_dtypes.float8_e5m2, 5, 2, 15, 57344.0),
    ir.DataType.FLOAT8E5M2FNUZ: (ml_dtypes.float8_e5m2fnuz, 5, 2, 16, 57344.0),
    ir.DataType.FLOAT4E2M1: (ml_dtypes.float4_e2m1fn, 2, 1, 1, 6.0),
}


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
    found = read_float_quant(
        _source(key, has_inf=int(infinite), has_nan=int(dtype != ir.DataType.FLOAT4E2M1)).graph.node(0)
    )
    assert isinstance(found, Minifloat)
    assert (found.dtype, float(found.scale), found.saturate) == (dtype, 0.5, True)
    assert found.has_negative_zero == (dtype not in (ir.DataType.FLOAT8E4M3FNUZ, ir.DataType.FLOAT8E5M2FNUZ))
    x = np.linspace(-40, 40, 999).astype(np.float32)
    arrays = [np.float32(v) for v in (0.5, *key)]
    np.testing.assert_array_equal(found(x), FLOAT_QUANT.evaluate([x, *arrays], found.attributes))


@pytest.mark.parametrize(
    ("key", "attributes"),
    [
        ((4, 3, 7, 447.0), {}),
        ((4, 3, 7, 256.0), {}),
        ((4, 3, 6, 448.0), {}),
        ((3, 4, 3, 15.5), {}),
        ((4, 3, 7, 448.0), {"rounding_mode": "FLOOR"}),
        ((5, 2, 15, 57344.0), {"has_inf": 1, "saturation": 0}),
    ],
)
def test_what_no_type_has_is_refused(key, attributes):
    found = read_float_quant(_source(key, **attributes).graph.node(0))
    assert isinstance(found, Refusal)
    assert "node" in found.node
    assert found.got
