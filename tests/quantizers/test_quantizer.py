"""Quantizer: one meaning, whatever the spelling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anybit.errors import Refusal
from anybit.grid import Grid
from anybit.ops.quant import reference
from anybit.quantizers.quantizer import Quantizer, enclosing_grid, grid_between, read_quant
from tests.formats.qdq.linear_models import QuantCase, loaded, quant_cases
from tests.models import model, parameters, quant
from tests.strategies import examples

_GRIDS = [Grid(b, signed=s, narrow=n) for b in range(1, 13) for s in (True, False) for n in (True, False)]


@pytest.mark.parametrize("lo", range(-9, 2))
@pytest.mark.parametrize("hi", range(18))
def test_a_grid_is_found_exactly_where_there_is_one(lo, hi):
    if lo > hi:
        return
    expected = [g for g in _GRIDS if (g.lo, g.hi) == (lo, hi) and not g.bipolar]
    found = grid_between(lo, hi)
    assert (found in expected) == bool(expected)
    assert found is not None or not expected


@given(st.integers(-300, 300), st.integers(0, 600))
@examples(200)
def test_the_enclosing_grid_is_the_smallest(lo, length):
    hi = lo + length
    grid = enclosing_grid(np.asarray(float(lo)), np.asarray(float(hi)))
    assert grid.lo <= lo
    assert grid.hi >= hi
    assert not grid.bipolar
    smaller = [g for g in _GRIDS if g.bits < grid.bits and not g.bipolar and g.lo <= lo and hi <= g.hi]
    assert not smaller


def _read(case: QuantCase) -> Quantizer:
    source = loaded(case.hub())
    found = read_quant(source.graph.node(0), source)
    assert isinstance(found, Quantizer)
    return found


@given(quant_cases())
@examples(150)
def test_a_quantiser_computes_what_its_node_does(case: QuantCase):
    quantizer = _read(case)
    flags = {"signed": case.signed, "narrow": case.narrow, "rounding_mode": case.mode}
    expected = reference(case.x, case.scale, case.zero_point, case.bits, **flags)
    np.testing.assert_array_equal(quantizer(case.x), expected)
    np.testing.assert_array_equal(quantizer.dequantized(quantizer.integers(case.x)), expected)


@given(quant_cases())
@examples(150)
def test_centring_keeps_what_quantize_linear_means(case: QuantCase):
    quantizer = _read(case)
    centred = quantizer.centred()
    assert not centred.zero_point.any()
    np.testing.assert_array_equal(centred.linear(case.x), quantizer.linear(case.x))
    if not quantizer.is_bipolar:
        half_even = Quantizer(centred.scale, centred.zero_point, centred.lo, centred.hi).between(centred.lo, centred.hi)
        np.testing.assert_array_equal(half_even(case.x), quantizer.linear(case.x))


def test_the_two_families_part_at_ties_of_odd_zero_points():
    quantizer = Quantizer(np.float32(1), np.asarray(1.0), np.asarray(0.0), np.asarray(15.0)).between(0, 15)
    x = np.array([0.5], np.float32)
    assert quantizer(x) == 1
    assert quantizer.linear(x) == 0


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"bits": np.array([2.0, 4.0], np.float32)}, "bit widths differ"),
        ({"bits": 2.5}, "bitwidth"),
        ({"scale": -1.0}, "scale"),
        ({"scale": np.ones((3, 2, 2), np.float32)}, "shape of scale"),
    ],
)
def test_what_is_no_quantiser_of_one_grid(change, problem):
    source = loaded(model([quant("x", "y")], parameters("y", **change), inputs={"x": [2, 2]}, outputs=["y"]))
    refusal = read_quant(source.graph.node(0), source)
    assert isinstance(refusal, Refusal)
    assert refusal.node == "Quant 'y_node'"
    assert problem in refusal.problem


def test_a_computed_scale_is_no_constant():
    node = quant("x", "y")
    node.input[1] = "x"
    source = loaded(model([node], parameters("y"), inputs={"x": [2]}, outputs=["y"]))
    refusal = read_quant(source.graph.node(0), source)
    assert isinstance(refusal, Refusal)
    assert "computed" in refusal.problem
