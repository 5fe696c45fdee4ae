"""Masks of windows: the sets of taps that meet the input together, against every place of a kernel one by one."""

from __future__ import annotations

import numpy as np
import pytest

from anybit.analysis.values.bounds.windows import convolution_masks, require_few, transposed_masks

_Sets = set[tuple[bool, ...]]


def _sets(masks) -> _Sets:
    found = [tuple(row) for row in masks.tolist()]
    assert len({*found}) == len(found), "each set once"
    return {*found}


def _met(size: int, kernel: int, stride: int, dilation: int, before: int, after: int) -> _Sets:
    """The taps inside the input, for each start of the kernel that the padding leaves room for."""
    last = size + after - dilation * (kernel - 1) - 1
    return {
        tuple(0 <= start + dilation * tap < size for tap in range(kernel)) for start in range(-before, last + 1, stride)
    }


def _reached(size: int, kernel: int, stride: int, dilation: int, before: int, after: int, extra: int) -> _Sets:
    """The taps by which some element of the input is added to an output, for each output that is left."""
    end = stride * (size - 1) + dilation * (kernel - 1) + 1 + extra - after
    return {
        tuple(any(stride * i + dilation * tap == place for i in range(size)) for tap in range(kernel))
        for place in range(before, end)
    }


def _geometries(seed: int, count: int):
    """Sizes, kernels, strides, dilations and pads; inputs are short beside the kernel, or many times as long."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        kernel, stride, dilation = (int(n) for n in rng.integers(1, 5, 3))
        span = dilation * (kernel - 1) + 1
        size = int(rng.integers(1, 6 * (span + stride)))
        yield size, kernel, stride, dilation, *(int(n) for n in rng.integers(0, span + 2, 2))


def test_sets_of_a_convolution_are_those_of_its_windows():
    for size, kernel, stride, dilation, before, after in _geometries(1, 400):
        if size + before + after < dilation * (kernel - 1) + 1:
            continue
        given = {"strides": [1, stride], "dilations": [1, dilation], "pads": [1, before, 0, after]}
        of_rows, of_columns = convolution_masks([3, size], [2, kernel], given)
        assert _sets(of_rows) == {(False, True), (True, True)}
        assert _sets(of_columns) == _met(size, kernel, stride, dilation, before, after), (size, kernel, given)


def test_sets_of_a_transposed_convolution_are_those_of_its_outputs():
    for size, kernel, stride, dilation, before, after in _geometries(2, 400):
        for extra in {0, stride - 1}:
            span = stride * (size - 1) + dilation * (kernel - 1) + 1 + extra
            if span - before - after < 1:
                continue
            given = {"strides": [stride], "dilations": [dilation], "pads": [before, after], "output_padding": [extra]}
            (found,) = transposed_masks([size], [kernel], given)
            expected = _reached(size, kernel, stride, dilation, before, after, extra)
            assert _sets(found) == expected, (size, kernel, given)


def test_attributes_that_are_left_out_step_by_one_and_pad_nothing():
    assert [_sets(m) for m in convolution_masks([4, 9], [3, 2], {})] == [{(True,) * 3}, {(True,) * 2}]
    rows, columns = transposed_masks([4, 9], [3, 2], {})
    assert _sets(rows) == _reached(4, 3, 1, 1, 0, 0, 0)
    assert _sets(columns) == _reached(9, 2, 1, 1, 0, 0, 0)


@pytest.mark.parametrize(
    ("attributes", "pads", "beyond"),
    [
        ({"pads": [2, 1]}, (2, 1), False),
        ({"pads": [2, 1], "auto_pad": "NOTSET"}, (2, 1), False),
        ({"pads": [2, 1], "auto_pad": ""}, (2, 1), False),
        ({"pads": [2, 1], "output_shape": [5]}, (0, 0), True),
        ({"auto_pad": "SAME_UPPER"}, (0, 0), True),
    ],
)
def test_where_padding_is_computed_all_places_count_and_zeros_beyond(attributes, pads, beyond):
    (found,) = transposed_masks([3], [3], {"strides": [2]} | attributes)
    expected = _reached(3, 3, 2, 1, *pads, 0)
    assert (False,) * 3 not in expected
    assert _sets(found) == (expected | {(False,) * 3} if beyond else expected)


@pytest.mark.parametrize("strides", [[0, 1], [1, 0], [-1, 2]])
def test_a_stride_that_is_not_positive_is_refused(strides):
    with pytest.raises(ValueError, match="a stride that is not positive"):
        transposed_masks([3, 3], [2, 2], {"strides": strides})


def test_more_places_than_can_be_looked_at_are_refused():
    require_few(1 << 24)
    too_many = pytest.raises(ValueError, match="too many to follow")
    with too_many:
        require_few((1 << 24) + 1)
    with too_many:
        convolution_masks([1 << 30], [3], {})
    with too_many:
        convolution_masks([1], [5000], {"pads": [6000, 6000]})  # few starts, and few taps, of many places
    with too_many:
        transposed_masks([1 << 30], [3], {})
    with too_many:
        transposed_masks([1], [1 << 24], {"pads": [1 << 23, 4]})
    with too_many:
        transposed_masks([1], [6000], {})
