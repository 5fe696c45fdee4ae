"""XnorPopcountMatMul, MaxPoolNHWC and DebugMarker against counting in Python and the standard operators."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

import anybit
from anybit.ops.finn.debug_marker import DEBUG_MARKER
from anybit.ops.finn.max_pool_nhwc import MAX_POOL_NHWC
from anybit.ops.finn.xnor_popcount_mat_mul import XNOR_POPCOUNT_MAT_MUL, bounds
from anybit.ops.operator import Bounds, Call, GridBounds
from anybit.ops.standard.pooling import max_pool
from tests.models import DOMAIN, model, parameters, quant
from tests.ops.calling import call, rules
from tests.ops.running import assert_same, run_body, run_expanded
from tests.strategies import examples

FLOATS = [np.float16, np.float32, np.float64]


@given(st.integers(1, 5), st.integers(1, 9), st.integers(1, 5), st.sampled_from(FLOATS), st.integers(0, 99))
@examples(60)
def test_equal_bits_are_counted(rows, terms, columns, dtype, seed) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 2, (2, rows, terms)), rng.integers(0, 2, (terms, columns))
    expected = [[[sum(int(x == y) for x, y in zip(row, col, strict=True)) for col in b.T] for row in m] for m in a]
    inputs = [a.astype(dtype), b.astype(dtype)]
    assert_same(XNOR_POPCOUNT_MAT_MUL.evaluate(inputs, {}), np.array(expected, dtype))
    if dtype != np.float16:
        assert_same(run_body(XNOR_POPCOUNT_MAT_MUL, inputs, {}), np.array(expected, dtype))
        assert_same(run_expanded(XNOR_POPCOUNT_MAT_MUL, inputs, {}), np.array(expected, dtype))


@given(
    st.sampled_from([(2, 2), (3, 1), (1, 3)]),
    st.sampled_from([(1, 1), (2, 2), (2, 1)]),
    st.sampled_from([(0, 0, 0, 0), (0, 0, 1, 0)]),
    st.integers(0, 1),
    st.integers(0, 99),
)
@examples(40)
def test_pools_of_pixels(kernel, strides, pads, ceil_mode, seed) -> None:
    if any(p >= k for p, k in zip(pads, kernel * 2, strict=True)):
        pads = (0, 0, 0, 0)
    attributes = {"kernel_shape": kernel, "strides": strides, "pads": pads, "ceil_mode": ceil_mode}
    x = np.random.default_rng(seed).normal(size=(2, 6, 5, 3)).astype(np.float32)
    expected = max_pool(x.transpose(0, 3, 1, 2).astype(np.float64), attributes).transpose(0, 2, 3, 1)
    assert_same(MAX_POOL_NHWC.evaluate([x], attributes), expected.astype(np.float32))
    assert_same(run_expanded(MAX_POOL_NHWC, [x], attributes), expected.astype(np.float32))


@pytest.mark.parametrize("dtype", [*FLOATS, np.int32, np.uint8])
def test_a_marker_changes_nothing(dtype) -> None:
    x = np.arange(6).reshape(2, 3).astype(dtype)
    assert_same(DEBUG_MARKER.evaluate([x], {"export_debug_name": "seen"}), x)


@pytest.mark.parametrize(
    ("operator", "shapes", "attributes", "expected"),
    [
        (XNOR_POPCOUNT_MAT_MUL, {"A": (2, 3), "B": (3, 4)}, {}, []),
        (XNOR_POPCOUNT_MAT_MUL, {"A": (2, 3), "B": (4, 4)}, {}, ["shape"]),
        (XNOR_POPCOUNT_MAT_MUL, {"A": (2, 3), "B": (2, 3, 4)}, {}, ["rank"]),
        (XNOR_POPCOUNT_MAT_MUL, {"A": (), "B": (3, 4)}, {}, ["rank"]),
        (MAX_POOL_NHWC, {"X": (1, 4, 4, 2)}, {"kernel_shape": (2, 2)}, []),
        (MAX_POOL_NHWC, {"X": (1, 4, 2)}, {"kernel_shape": (2, 2)}, ["rank"]),
        (MAX_POOL_NHWC, {"X": (1, 4, 4, 2)}, {"kernel_shape": (2,)}, ["kernel"]),
        (MAX_POOL_NHWC, {"X": (1, 4, 4, 2)}, {"kernel_shape": (2, 2), "strides": (0, 1)}, ["windows"]),
        (DEBUG_MARKER, {"X": (1,)}, {"export_debug_name": ""}, ["name"]),
    ],
)
def test_rules(operator, shapes, attributes, expected) -> None:
    made = replace(call(operator, {}, attributes=attributes), shapes=shapes)
    assert rules(operator, made) == expected


def binary_network():
    """x -> Quant to bits -> MaxPoolNHWC -> DebugMarker -> Reshape -> XnorPopcountMatMul with bits."""
    rng = np.random.default_rng(0)
    nodes = [
        quant("x", "q", signed=0),
        helper.make_node("MaxPoolNHWC", ["q"], ["p"], "pool", domain=DOMAIN, kernel_shape=[2, 2], strides=[2, 2],
                         pads=[0, 0, 0, 0]),
        helper.make_node("DebugMarker", ["p"], ["m"], "marker", domain=DOMAIN, export_debug_name="seen"),
        helper.make_node("Reshape", ["m", "shape"], ["r"], "rows"),
        helper.make_node("XnorPopcountMatMul", ["r", "w"], ["y"], "product", domain=DOMAIN),
    ]  # fmt: skip
    constants = parameters("q", scale=1.0, bits=1.0) | {"shape": np.array([0, -1])}
    constants |= {"w": rng.integers(0, 2, (12, 5)).astype(np.float32)}
    return model(nodes, constants, inputs={"x": [1, 4, 4, 3]}, outputs=["y"])


def test_a_binary_network_in_both_engines_with_its_accumulator() -> None:
    proto = binary_network()
    assert anybit.check(proto) == ()
    x = np.random.default_rng(1).normal(size=(1, 4, 4, 3)).astype(np.float32)
    runs = [anybit.run(proto, x, engine=engine)["y"] for engine in ("reference", "onnxruntime")]
    np.testing.assert_array_equal(*runs)
    known = {t.name: t for t in anybit.types(proto)}
    assert str(known["p"].integers) == str(known["m"].integers) == "UINT1" or str(known["m"].format) == "BINARY"
    assert known["y"].format is not None
    assert known["y"].format.min == 0
    assert known["y"].format.max >= 12
    assert anybit.cost(proto).dense.macs == 60
    batched = anybit.clean(proto, batch="dynamic")
    rows = np.concatenate([x, -x])
    assert anybit.run(batched, rows, engine="reference")["y"].shape == (2, 5)


def _product(*, k: int | None = 3, columns: int = 2) -> Call:
    return Call(node="n", attributes={}, constants={}, shapes={"A": (4, k), "B": (k, columns)})


def _bits(lo: float, hi: float, *, grid: bool = True, zero_point: float = 0.0) -> Bounds:
    return Bounds(lo=lo, hi=hi, grid=GridBounds(scale=1.0, lo=lo, hi=hi, zero_point=zero_point) if grid else None)


@pytest.mark.parametrize("terms", [1, 3, 7])
@pytest.mark.parametrize(("a", "b"), [((0, 1), (0, 1)), ((0, 1), (1, 1)), ((0, 3), (0, 1)), ((-1, 2), (-3, 1))])
def test_bounds_of_a_count_are_those_of_all_pairs(terms, a, b) -> None:
    """A sum of so many terms is between them times the smallest and the largest that one term can be."""
    values = [(1 + (2 * x - 1) * (2 * y - 1)) / 2 for x in range(a[0], a[1] + 1) for y in range(b[0], b[1] + 1)]
    found = bounds(_product(k=terms), _bits(*a), _bits(*b))
    assert (found.lo, found.hi) == (terms * min(values), terms * max(values))
    assert found.grid is not None
    assert (found.grid.scale, found.grid.lo, found.grid.hi) == (1, found.lo, found.hi)


@pytest.mark.parametrize("terms", [2048, 2049])
def test_counts_that_float16_rounds_are_on_no_grid(terms) -> None:
    found = bounds(_product(k=terms), _bits(0, 1), _bits(0, 1))
    assert (found.grid is not None) == (terms == 2048)
    assert found.hi >= np.float16(terms)
    assert (found.lo, found.hi) == ((0, 2048) if terms == 2048 else (-(2.0**-9) * terms, terms * (1 + 2.0**-9)))


@pytest.mark.parametrize(
    ("a", "b"), [(_bits(0, 1, grid=False), _bits(0, 1)), (_bits(0, 1), _bits(0, 1, zero_point=0.5))]
)
def test_counts_of_what_is_not_whole_are_on_no_grid(a, b) -> None:
    found = bounds(_product(), a, b)
    assert found.grid is None
    assert (found.lo, found.hi) == (-3 * 2.0**-9, 3 + 3 * 2.0**-9)


def test_a_constant_is_whole_if_its_elements_are() -> None:
    for array, whole in ((np.float32([[0, 1]] * 3), True), (np.float32([[0.5, 1]] * 3), False)):
        known = replace(_product(), constants={"B": array})
        assert (bounds(known, _bits(0, 1), _bits(0, 1, grid=False)).grid is not None) == whole


def test_nothing_is_known_of_unknown_terms_or_endless_bits() -> None:
    for found in (
        bounds(_product(k=None), _bits(0, 1), _bits(0, 1)),
        bounds(_product(), Bounds(lo=0, hi=np.inf), _bits(0, 1)),
    ):
        assert (found.lo, found.hi, found.grid) == (-np.inf, np.inf, None)
    one_side = replace(_product(), shapes={"A": (4, 3)})
    assert bounds(one_side, _bits(0, 1), _bits(0, 1)).hi == 3
    assert bounds(replace(_product(), shapes={}), _bits(0, 1), _bits(0, 1)).hi == np.inf
