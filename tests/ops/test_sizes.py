"""required_elements: never fewer than what a node makes, and known before it is made."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from anybit.budget import limits
from anybit.errors import LimitError
from anybit.ops.evaluate import EVALUATION_ERRORS, evaluate_node
from anybit.ops.operator import DOMAIN
from anybit.ops.size_rules import RULES
from anybit.ops.sizes import ELEMENT_BYTES, refuse_large, require_memory, required_elements
from anybit.ops.traits import BROADCASTING

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
    ("MatMul", [_f(7), _f(7, 50)], {}),
    ("MatMul", [_f(60, 7), _f(7)], {}),
    ("MatMul", [_f(7), _f(7)], {}),
    ("Gemm", [_f(1, 30), _f(40, 1)], {"transA": 1, "transB": 1}),
    ("MatMulInteger", [np.ones((9, 1), np.uint8), np.ones((1, 9), np.int8)], {}),
    ("Concat", [_f(2, 3)] * 5, {"axis": 0}),
    ("Gather", [_f(1, 30), np.zeros((5, 6), np.int64)], {}),
    ("GatherND", [_f(3, 20), np.zeros((9, 1), np.int64)], {}),
    ("Conv", [_f(1, 2, 3, 3), _f(9, 2, 1, 1)], {"pads": [5, 6, 7, 8]}),
    ("Conv", [_f(1, 2, 5), _f(3, 2, 3)], {"auto_pad": "SAME_UPPER", "dilations": [1]}),
    ("ConvTranspose", [_f(1, 2, 3, 3), _f(2, 4, 2, 2)], {"strides": [5, 9]}),
    ("ConvTranspose", [_f(1, 2, 3), _f(2, 1, 2)], {"strides": [3], "output_shape": [40], "group": 2}),
    ("ConvTranspose", [_f(1, 2, 3), _f(2, 4, 2)], {"pads": [-30, 0]}),
    ("ConvTranspose", [_f(1, 2, 3), _f(2, 4, 2)], {"pads": [0, -30]}),
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


_NONE: dict[str, Any] = {}
_PADS, _SAME = {"pads": [1, 2, 3, 4]}, {"auto_pad": "SAME_UPPER", "strides": [2, 1], "dilations": [2, 1]}
_SCALE = _f()
STATED: list[tuple[str, list[Any], dict[str, Any], int]] = [
    ("AffineGrid", [_f(2, 2, 3), _i(2, 1, 9, 8)], _NONE, 2 * 1 * 9 * 8 * 3),
    ("Attention", [_f(2, 3, 5, 4), _f(2, 3, 7, 4), _f(2, 3, 7, 4)], _NONE, 2 * 3 * 5 * 7),
    ("Attention", [_f(2, 30, 8), _f(2, 40, 8), _f(2, 40, 8)], {"q_num_heads": 2}, 2 * 2 * 30 * 40),
    ("Attention", [_f(2, 30, 8), _f(2, 40, 8), _f(2, 40, 8)], _NONE, 2 * 30 * 40),
    *((op, [_f(3, 2, 4, 5)], {"kernel_shape": [3, 2]} | _PADS, 3 * 2 * (4 + 1 + 3) * (5 + 2 + 4))
      for op in ("AveragePool", "LpPool", "MaxPool")),
    ("MaxPool", [_f(1, 2, 4, 5)], {"kernel_shape": [3, 2]} | _SAME, 2 * (4 + 2 * 2 + 2) * (5 + 1 + 1)),
    ("MaxPool", [_f(1, 2, 4, 5)], {"kernel_shape": [3, 2], "ceil_mode": 1}, 2 * (4 + 2 + 1) * (5 + 1 + 1)),
    ("MaxPool", [_f(1, 2, 4, 5)], {"kernel_shape": [3, 2], "pads": [-1, 0, 3, -2]}, 2 * (4 + 3) * 5),
    ("Conv", [_f(2, 2, 3, 3), _f(9, 2, 1, 1)], {"pads": [5, 6, 7, 8]}, 2 * 9 * (3 + 5 + 7) * (3 + 6 + 8)),
    ("Conv", [_f(2, 4, 3), _f(1, 4, 2)], {"pads": [5, 6]}, 2 * 4 * (3 + 5 + 6)),
    ("Conv", [_f(1, 2, 4, 5), _f(3, 2, 3, 2)], _SAME, 3 * (4 + 2 * 2 + 2) * (5 + 1 + 1)),
    ("ConvInteger", [_f(2, 2, 3), _f(9, 2, 1)], {"pads": [5, 6]}, 2 * 9 * (3 + 5 + 6)),
    ("DeformConv", [_f(2, 2, 3), _f(9, 2, 1)], {"pads": [5, 6]}, 2 * 9 * (3 + 5 + 6)),
    ("QLinearConv", [_f(2, 2, 3), _SCALE, _SCALE, _f(9, 2, 1)], {"pads": [5, 6]}, 2 * 9 * (3 + 5 + 6)),
    ("ConvTranspose", [_f(1, 2, 3, 4), _f(2, 4, 2, 3)], {"strides": [5, 9]}, 4 * (5 * 2 + 2) * (9 * 3 + 3)),
    ("ConvTranspose", [_f(3, 4, 3), _f(4, 1, 2)], _NONE, 3 * 4 * (2 + 2)),
    ("ConvTranspose", [_f(1, 2, 3), _f(2, 4, 3)], {"strides": [5], "dilations": [4], "output_padding": [2]},
     4 * (5 * 2 + 4 * 2 + 1 + 2)),
    ("ConvTranspose", [_f(1, 2, 3), _f(2, 3, 2)], {"strides": [3], "output_shape": [40], "group": 2}, 2 * 3 * 40),
    ("ConvTranspose", [_f(1, 2, 3), _f(2, 3, 2)], {"strides": [3], "output_shape": [1, 3, 2]}, 3 * (3 * 2 + 2)),
    ("ConvTranspose", [_f(1, 2, 3), _f(2, 4, 2)], {"pads": [-30, 0]}, 4 * (4 + 30)),
    ("ConvTranspose", [_f(1, 2, 3), _f(2, 4, 2)], {"pads": [0, -30]}, 4 * (4 + 30)),
    ("ConvTranspose", [_f(1, 2, 3, 3), _f(2, 4, 2, 2)], {"pads": [-1, 2, -3, -4]}, 4 * (4 + 1 + 3) * (4 + 4)),
    ("BlackmanWindow", [_s(77)], _NONE, 77),
    ("HammingWindow", [_s(77)], _NONE, 77),
    ("HannWindow", [_s(77)], _NONE, 77),
    ("CenterCropPad", [_f(2, 3), _i(20, 30)], _NONE, 20 * 30),
    ("CenterCropPad", [_f(2, 3), _i(30)], {"axes": [1]}, 2 * 30),
    ("CenterCropPad", [_f(2, 3), _i(1, 30)], _NONE, 2 * 30),
    ("Concat", [_f(2, 3), _f(2, 4)], {"axis": 1}, 2 * 3 + 2 * 4),
    ("QLinearConcat", [_SCALE, _SCALE, _f(2, 3), _SCALE, _SCALE], _NONE, 2 * 3 + 4),
    ("SequenceInsert", [[_f(2, 3), _f(5)], _f(4)], _NONE, 2 * 3 + 5),
    ("Col2Im", [_f(2, 8, 1), _i(10, 11), _i(2, 2)], _NONE, 2 * 8 // 4 * 10 * 11),
    ("ConstantOfShape", [_i(3, 40, 5)], _NONE, 3 * 40 * 5),
    ("DFT", [_f(2, 4, 1), _s(50)], _NONE, 2 * 2 * 50),
    ("DFT", [_f(1, 4, 6, 1), _s(60), None], _NONE, 2 * 4 * 60),
    ("DFT", [_f(1, 4, 6, 1), _s(60), _s(1)], _NONE, 2 * 60 * 6),
    ("DFT", [_f(1, 4, 6, 1), _s(60)], {"axis": 2}, 2 * 4 * 60),
    ("DFT", [_f(1, 4, 6, 1), _s(2)], _NONE, 2 * 4 * 6),
    ("DFT", [_f(1, 4, 6, 1)], _NONE, 2 * 4 * 6),
    ("STFT", [_f(2, 100, 1), _s(5), None, _s(20)], _NONE, 2 * 200 * 20 // 5),
    ("STFT", [_f(2, 100, 1), _s(5), _f(15)], _NONE, 2 * 200 * 15 // 5),
    ("STFT", [_f(2, 100, 1), _s(5), None, _s(2)], _NONE, 2 * 200),
    ("Einsum", [_f(4, 5), _f(5, 6)], {"equation": "ab, bc -> ac"}, 24 + 6),  # the second input has 30
    ("Einsum", [_f(4, 5), _f(5, 6)], {"equation": "ab,bc"}, 4 * 5 * 6),
    ("Einsum", [_f(20), _f(30)], {"equation": "i,j->ij"}, 20 * 30),
    ("Expand", [_f(1, 4), _i(30, 1)], _NONE, 30 * 4),
    ("Expand", [_f(7, 1), _i(3, 7, 9)], _NONE, 3 * 7 * 9),
    ("Expand", [_f(2, 1), _i(3)], _NONE, 2 * 3),
    *((op, [_f(5, 2, 7), _f(2, 12, 7), _f(2, 12, 3)], _NONE, 4 * 5 * 2 * 2 * 3) for op in ("GRU", "LSTM", "RNN")),
    ("Gather", [_f(2, 30), np.zeros((5, 6), np.int64)], _NONE, 5 * 6 * 30),
    ("Gather", [_f(2, 30), np.zeros((5, 10), np.int64)], {"axis": 1}, 2 * 5 * 10),
    ("GatherND", [_f(3, 20), np.zeros((9, 1), np.int64)], _NONE, 9 * 20),
    ("GatherND", [_f(2, 3, 5), np.zeros((2, 7, 1), np.int64)], {"batch_dims": 1}, 2 * 7 * 5),
    ("Gemm", [_f(30, 2), _f(2, 40)], _NONE, 30 * 40),
    ("Gemm", [_f(2, 30), _f(40, 2)], {"transA": 1, "transB": 1}, 30 * 40),
    ("GridSample", [_f(2, 3, 2, 2), np.zeros((2, 9, 8, 2), np.float32)], _NONE, 2 * 3 * 9 * 8),
    ("MatMul", [_f(6, 1, 30, 2), _f(5, 2, 40)], _NONE, 6 * 5 * 30 * 40),
    ("MatMul", [_f(2), _f(3, 2, 50)], _NONE, 3 * 2 * 50),
    ("MatMul", [_f(1), _f(3, 1, 50)], _NONE, 3 * 50),
    ("MatMul", [_f(3, 50, 1), _f(1)], _NONE, 3 * 50),
    ("MatMul", [_f(30, 1), _f(1, 40)], _NONE, 30 * 40),
    ("FusedMatMul", [_f(30, 1), _f(1, 40)], _NONE, 30 * 40),
    ("MatMulInteger", [_f(30, 1), _f(1, 40)], _NONE, 30 * 40),
    ("QLinearMatMul", [_f(30, 1), _SCALE, _SCALE, _f(1, 40)], _NONE, 30 * 40),
    ("MatMulNBits", [_f(3, 4)], {"N": 50, "K": 4}, 50 * 4),
    ("MatMulNBits", [_f(9, 4)], {"N": 50, "K": 4}, 50 * 9),
    *((op, [_f(1, 2, 4, 4), _f(70, 5)], {"pooled_shape": [3, 2]}, 70 * 2 * 3 * 2) for op in ("MaxRoiPool", "RoiAlign")),
    ("RoiAlign", [_f(1, 2, 4, 4), _f(70, 4)], {"output_height": 3, "output_width": 4}, 70 * 2 * 3 * 4),
    ("RoiAlign", [_f(1, 5, 4, 4), _f(70, 4)], _NONE, 70 * 5),
    ("MaxUnpool", [_f(1, 3, 2, 2), _f(1, 3, 2, 2)], {"kernel_shape": [3, 2], "strides": [4, 5]}, 3 * (4 + 3) * (5 + 2)),
    ("MaxUnpool", [_f(1, 3, 2, 2), _f(1, 3, 2, 2)], {"kernel_shape": [3, 2]}, 3 * 4 * 3),
    ("MaxUnpool", [_f(1, 1, 2, 2), _f(1, 1, 2, 2), _i(1, 1, 9, 9)], {"kernel_shape": [3, 3]}, 9 * 9),
    ("MelWeightMatrix", [_s(8), _s(64), _s(8000), _SCALE, _SCALE], _NONE, 8 * (32 + 1)),
    ("Multinomial", [_f(3, 4)], {"sample_size": 50}, 3 * 50),
    ("NonZero", [_f(3, 4, 5)], _NONE, 3 * 60),
    ("NonZero", [_f()], _NONE, 1),
    ("OneHot", [_i(1, 2, 3), _s(50), _f(2)], _NONE, 3 * 50),
    ("Pad", [_f(2, 3), _i(1, 20, 3, 4)], _NONE, (2 + 1 + 3) * (3 + 20 + 4)),
    ("Pad", [_f(2, 3)], {"pads": [1, 20, 3, 4]}, (2 + 1 + 3) * (3 + 20 + 4)),
    ("Pad", [_f(2, 3), _i(9, 8), None, _i(-1)], _NONE, 2 * (3 + 9 + 8)),
    ("Pad", [_f(2, 3), _i(-1, 5, -1, -2)], _NONE, 2 * (3 + 5)),
    *((op, [], {"shape": [3, 50]}, 3 * 50) for op in ("RandomNormal", "RandomUniform")),
    ("Range", [_s(2), _s(100), _s(3)], _NONE, 33),
    ("Range", [_s(9), _s(-5), _s(-2)], _NONE, 7),
    ("Range", [_s(9), _s(-5), _s(2)], _NONE, 1),
    ("Resize", [_f(1, 1, 3, 4), None, np.float32([1, 1, 5, 2.5])], _NONE, 15 * 10),
    ("Resize", [_f(1, 1, 3, 4), None, np.float32([1, 1, 10, 0.25])], _NONE, 30 * 4),  # after the first of two axes
    ("Resize", [_f(1, 1, 3, 4), None, np.float32([0.5, 8])], {"axes": [-2, 3]}, 2 * 32),
    ("Resize", [_f(1, 1, 3, 4), None, None, _i(1, 1, 20, 7)], _NONE, 20 * 7),
    ("Resize", [_f(1, 1, 3, 4), None, None, _i(20, 4)],
     {"axes": [2, 3], "keep_aspect_ratio_policy": "not_smaller"}, 20 * 27),
    ("Resize", [_f(1, 1, 1, 4), None, None, _i(20, 4)],
     {"axes": [2, 3], "keep_aspect_ratio_policy": "not_smaller"}, 20 * 80),
    ("Resize", [_f(2, 3), np.float32([2, 3])], _NONE, 4 * 9),
    ("Upsample", [_f(2, 3), np.float32([2, 3])], _NONE, 4 * 9),
    ("Upsample", [_f(2, 3)], {"scales": [2.0, 3.0]}, 4 * 9),
    ("TfIdfVectorizer", [_i(1, 2)], {"ngram_indexes": [60, 3]}, 61),
    ("TfIdfVectorizer", [_f(3, 2)], {"ngram_indexes": [60, 3]}, 3 * 61),
    ("Tile", [_f(2, 3), _i(5, 7)], _NONE, 6 * 35),
    ("Where", [_f(3, 1, 1), _f(1, 5, 1), _f(7)], _NONE, 3 * 5 * 7),
    ("Add", [_f(40, 1), _f(1, 50)], _NONE, 40 * 50),
    ("Add", [_f(4, 3), _f(5, 1)], _NONE, 4 * 3),  # which do not broadcast
    *((op, [_f(40, 1), _SCALE, _SCALE, _f(1, 50)], _NONE, 40 * 50) for op in ("QLinearAdd", "QLinearMul")),
    ("Relu", [_f(4, 3)], _NONE, 4 * 3),
    ("Im2Col", [_f(1, 4, 5, 2)], {"kernel_size": [3, 2], "pad_amount": [1, 2, 3, 4]}, 3 * 2 * 2 * (4 + 4) * (5 + 6)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("op_type", "inputs", "attributes", "expected"), STATED, ids=lambda v: v if isinstance(v, str) else ""
)
def test_elements_are_those_of_the_formula_of_the_operator(op_type, inputs, attributes, expected):
    """Counted by hand: what the operator lays out, or the largest of its inputs."""
    assert required_elements(_node(op_type, inputs, attributes), inputs) == expected


@pytest.mark.parametrize("op_type", sorted(RULES))
def test_every_rule_is_stated(op_type):
    assert op_type in {row[0] for row in STATED} | BROADCASTING | {"QLinearWhere"}


def _made(dtype: int, shape: list[int | str] | None) -> ir.Model:
    """A model of two nodes, the second of which makes a tensor of this type and shape."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    y = helper.make_tensor_value_info("y", dtype, shape)
    nodes = [helper.make_node("Relu", ["x"], ["z"]), helper.make_node("Made", ["z"], ["y"], name="last", domain="own")]
    return ir.from_proto(helper.make_model(helper.make_graph(nodes, "g", [x], [y])))


