"""Bounds seen axis by axis, against the hulls of arrays that are spread out in full."""

from __future__ import annotations

import numpy as np
import pytest

from anybit.analysis.values.bounds.axes import (
    anywhere,
    arrays_of,
    by_axis,
    collapsed,
    datatype_with,
    integer_of,
    is_same_along,
    is_uniform,
    joined,
    normalised,
    told_apart,
)
from anybit.analysis.values.tensor_values import IntegerGrid, TensorValues
from anybit.analysis.values.transfer import NotFollowed
from anybit.number_formats import FixedFormat, IntFormat


def _values(rng: np.random.Generator, shape: tuple[int, ...], *, uniform_grid: bool = False) -> TensorValues:
    """Bounds and a grid whose arrays are told apart along axes of their own."""

    def apart() -> tuple[int, ...]:
        return tuple(n if rng.random() < 0.6 else 1 for n in shape)

    lo, low = (rng.integers(-9, 5, apart()).astype(np.float64) for _ in range(2))
    of_grid = (1,) * len(shape) if uniform_grid else apart()
    grid = IntegerGrid(np.exp2(rng.integers(-2, 3, of_grid)), rng.integers(-2, 3, of_grid) * 1.0, low, low + 3)
    return TensorValues(lo, lo + rng.integers(0, 4, apart()), grid)


def test_elements_are_told_apart_where_one_of_the_arrays_does():
    rng = np.random.default_rng(0)
    for _ in range(50):
        shape = tuple(int(n) for n in rng.integers(2, 4, 3))
        values = _values(rng, shape)
        arrays = [*arrays_of(values)]
        assert len(arrays) == 6
        for axis in range(3):
            assert told_apart(values, axis) == (shape[axis] if any(a.shape[axis] > 1 for a in arrays) else 1)
        assert is_uniform(values) == all(a.size == 1 for a in arrays)
    plain = TensorValues(np.zeros(()), np.ones((2,)))
    assert len([*arrays_of(plain)]) == 2
    assert told_apart(by_axis(plain, 2), 1) == 2
    assert [a.shape for a in arrays_of(by_axis(plain, 3))] == [(1, 1, 1), (1, 1, 2)]


def test_hulls_along_axes_and_anywhere():
    rng = np.random.default_rng(1)
    kept = 0
    for _ in range(100):
        values = _values(rng, (2, 3, 4))
        axes = tuple(a for a in range(3) if rng.random() < 0.5)
        found = collapsed(values, axes)
        np.testing.assert_array_equal(found.lo, values.lo.min(axis=axes, keepdims=True))
        np.testing.assert_array_equal(found.hi, values.hi.max(axis=axes, keepdims=True))
        grid = values.grid
        assert grid is not None
        same = all(p.shape[a] == 1 for p in (grid.scale, grid.zero_point) for a in axes)
        assert is_same_along(grid, axes) == same
        assert (found.grid is not None) == same
        if found.grid is not None:
            kept += bool(axes)
            np.testing.assert_array_equal(found.grid.lo, grid.lo.min(axis=axes, keepdims=True))
            np.testing.assert_array_equal(found.grid.hi, grid.hi.max(axis=axes, keepdims=True))
            assert found.grid.scale is grid.scale
    assert kept > 5


def test_a_tensor_of_any_shape_holds_what_one_of_the_elements_may_be():
    rng = np.random.default_rng(2)
    for _ in range(20):
        values = _values(rng, (2, 3), uniform_grid=True)
        found = anywhere(TensorValues(values.lo[0], values.hi, values.grid))
        assert (found.lo.shape, found.hi.shape) == ((), ())
        assert (found.lo, found.hi) == (values.lo[0].min(), values.hi.max())
        assert found.grid is not None
        assert values.grid is not None
        assert (found.grid.lo, found.grid.hi) == (values.grid.lo.min(), values.grid.hi.max())
        assert found.grid.scale.shape == ()


@pytest.mark.parametrize(("number", "integer"), [(0.0, 3.0), (-1.5, 0.0), (2.5, 8.0), (0.25, None), (1e-9, None)])
def test_one_more_number_stays_on_the_grid_where_it_is_of_it(number, integer):
    grid = IntegerGrid(np.float64([0.5]), np.float64([3]), np.float64([1]), np.float64([6]), IntFormat(3, signed=False))
    found = integer_of(grid, number)
    assert (None if found is None else found.item()) == integer
    more = joined(TensorValues(np.float64([-1]), np.float64([1.5]), grid), number)
    assert (more.lo.item(), more.hi.item()) == (min(-1, number), max(1.5, number))
    assert (more.grid is None) == (integer is None)
    if more.grid is not None:
        assert integer is not None
        assert (more.grid.lo.item(), more.grid.hi.item()) == (min(1, integer), max(6, integer))
        assert more.grid.datatype == (None if integer > 7 else grid.datatype)
    plain = joined(TensorValues(np.float64([-1]), np.float64([1.5])), number)
    assert plain.grid is None


def test_a_number_has_to_be_on_the_grid_of_every_channel():
    grid = IntegerGrid(np.float64([0.5, 2]), np.zeros(1), np.zeros(1), np.ones(1))
    assert integer_of(grid, 1.0) is None
    found = integer_of(grid, -4.0)
    assert found is not None
    assert found.tolist() == [-8, -2]


def test_a_declared_format_stays_where_it_has_all_of_the_integers():
    one = np.ones(1)
    declared = IntegerGrid(one, 0 * one, 0 * one, one, IntFormat(2, signed=True))
    assert datatype_with(declared, np.float64([-2, 1])) == IntFormat(2, signed=True)
    assert datatype_with(declared, np.float64([-2, 2])) is None
    assert datatype_with(IntegerGrid(one, one, one, one), one) is None
    assert datatype_with(IntegerGrid(one, one, one, one, FixedFormat(4, 2)), one) is None


def test_axes_are_counted_from_the_front():
    assert [normalised(a, 3) for a in (-3, -1, 0, 2)] == [0, 2, 0, 2]
    for axis in (-4, 3):
        with pytest.raises(NotFollowed, match=f"axis {axis} of a tensor of 3 axes"):
            normalised(axis, 3)
