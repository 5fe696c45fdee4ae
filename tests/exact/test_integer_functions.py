"""Keys of numbers: equal for equal content, different for whatever could be told apart."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from anybit.exact.integer_functions import Root, digest, function_on, kernel_of
from anybit.exact.runs import runs_of
from anybit.exact.step_function import Proof

_PARTS = [
    (),
    ("",),
    ("a",),
    ("a", "b"),
    ("ab",),
    (b"a",),
    (1,),
    ("1",),
    (1.0,),
    (True,),
    (None,),
    ((),),
    ((1,),),
    (1, 2),
    ((1, 2),),
    (np.zeros(2, np.float32),),
    (np.zeros(2, np.float64),),
    (np.zeros((2, 1), np.float32),),
    (np.zeros((1, 2), np.float32),),
    (-np.zeros(2, np.float32),),
    (np.zeros(3, np.float32),),
    (np.zeros(2, np.int32),),
    (np.zeros(2, np.float32).tobytes(),),
]


def test_different_parts_have_different_keys():
    for one, other in combinations(_PARTS, 2):
        assert digest(*one) != digest(*other), (one, other)


def test_equal_parts_have_one_key_however_they_lie_in_memory():
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert digest("x", array) == digest("x", np.asfortranarray(array)) == digest("x", np.concatenate([array])[:3])


def test_integers_of_a_root():
    root = Root(b"key", np.zeros(2), np.full(2, 3.0), step=2, offset=np.float64([-3, 1]))
    np.testing.assert_array_equal(root.integers(np.float64([[0, 0], [3, 1]])), [[-3, 1], [3, 3]])


def _function(table, *, key: bytes = b"key", axis: int = 1, rank: int = 2):
    values = np.asarray(table, np.float32)
    root = Root(key, np.zeros(values.shape[1]), np.full(values.shape[1], len(values) - 1.0))
    return function_on(
        root,
        lambda q: np.take_along_axis(values, q.astype(np.int64), axis=0),
        rank=rank,
        axis=axis,
        channels=values.shape[1],
    )


def _content(table, **options) -> bytes | None:
    function = _function(table, **options)
    return replace(function, runs=runs_of(function.steps)).content()


def test_functions_that_agree_everywhere_have_one_content():
    table = [[0, 0], [0, 1], [1, 1]]
    assert _content(table) == _content(table)
    assert _content([[-0.0, 0], [0, 1], [1, 1]]) == _content(table), "a key leaves the sign of zero aside"
    others = (
        _content([[0, 0], [0, 1], [1, 2]]),
        _content([[0, 0], [1, 1], [1, 1]]),
        _content(table, key=b"other"),
        _content(table, axis=2, rank=3),
    )
    assert _content(table) not in others
    assert _content([[0], [1]], axis=1, rank=3) == _content([[0], [1]], axis=2, rank=3), "one function for all elements"
    assert _function(table).content() is None


def test_values_lie_along_the_axis_of_the_channels():
    function = _function([[0, 10], [1, 11], [2, 12]], axis=2, rank=4)
    assert function.channels == 2
    laid = function.laid(np.float32([[0, 10], [1, 11], [2, 12]]))
    assert laid.shape == (3, 1, 2, 1)
    np.testing.assert_array_equal(laid[:, 0, 1, 0], [10, 11, 12])
    single = _function([[0], [1], [2]], rank=3)
    assert single.laid(np.float32([[5], [6]])).shape == (2, 1, 1)


@pytest.mark.parametrize(("rising", "proof"), [(None, Proof.NONE), (np.ones(2), Proof.COMPOSITION)])
def test_a_direction_is_a_proof_by_composition(rising, proof):
    root = Root(b"key", np.zeros(2), np.ones(2))
    assert function_on(root, lambda q: q, rank=2, channels=2, rising=rising).steps.proof is proof


def _kernel(table, scale):
    function = _function(table)
    return kernel_of(replace(function, runs=runs_of(function.steps)), np.float64(scale))


@pytest.mark.parametrize("channels", [1, 2])
def test_integers_behind_a_table_are_those_that_it_is_made_of(channels):
    rng = np.random.default_rng(channels)
    for _ in range(60):
        table = np.sort(rng.integers(-6, 7, (5, channels)) * rng.choice([1, 2, 3]), axis=0).astype(np.float64)
        scale = np.exp2(rng.integers(-3, 3, rng.choice([1, channels])).astype(np.float64))
        found = _kernel(table * scale, scale)
        assert found is not None
        factor = int(np.gcd.reduce(np.abs(table.astype(int)).reshape(-1))) or 1
        assert found.factor == factor
        np.testing.assert_array_equal(found.scale, scale * factor)
        assert (found.lo, found.hi) == (table.min() / factor, table.max() / factor)
        apart = np.gcd.reduce((table / factor - found.lo).astype(int).reshape(-1))
        assert found.step == max(apart, 1)


def test_values_that_are_no_multiples_of_a_scale_have_no_integers():
    assert _kernel([[0.0], [0.5], [0.7]], [0.5]) is None
    assert _kernel([[0.3], [0.7], [1.2]], [0.5]) is None
    assert _kernel([[0.0], [np.inf]], [0.5]) is None
    assert _kernel([[0.0], [2.0**24]], [1.0]) is not None
    assert _kernel([[0.0], [2.0**25]], [1.0]) is None
    assert _kernel([[0.0, 1], [1, 2]], [1.0, 1, 1]) is None
    assert kernel_of(_function([[0], [1]]), np.ones(1)) is None


def test_tables_of_one_content_have_one_key_whatever_their_scale():
    one, scaled = _kernel([[0, 0], [1, 1]], [1.0]), _kernel([[0, 0], [0.5, 0.5]], [0.5])
    single, other = _kernel([[0], [1]], [1.0]), _kernel([[0, 0], [1, 2]], [1.0])
    later = _kernel([[0, 0], [0, 1], [1, 1]], [1.0])
    keys = [None if kernel is None else kernel.key for kernel in (one, scaled, single, other, later)]
    assert None not in keys
    assert len({*keys}) == 3
    assert keys[0] == keys[1] == keys[2]
