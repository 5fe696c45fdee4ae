"""Neighbours along a row become channels; the rows that Im2Col makes stay the same."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from onnx import helper

from anybit.errors import UsageError
from anybit.ops.operator import DOMAIN
from anybit.passes.lowering.rebalance_im2col import RebalanceIm2Col
from tests.models import model
from tests.passes.rewriting import applied, assert_same_bits, operators, problems
from tests.strategies import examples


def _windows(height=4, width=8, channels=1, *, batch=1, **attributes) -> onnx.ModelProto:
    lists = {"kernel_size": [2, 4], "stride": [2, 4], "pad_amount": [0, 0, 0, 0], "dilations": [1, 1]}
    node = helper.make_node("Im2Col", ["x"], ["y"], name="rows", domain=DOMAIN, **(lists | attributes))
    return model([node], {}, inputs={"x": [batch, height, width, channels]}, outputs=["y"])


def test_before_and_after():
    after = applied(_windows(input_shape="(1,4,8,1)"), RebalanceIm2Col(2), modified=True)
    assert operators(after) == ["Reshape", "Im2Col"]
    rows = after.graph[1]
    assert [list(rows.attributes[k].as_ints()) for k in ("kernel_size", "stride")] == [[2, 2], [2, 2]]
    assert rows.attributes["input_shape"].as_string() == "(1,4,4,2)"
    assert list(rows.inputs[0].shape) == [1, 4, 4, 2]


@examples(60)
@given(
    divisor=st.sampled_from([1, 2, 3]),
    multiples=st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(0, 1), st.integers(0, 1), st.integers(2, 4)),
    down=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(0, 1), st.integers(0, 1), st.integers(1, 2)),
    batch=st.sampled_from([1, 2, "N"]),
    pad_value=st.integers(-1, 1),
)
def test_rows_are_the_same(divisor, multiples, down, batch, pad_value):
    kernel, stride, left, right, width = (m * divisor for m in multiples)
    rows, step, above, below, dilation = down
    assume((rows - 1) * dilation < 5 + above + below and kernel <= width + left + right)
    before = _windows(
        5, width, batch=batch, kernel_size=[rows, kernel], stride=[step, stride],
        pad_amount=[above, left, below, right], dilations=[dilation, 1], pad_value=pad_value,
    )  # fmt: skip
    after = applied(before, RebalanceIm2Col(divisor), modified=divisor > 1)
    assert ("Reshape" in operators(after)) == (divisor > 1)
    size = 3 if batch == "N" else batch
    feeds = {"x": np.random.default_rng(0).normal(size=(size, 5, width, 1)).astype(np.float32)}
    assert_same_bits(before, after, feeds, ("reference", "onnxruntime"))


@pytest.mark.parametrize(
    ("proto", "problem"),
    [
        (_windows(channels=2), "no image of one channel and known width"),
        (_windows(width="W"), "no image of one channel and known width"),
        (_windows(width=9), "the width does not divide"),
        (_windows(kernel_size=[2, 3]), "the width does not divide"),
        (_windows(pad_amount=[0, 1, 0, 0]), "the width does not divide"),
        (_windows(dilations=[1, 2]), "taps along the width are no neighbours"),
        (_windows(depthwise=1), "a depthwise convolution follows, which keeps channels apart"),
    ],
)
def test_what_is_no_such_image_stays(proto, problem):
    assert problems(applied(proto, RebalanceIm2Col(2), modified=False)) == {"Im2Col 'rows'": problem}


def test_a_number_of_channels_is_positive():
    with pytest.raises(UsageError, match="channels"):
        applied(_windows(), RebalanceIm2Col(0))
