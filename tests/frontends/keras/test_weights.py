"""weights: the smallest arrays that broadcast alike, grids that move with their arrays, and what is no model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from anybit.errors import FrontEndError
from anybit.frontends.keras import from_keras
from anybit.frontends.keras.weights import UniformGrid, Weight, compact

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=1, max_side=3)


@given(hnp.arrays(np.float32, SHAPES, elements=st.sampled_from([0.0, 1.0])))
def test_compact_broadcasts_to_the_array(array):
    small = compact(array)
    np.testing.assert_array_equal(np.broadcast_to(small, array.shape), array)
    assert not small.ndim or small.shape[0] > 1


@given(st.integers(0, 2**16))
def test_a_grid_moves_with_its_array(seed):
    rng = np.random.default_rng(seed)
    scale = 2.0 ** rng.integers(-4, 2, (2, 1, 3)).astype(np.float32)
    bits = rng.integers(2, 5, (3,)).astype(np.float32)
    grid = UniformGrid(scale, bits)
    weight = Weight(grid(rng.normal(size=(2, 4, 3)).astype(np.float32)), grid)
    assert weight.departure == 0
    moved = weight.transposed(2, 0, 1).reshaped(6, 4)
    assert moved.departure == 0
    np.testing.assert_array_equal(moved.array, weight.array.transpose(2, 0, 1).reshape(6, 4))


def test_departure_counts_steps():
    assert Weight(np.float32([0.5, 0.8]), UniformGrid(np.float32(0.5), np.float32(4))).departure == pytest.approx(0.4)
    assert Weight(np.float32([9.0]), UniformGrid(np.float32(1), np.float32(3))).departure == 6
    assert Weight(np.float32([np.nan]), UniformGrid(np.float32(1), np.float32(3))).departure == np.inf
    assert Weight(np.float32([0.3])).departure == 0


def test_what_is_no_model_is_refused():
    with pytest.raises(FrontEndError, match="no Keras model with known inputs: got object"):
        from_keras(object())
