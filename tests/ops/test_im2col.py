"""Im2Col: windows as rows, against slices of numpy and the numbers of the existing tool."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from anybit.cleanup.infer_shapes import InferShapes
from anybit.io.load import load
from anybit.ops.im2col import IM2COL, parse_shape
from tests.models import DOMAIN, model
from tests.ops.calling import call, rules
from tests.ops.running import assert_same, run_body, run_expanded
from tests.strategies import FLOATS, examples


@st.composite
def _cases(draw):
    kernel, stride, dilations = ([draw(st.integers(1, m)) for _ in range(2)] for m in (3, 3, 2))
    pads = [draw(st.integers(0, 2)) for _ in range(4)]
    sizes = [draw(st.integers((k - 1) * d + 1, 7)) for k, d in zip(kernel, dilations, strict=True)]
    shape = (draw(st.integers(1, 3)), *sizes, draw(st.integers(1, 3)))
    x = np.random.default_rng(draw(st.integers(0, 99))).normal(size=shape).astype(draw(st.sampled_from(FLOATS)))
    attributes = {"kernel_size": kernel, "stride": stride, "pad_amount": pads, "dilations": dilations}
    return x, attributes | {"pad_value": draw(st.integers(-3, 3))}


def _by_slices(x, kernel_size, stride, pad_amount, dilations, pad_value):
    """One window after the other."""
    (top, left, bottom, right), (kh, kw), (dh, dw), (sh, sw) = pad_amount, kernel_size, dilations, stride
    padded = np.pad(x, [(0, 0), (top, bottom), (left, right), (0, 0)], constant_values=x.dtype.type(pad_value))
    height, width = padded.shape[1] - (kh - 1) * dh, padded.shape[2] - (kw - 1) * dw
    rows = [
        [padded[:, i : i + (kh - 1) * dh + 1 : dh, j : j + (kw - 1) * dw + 1 : dw] for j in range(0, width, sw)]
        for i in range(0, height, sh)
    ]
    return np.stack([np.stack([w.reshape(len(x), -1) for w in row], axis=1) for row in rows], axis=1)


@given(_cases())
@examples(100)
def test_windows_are_rows(case) -> None:
    x, attributes = case
    expected = _by_slices(x, **attributes)
    assert_same(IM2COL.evaluate([x], attributes), expected)
    lists = {n: tuple(v) if isinstance(v, list) else v for n, v in attributes.items()}
    assert_same(run_body(IM2COL, [x], lists), expected)
    assert_same(run_expanded(IM2COL, [x], lists), expected)
    for free in ([0], [0, 1, 2]):
        shape = [f"d{i}" if i in free else n for i, n in enumerate(x.shape)]
        stated = {"input_shape": str((1, *x.shape[1:]))} if len(free) > 1 else {}
        node = helper.make_node("Im2Col", ["x"], ["y"], name="n", domain=DOMAIN, **attributes, **stated)
        loaded = load(model([node], {}, inputs={"x": shape}, outputs=["y"]))
        InferShapes()(loaded)
        assert list(loaded.graph.outputs[0].shape)[1:] == list(expected.shape)[1:]


def test_numbers_of_the_existing_tool() -> None:
    """What qonnx 1.0.0 makes of the same nodes."""
    x = np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2)
    attributes = {"stride": [2, 1], "kernel_size": [2, 2], "pad_amount": [1, 1, 0, 1], "pad_value": -5}
    assert IM2COL.evaluate([x], attributes).tolist() == [
        [
            [[-5, -5, -5, -5, -5, -5, 0, 1], [-5, -5, -5, -5, 0, 1, 2, 3], [-5, -5, -5, -5, 2, 3, -5, -5]],
            [[-5, -5, 4, 5, -5, -5, 8, 9], [4, 5, 6, 7, 8, 9, 10, 11], [6, 7, -5, -5, 10, 11, -5, -5]],
        ]
    ]
    x = np.arange(15, dtype=np.float32).reshape(1, 5, 3, 1)
    attributes = {"stride": [1, 1], "kernel_size": [2, 3], "dilations": [2, 1], "depthwise": 1}
    expected = [[[[0, 1, 2, 6, 7, 8]], [[3, 4, 5, 9, 10, 11]], [[6, 7, 8, 12, 13, 14]]]]
    assert IM2COL.evaluate([x], attributes).tolist() == expected


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, []),
        ({"input_shape": "(1, 5,6,2)"}, []),
        ({"input_shape": "[1,5,6,2]"}, []),
        ({"input_shape": "(1,6,5,2)"}, ["input-shape"]),
        ({"input_shape": "(5,6,2)"}, ["input-shape"]),
        ({"input_shape": "__import__('os')"}, ["input-shape"]),
        ({"kernel_size": (3,)}, ["windows"]),
        ({"stride": (0, 1)}, ["windows"]),
        ({"pad_amount": (1, 1)}, ["windows"]),
    ],
)
def test_rules(attributes, expected) -> None:
    given_attributes = {"kernel_size": (3, 3), "stride": (1, 1)} | attributes
    assert rules(IM2COL, call(IM2COL, {}, x_shape=(None, 5, 6, 2), attributes=given_attributes)) == expected


def test_images_only() -> None:
    attributes = {"kernel_size": (1, 1), "stride": (1, 1)}
    assert rules(IM2COL, call(IM2COL, {}, x_shape=(1, 2, 3), attributes=attributes)) == ["rank"]
    with pytest.raises(ValueError, match="expected"):
        IM2COL.evaluate([np.ones((1, 2, 3), np.float32)], attributes)
    with pytest.raises(TypeError):
        IM2COL.evaluate([np.ones((1, 2, 3, 1), np.int64)], attributes)


def test_shapes_as_text() -> None:
    assert parse_shape("( 1,28, 28 ,1 )") == (1, 28, 28, 1)
    assert parse_shape("") is None