@pytest.mark.parametrize(
    ("dtype", "bits"), [(TensorProto.FLOAT, 32), (TensorProto.INT4, 4), (TensorProto.STRING, 64), (TensorProto.BOOL, 8)]
)
def test_a_model_of_a_tensor_that_is_too_large_is_refused(dtype, bits):
    model = _made(dtype, [100, 20])
    with limits(memory=100 * 20 * bits // 8):
        refuse_large(model)
    with limits(memory=100 * 20 * bits // 8 - 1), pytest.raises(LimitError) as caught:
        refuse_large(model)
    assert "Made 'last'" in str(caught.value)
    assert f"{100 * 20 * bits // 8:,} bytes" in str(caught.value)


@pytest.mark.parametrize("shape", [None, ["N", 1000], [1, 1]])
def test_a_tensor_of_unknown_size_is_not_refused_for_it(shape):
    with limits(memory=4):
        refuse_large(_made(TensorProto.FLOAT, shape))


def test_what_is_held_counts_beside_what_a_node_makes():
    x = _f(4, 3)
    node = _node("Relu", [x], {})
    with limits(memory=12 * ELEMENT_BYTES + 5):
        require_memory(node, [x], held=5)
        with pytest.raises(LimitError, match="more memory than the limit"):
            require_memory(node, [x], held=6)


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
