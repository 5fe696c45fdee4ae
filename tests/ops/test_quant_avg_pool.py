"""QuantAvgPool2d: sums of windows in Python's integers, and the numbers of the existing tool."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from anybit.number_formats import IntFormat
from anybit.ops.quant_avg_pool import QUANT_AVG_POOL, shift_of
from anybit.ops.schemas import register_schemas
from tests.models import model
from tests.ops.calling import call, rules
from tests.ops.running import assert_same, run_body, run_expanded
from tests.strategies import examples

PLAIN = {"kernel": 2, "stride": 2, "ibits": 4, "obits": 4, "signed": 0}


@st.composite
def _cases(draw):
    kernel, stride = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    signed, ibits = draw(st.integers(0, 1)), draw(st.integers(1, 9))
    last = draw(st.booleans())
    height, width = (draw(st.integers(kernel, 6)) for _ in range(2))
    low, high = (-(2 ** (ibits - 1)), 2 ** (ibits - 1)) if signed else (0, 2**ibits)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x = rng.integers(low, high, (2, 3, height, width)).astype(draw(st.sampled_from([np.float32, np.float64])))
    attributes = {"kernel": kernel, "stride": stride, "ibits": ibits, "obits": draw(st.integers(1, 8))}
    return x, attributes | {"signed": signed}, last


@given(_cases())
@examples(150)
def test_sums_are_shifted(case) -> None:
    x, a, last = case
    k, s, shift = a["kernel"], a["stride"], shift_of(a["kernel"], a["ibits"], a["obits"])
    sums = [
        [x[:, :, i : i + k, j : j + k].sum((2, 3)).astype(int) for j in range(0, x.shape[3] - k + 1, s)]
        for i in range(0, x.shape[2] - k + 1, s)
    ]
    expected = np.moveaxis(np.array(sums) >> shift, (0, 1), (2, 3)).astype(x.dtype)
    attributes = a | {"data_layout": "NCHW"}
    if last:
        x, expected = (np.ascontiguousarray(np.moveaxis(v, 1, 3)) for v in (x, expected))
        attributes["data_layout"] = "NHWC"
    assert_same(QUANT_AVG_POOL.evaluate([x], attributes), expected)
    assert_same(run_body(QUANT_AVG_POOL, [x], attributes), expected)
    assert_same(run_expanded(QUANT_AVG_POOL, [x], attributes), expected)


@pytest.mark.parametrize("ibits", range(1, 33))
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 7, 8, 16])
def test_bits_of_the_largest_sum(ibits, kernel) -> None:
    x = np.zeros((1, 1, kernel, kernel))
    x[0, 0, 0, 0] = 2.0**40
    attributes = {"kernel": kernel, "stride": 1, "ibits": ibits, "obits": 1, "signed": 0}
    expected = 2 ** (40 - ((kernel**2 * (2**ibits - 1)).bit_length() - 1))
    assert run_expanded(QUANT_AVG_POOL, [x], attributes).item() == expected


def test_numbers_of_the_existing_tool() -> None:
    """What qonnx 1.0.0 makes of the same nodes."""
    x = (np.arange(16) * 7 % 16 - 8).astype(np.float32).reshape(1, 1, 4, 4)
    for ibits, obits, kernel, stride, expected in (
        (4, 4, 2, 2, [[-3, -1], [1, -1]]),
        (4, 3, 3, 1, [[0, 0], [-1, -1]]),
        (1, 2, 2, 1, [[-5, 1, -1], [3, 1, -1], [3, 1, -1]]),
    ):
        attributes = {"kernel": kernel, "stride": stride, "ibits": ibits, "obits": obits, "signed": 1}
        assert QUANT_AVG_POOL.evaluate([x], attributes).tolist() == [[expected]]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, []),
        ({"data_layout": "NCW"}, ["layout"]),
        ({"kernel": 0}, ["windows"]),
        ({"ibits": 33}, ["bit-width"]),
        ({"signed": 2}, ["flag"]),
        ({"signed": 1, "kernel": 1, "stride": 1, "ibits": 1, "obits": 32}, []),
        ({"ibits": 32, "obits": 1, "data_layout": "NHWC"}, []),
        ({"stride": 0}, ["windows"]),
        ({"stride": "2"}, ["windows"]),
        ({"ibits": 0}, ["bit-width"]),
        ({"obits": 33, "ibits": "4"}, ["bit-width"] * 2),
        ({"signed": -1}, ["flag"]),
    ],
)
def test_rules(attributes, expected) -> None:
    made = call(QUANT_AVG_POOL, {}, x_shape=(1, 3, 4, 4), attributes=PLAIN | attributes)
    assert rules(QUANT_AVG_POOL, made) == expected
    assert rules(QUANT_AVG_POOL, call(QUANT_AVG_POOL, {}, x_shape=(3, 4), attributes=PLAIN)) == ["rank"]


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("obits", [1, 4, 32])
def test_the_format_is_that_of_the_attributes(obits, signed) -> None:
    made = call(QUANT_AVG_POOL, {}, x_shape=(1, 3, 4, 4), attributes=PLAIN | {"obits": obits, "signed": signed})
    assert QUANT_AVG_POOL.number_format(made) == IntFormat(obits, signed=bool(signed))


@pytest.mark.parametrize("obits", [0, -3, "4"])
def test_bits_that_are_none_are_no_format(obits) -> None:
    made = call(QUANT_AVG_POOL, {}, x_shape=(1, 3, 4, 4), attributes=PLAIN | {"obits": obits})
    assert QUANT_AVG_POOL.number_format(made) is None


@pytest.mark.parametrize("layout", [None, "NCHW", "NHWC"])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (2, 2), (3, 1), (2, 3), (6, 1)])
def test_the_shape_that_is_inferred_is_that_of_the_result(layout, kernel, stride) -> None:
    register_schemas()
    attributes = PLAIN | {"kernel": kernel, "stride": stride} | ({} if layout is None else {"data_layout": layout})
    node = helper.make_node("QuantAvgPool2d", ["x"], ["y"], domain=QUANT_AVG_POOL.domain, **attributes)
    x = np.zeros((2, 6, 7, 9), np.float32)
    made = QUANT_AVG_POOL.evaluate([x], attributes).shape
    for shape, expected in (([2, 6, 7, 9], made), (["N", 6, 7, 9], ("N", *made[1:]))):
        proto = model([node], {}, inputs={"x": shape}, outputs=["y"])
        inferred = onnx.shape_inference.infer_shapes(proto, strict_mode=True).graph.output[0].type.tensor_type.shape.dim
        assert [d.dim_param or d.dim_value for d in inferred] == list(expected)


def test_a_shape_that_is_not_known_is_not_inferred() -> None:
    register_schemas()
    free = helper.make_node("QuantAvgPool2d", ["x"], ["y"], domain=QUANT_AVG_POOL.domain, **PLAIN)
    for shape, expected in ((["N", 3, "H", 9], [0, 3, 0, 4]), (None, None)):
        proto = model([free], {}, inputs={"x": shape}, outputs=["y"])
        found = onnx.shape_inference.infer_shapes(proto).graph.output[0].type.tensor_type
        dims = [d.dim_value for d in found.shape.dim] if found.HasField("shape") else None
        assert dims == expected


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [({"kernel": 7}, [2, 3, 1, 2]), ({"kernel": 8}, [2, 3, 0, 1]), ({"kernel": 11}, [2, 3, 0, 0]),
     ({"stride": 0}, [2, 3, None, None]), ({"stride": -1}, [2, 3, None, None])],
)  # fmt: skip
def test_windows_that_do_not_fit_are_none(attributes, expected) -> None:
    register_schemas()
    node = helper.make_node("QuantAvgPool2d", ["x"], ["y"], domain=QUANT_AVG_POOL.domain, **PLAIN | attributes)
    proto = model([node], {}, inputs={"x": [2, 3, 7, 9]}, outputs=["y"])
    dims = onnx.shape_inference.infer_shapes(proto).graph.output[0].type.tensor_type.shape.dim
    assert [d.dim_value if d.HasField("dim_value") else None for d in dims] == expected


def test_images_only() -> None:
    with pytest.raises(ValueError, match="four axes"):
        QUANT_AVG_POOL.evaluate(
            [np.ones((3, 3), np.float32)], {"kernel": 1, "stride": 1, "ibits": 1, "obits": 1, "signed": 0}
        )
