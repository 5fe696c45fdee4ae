"""Windows: which elements a mean adds up, or that it is not known."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from anybit.exact.windows import Windows, windows_of_mean


def _windows(op_type: str, shape, *, given=None, **attributes) -> Windows | None:
    node = ir.node(op_type, [ir.Value(name="x")], attributes)
    return windows_of_mean(node, shape, given)


@pytest.mark.parametrize(
    ("axes", "kept", "expected"),
    [
        ((2, 3), 1, Windows((4, 5))),
        ((-1, -2), 1, Windows((4, 5))),
        ((2, 3), 0, Windows((4, 5), axes=((2, 3), False))),
        ((1,), 0, Windows((3,), axes=((1,), False))),
        ((3,), 1, Windows((5,), axes=((3,), True))),
        ((0, 2, 3), 1, None),  # over samples
        ((), 1, None),  # over all
    ],
)
def test_the_axes_of_a_mean(axes, kept, expected):
    found = _windows("ReduceMean", (2, 3, 4, 5), axes=axes, keepdims=kept)
    assert found == expected
    assert found == _windows("ReduceMean", (2, 3, 4, 5), given=np.int64(axes), keepdims=kept)
    if found is not None:
        assert found.elements == np.prod([(2, 3, 4, 5)[a] for a in axes])
        assert _windows("ReduceMean", (2, None, None, None), axes=axes, keepdims=kept) is None


def test_pools_and_means_over_one_window_are_one():
    whole = _windows("GlobalAveragePool", (1, 3, 4, 5))
    assert whole == Windows((4, 5))
    assert whole == _windows("AveragePool", (1, 3, 4, 5), kernel_shape=(4, 5), strides=(7, 7))
    assert _windows("GlobalAveragePool", (1, 3, None, 5)) is None


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, Windows((2, 2), (1, 1), (1, 1))),
        ({"strides": (2, 1)}, Windows((2, 2), (2, 1), (1, 1))),
        ({"dilations": (1, 2)}, Windows((2, 2), (1, 1), (1, 2))),
        ({"pads": (0, 0, 0, 0)}, Windows((2, 2), (1, 1), (1, 1))),
        ({"auto_pad": "VALID"}, Windows((2, 2), (1, 1), (1, 1))),
        ({"pads": (0, 1, 0, 0)}, None),
        ({"auto_pad": "SAME_UPPER"}, None),
        ({"ceil_mode": 1}, None),
    ],
)
def test_windows_of_a_pool_that_reach_over_no_edge(attributes, expected):
    assert _windows("AveragePool", (1, 3, 4, 5), kernel_shape=(2, 2), **attributes) == expected


@pytest.mark.parametrize("shape", [(1, 3, None, 5), (1, 3, 4, None)])
def test_windows_of_a_free_space_are_not_known(shape):
    assert _windows("AveragePool", shape, kernel_shape=(2, 2)) is None


def test_means_of_tensors_without_space_or_without_axes_are_not_followed():
    assert _windows("GlobalAveragePool", (1, 3)) is None
    assert _windows("ReduceMean", (), axes=(0,)) is None
    assert _windows("ReduceMean", (2, 3, 4, 5)) is None
    assert _windows("ReduceMean", (2, 3, 4, 5), axes=(2, 3)) == Windows((4, 5))
