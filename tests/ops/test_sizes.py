"""required_elements: never fewer than what a node makes, and known before it is made."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from anybit.ops.evaluate import EVALUATION_ERRORS, evaluate_node
from anybit.ops.operator import DOMAIN
from anybit.ops.sizes import ELEMENT_BYTES, required_elements

RNG = np.random.default_rng(0)


def _f(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def _i(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def _s(value: float, dtype: Any = np.int64) -> np.ndarray:
    return np.asarray(value, dtype)


GROWING: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("ConstantOfShape", [_i(3, 40, 5)], {}),
    ("Expand", [_f(1, 4), _i(30, 1)], {}),
    ("Expand", [_f(7, 1), _i(3, 7, 9)], {}),
    ("Tile", [_f(2, 3), _i(5, 7)], {}),
    ("Range", [_s(2), _s(100), _s(3)], {}),
    ("Range", [_s(9.0, np.float32), _s(-5.0, np.float32), _s(-0.5, np.float32)], {}),
    ("OneHot", [_i(1, 2, 3), _s(50), np.float32([0, 1])], {}),
    ("Pad", [_f(2, 3), _i(1, 20, 3, 4)], {}),
    ("Pad", [_f(2, 3), _i(9, 9), _s(0, np.float32), _i(-1)], {}),
    ("Resize", [_f(1, 1, 3, 4), None, np.float32([1, 1, 5, 2.5])], {"mode": "nearest"}),
    ("Resize", [_f(1, 1, 3, 4), None, np.float32([0.5, 8])], {"mode": "nearest", "axes": [2, 3]}),
    ("Resize", [_f(1, 1, 3, 4), None, None, _i(1, 1, 20, 7)], {"mode": "linear"}),
    (
        "Resize",
        [_f(1, 1, 3, 4), None, None, _i(20, 4)],
        {"mode": "nearest", "axes": [2, 3], "keep_aspect_ratio_policy": "not_smaller"},
    ),
    ("Add", [_f(40, 1), _f(1, 50)], {}),
    ("Where", [np.ones((3, 1, 1), bool), _f(1, 5, 1), _f(7)], {}),
    ("Max", [_f(3, 1, 1), _f(5, 1), _f(7)], {}),
    ("MatMul", [_f(30, 1), _f(1, 40)], {}),
    ("MatMul", [_f(6, 1, 30, 2), _f(5, 2, 40)], {}),
    ("MatMul", [_f(7), _f(3, 7, 50)], {}),
    ("Gemm", [_f(1, 30), _f(40, 1)], {"transA": 1, "transB": 1}),
    ("MatMulInteger", [np.ones((9, 1), np.uint8), np.ones((1, 9), np.int8)], {}),
    ("Concat", [_f(2, 3)] * 5, {"axis": 0}),
    ("Gather", [_f(1, 30), np.zeros((5, 6), np.int64)], {}),
    ("GatherND", [_f(3, 20), np.zeros((9, 1), np.int64)], {}),
    ("Conv", [_f(1, 2, 3, 3), _f(9, 2, 1, 1)], {"pads": [5, 6, 7, 8]}),
    ("Conv", [_f(1, 2, 5), _f(3, 2, 3)], {"auto_pad": "SAME_UPPER", "dilations": [1]}),
    ("ConvTranspose", [_f(1, 2, 3, 3), _f(2, 4, 2, 2)], {"strides": [5, 9]}),
    ("ConvTranspose", [_f(1, 2, 3), _f(2, 1, 2)], {"strides": [3], "output_shape": [40], "group": 2}),
    ("MaxPool", [_f(1, 2, 4, 4)], {"kernel_shape": [3, 3], "pads": [2, 2, 2, 2]}),
    ("AveragePool", [_f(1, 2, 5)], {"kernel_shape": [2], "strides": [2], "ceil_mode": 1}),
    ("Einsum", [_f(20), _f(30)], {"equation": "i,j->ij"}),
    ("Einsum", [_f(4, 5), _f(5, 6)], {"equation": "ab,bc"}),
    ("NonZero", [np.ones((3, 4, 5), bool)], {}),
    ("HannWindow", [_s(77)], {}),
    ("MelWeightMatrix", [_s(8), _s(64), _s(8000), _s(0.0, np.float32), _s(4000.0, np.float32)], {}),
    ("GridSample", [_f(1, 3, 2, 2), np.zeros((1, 9, 8, 2), np.float32)], {}),
    ("AffineGrid", [_f(1, 2, 3), _i(1, 1, 9, 8)], {}),
    ("DFT", [_f(1, 4, 1), _s(50)], {}),
    ("MaxUnpool", [_f(1, 1, 2, 2), np.zeros((1, 1, 2, 2), np.int64)], {"kernel_shape": [3, 3], "strides": [4, 4]}),
    ("TfIdfVectorizer", [_i(1, 2)], {
        "mode": "TF", "min_gram_length": 1, "max_gram_length": 1, "max_skip_count": 0, "ngram_counts": [0],
        "ngram_indexes": [60], "pool_int64s": [1],
    }),
    ("Col2Im", [_f(1, 4, 9), _i(4, 4), _i(2, 2)], {}),
    ("CenterCropPad", [_f(2, 3), _i(20, 30)], {}),
]  # fmt: skip


def _node(op_type: str, inputs: list[Any], attributes: dict[str, Any], domain: str = "") -> ir.Node:
    values = [None if a is None else ir.Value(name=f"i{k}") for k, a in enumerate(inputs)]
    return ir.node(op_type, values, attributes, domain=domain)


@pytest.mark.parametrize(("op_type", "inputs", "attributes"), GROWING, ids=lambda v: v if isinstance(v, str) else "")
def test_it_is_never_less_than_what_is_made(op_type, inputs, attributes):
    node = _node(op_type, inputs, attributes)
    made = evaluate_node(node, inputs, {"": 20})
    assert made is not None
    largest = max(a.size for a in made)
    assert largest <= required_elements(node, inputs)
    assert required_elements(node, inputs) <= 60 * max(largest, *(a.size for a in inputs if a is not None))


def test_im2col_of_ours_is_known_as_well():
    x = _f(1, 4, 4, 2)
    attributes = {"stride": [1, 1], "kernel_size": [3, 3], "pad_amount": [2, 2, 2, 2], "input_shape": "(1,4,4,2)"}
    node = _node("Im2Col", [x], attributes, DOMAIN)
    made = evaluate_node(node, [x], {"": 20, DOMAIN: 1})
    assert made is not None
    assert made[0].size <= required_elements(node, [x])


@pytest.mark.parametrize(("op_type", "inputs", "attributes"), GROWING, ids=lambda v: v if isinstance(v, str) else "")
def test_what_is_larger_than_wanted_is_not_computed(op_type, inputs, attributes):
    node = _node(op_type, inputs, attributes)
    assert evaluate_node(node, inputs, {"": 20}, most=required_elements(node, inputs) - 1) is None


def test_parameters_along_an_axis_do_not_broadcast():
    arrays = [np.ones((64, 64, 1, 1), np.int8), _f(64), np.zeros(64, np.int8)]
    assert required_elements(_node("DequantizeLinear", arrays, {"axis": 0}), arrays) == 64 * 64


@pytest.mark.parametrize("value", [2**62, -(2**62), -1, 0])
@pytest.mark.parametrize(("op_type", "inputs", "attributes"), GROWING, ids=lambda v: v if isinstance(v, str) else "")
def test_any_sizes_have_an_answer(op_type, inputs, attributes, value):
    """Sizes of any sign and magnitude: an estimate, and either a small result or an error that says why."""
    wild = [np.full_like(a, value) if a is not None and a.dtype == np.int64 else a for a in inputs]
    node = _node(op_type, wild, attributes)
    assert required_elements(node, wild) * ELEMENT_BYTES >= 0
    try:
        made = evaluate_node(node, wild, {"": 20}, most=1 << 16)
    except EVALUATION_ERRORS:
        return
    assert made is None or all(a.size <= 1 << 20 for a in made)
