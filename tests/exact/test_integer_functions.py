"""Keys of numbers: equal for equal content, different for whatever could be told apart."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from anybit.exact.integer_functions import Root, digest, function_on
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
