"""Multiply-accumulates of each operator against counting them one by one."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from anybit.analysis.cost.cost import Cost, cost
from anybit.errors import InvalidModelError, Severity
from tests.models import model
from tests.strategies import examples


def counted(nodes, initializers, *, inputs, **options) -> Cost:
    return cost(model(nodes, initializers, inputs=inputs, outputs=["y"], **options))


def some_zeros(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return (rng.integers(-2, 3, shape) * 0.5).astype(np.float32)


@st.composite
def convolutions(draw: st.DrawFn):
    rank = draw(st.integers(1, 2))
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    channels, outputs = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    kernel = draw(st.tuples(*[st.integers(1, 3)] * rank))
    strides = draw(st.tuples(*[st.integers(1, 3)] * rank))
    dilations = draw(st.tuples(*[st.integers(1, 2)] * rank))
    spatial = draw(st.tuples(*[st.integers(5, 8)] * rank))
    pads = draw(st.tuples(*[st.integers(0, 2)] * (2 * rank)))
    return groups, channels, outputs, kernel, strides, dilations, spatial, pads


def starts(size, pads, kernel, stride, dilation):
    """Where the windows of one axis begin."""
    reach = (kernel - 1) * dilation
    return range(-pads[0], size + pads[1] - reach, stride)


@given(convolutions(), st.integers(0, 99))
@examples(25)
def test_conv(geometry, seed):
    groups, channels, outputs, kernel, strides, dilations, spatial, pads = geometry
    rank = len(kernel)
    w = some_zeros(np.random.default_rng(seed), outputs, channels // groups, *kernel)
    axes = [starts(spatial[a], (pads[a], pads[a + rank]), kernel[a], strides[a], dilations[a]) for a in range(rank)]
    dense = sparse = 0
    for _ in product(*axes):
        for index in np.ndindex(w.shape):
            dense += 1
            sparse += w[index] != 0
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=groups, strides=strides, dilations=dilations, pads=pads)
    result = counted([node], {"w": w}, inputs={"x": [1, channels, *spatial]})
    assert (result.dense.macs, result.sparse.macs) == (dense, sparse)
    assert result.dense.bit_operations == 32 * 32 * dense
    assert (result.dense.weight_bits, result.sparse.weight_bits) == (32 * w.size, 32 * np.count_nonzero(w))
    assert result.dense.activation_bits == 32 * channels * np.prod(spatial)


@pytest.mark.parametrize(
    ("auto_pad", "positions"), [("SAME_UPPER", 4 * 4), ("SAME_LOWER", 4 * 4), ("VALID", 3 * 3), ("NOTSET", 3 * 3)]
)
def test_conv_with_automatic_padding(auto_pad, positions):
    node = helper.make_node("Conv", ["x", "w"], ["y"], strides=[2, 2], auto_pad=auto_pad)
    result = counted([node], {"w": np.ones((5, 2, 3, 3), np.float32)}, inputs={"x": [1, 2, 8, 8]})
    assert result.dense.macs == positions * 5 * 2 * 9


@given(convolutions(), st.integers(0, 99))
@examples(25)
def test_conv_transpose(geometry, seed):
    groups, channels, outputs, kernel, strides, dilations, spatial, _ = geometry
    w = some_zeros(np.random.default_rng(seed), channels, outputs // groups, *kernel)
    dense = sparse = 0
    for _, channel in product(np.ndindex(*spatial), range(channels)):
        for index in np.ndindex(w.shape[1:]):
            dense += 1
            sparse += w[(channel, *index)] != 0
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], group=groups, strides=strides, dilations=dilations)
    result = counted([node], {"w": w}, inputs={"x": [1, channels, *spatial]})
    assert (result.dense.macs, result.sparse.macs) == (dense, sparse)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((1, 6), (6, 4)),
        ((1, 5, 6), (6, 4)),
        ((1, 3, 5, 6), (6, 4)),
        ((1, 3, 5, 6), (3, 6, 4)),
        ((1, 3, 5, 6), (1, 1, 6, 4)),
        ((1, 5, 6), (2, 6, 4)),
        ((1, 5, 6), (6,)),
        ((1, 0, 6), (6, 4)),
        ((1, 6), (6, 0)),
        ((1, 0), (0, 4)),
    ],
)
@pytest.mark.parametrize("weights_first", [False, True])
def test_mat_mul(a, b, weights_first):
    """The oracle multiplies ones: each element of the result is the number of its terms."""
    w = some_zeros(np.random.default_rng(1), *b)
    names, arrays = ["x", "w"], [np.ones(a), w]
    if weights_first and len(b) > 1:
        names, arrays = ["w", "x"], [np.swapaxes(w, -1, -2), np.ones((*a[:-2], a[-1], a[-2]))]
        w = arrays[0]
    dense = np.matmul(*[np.ones(x.shape) for x in arrays]).sum()
    sparse = np.matmul(*[(x != 0).astype(float) for x in arrays]).sum()
    x = arrays[names.index("x")]
    result = counted([helper.make_node("MatMul", names, ["y"])], {"w": w}, inputs={"x": x.shape})
    known = (None, None) if not x.shape[0] else (dense, sparse)  # a batch of size 0 is one that is not known
    assert (result.dense.macs, result.sparse.macs) == known
    assert result.dense.weight_bits == 32 * w.size


@pytest.mark.parametrize(("trans_a", "trans_b"), list(product((0, 1), (0, 1))))
def test_gemm(trans_a, trans_b):
    """Inputs are no batch here: with transA the samples stand on axis 1."""
    a, w = np.ones((1, 6)), some_zeros(np.random.default_rng(2), 6, 4)
    sparse = ((a != 0).astype(int) @ (w != 0).astype(int)).sum()
    a, w = a.T if trans_a else a, np.ascontiguousarray(w.T) if trans_b else w
    node = helper.make_node("Gemm", ["x", "w", "c"], ["y"], transA=trans_a, transB=trans_b)
    result = counted([node], {"w": w, "c": np.ones(4, np.float32)}, inputs={"x": a.shape})
    assert (result.dense.macs, result.sparse.macs) == (24, sparse)
    assert result.dense.weight_bits == 24 * 32


def test_a_product_of_two_activations_has_no_weights():
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["x", "t"], ["y"]),
    ]
    result = counted(nodes, {}, inputs={"x": [1, 5, 3]})
    assert result.dense.macs == result.sparse.macs == 5 * 5 * 3
    assert result.dense.weight_bits == 0
    assert result.dense.activation_bits == 32 * 15  # the transpose is the same tensor


@pytest.mark.parametrize(
    ("equation", "a", "b", "macs"),
    [
        ("bij,jk->bik", (1, 5, 3), (3, 4), 60),
        ("bhqd,bhkd->bhqk", (1, 2, 5, 3), (1, 2, 7, 3), 2 * 5 * 7 * 3),
        ("ij,jk", (1, 3), (3, 4), 12),
        ("i j , j k -> i k", (1, 3), (3, 4), 12),
        ("bi,ji->bij", (1, 3), (4, 3), 12),
    ],
)
def test_einsum(equation, a, b, macs):
    node = helper.make_node("Einsum", ["x", "w"], ["y"], equation=equation)
    result = counted([node], {"w": np.ones(b, np.float32)}, inputs={"x": a})
    assert result.dense.macs == macs


@pytest.mark.parametrize("equation", ["bij,jk->bi", "...ij,jk->...ik", "bii,ik->bk"])
def test_other_equations_are_left_open(equation):
    node = helper.make_node("Einsum", ["x", "w"], ["y"], equation=equation)
    result = counted([node], {"w": np.ones((3, 4), np.float32)}, inputs={"x": [1, 3, 3]})
    assert result.dense.macs is None
    (finding,) = result.findings
    assert equation in finding.problem
    assert finding.severity is Severity.ERROR


@pytest.mark.parametrize(
    ("op_type", "gates", "directions"), [("LSTM", 4, 1), ("GRU", 3, 1), ("RNN", 1, 1), ("LSTM", 4, 2)]
)
def test_recurrent_cells_run_once_a_step(op_type, gates, directions):
    steps, features, hidden = 7, 3, 5
    w = np.ones((directions, gates * hidden, features), np.float32)
    r = np.ones((directions, gates * hidden, hidden), np.float32)
    w[:, 0] = 0
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node(
            op_type,
            ["t", "w", "r"],
            ["y"],
            hidden_size=hidden,
            direction="bidirectional" if directions > 1 else "forward",
        ),
    ]
    result = counted(nodes, {"w": w, "r": r}, inputs={"x": [1, steps, features]})
    dense = steps * (w.size + r.size)
    assert result.dense.macs == dense
    assert result.sparse.macs == dense - steps * directions * features
    assert result.dense.weight_bits == 32 * (w.size + r.size)


@pytest.mark.parametrize(
    ("op_type", "w", "zero_point", "zeros"),
    [
        ("ConvInteger", np.arange(8, dtype=np.int8).reshape(4, 2, 1, 1), np.int8(3), 1),
        ("ConvInteger", np.arange(8, dtype=np.int8).reshape(4, 2, 1, 1), np.array([0, 2, 9, 9], np.int8), 2),
        ("MatMulInteger", np.arange(8, dtype=np.int8).reshape(2, 4), np.array([0, 5, 2, 9], np.int8), 3),
        ("MatMulInteger", np.arange(8, dtype=np.int8).reshape(2, 4), np.int8(0), 1),
    ],
)
def test_a_weight_equal_to_its_zero_point_is_zero(op_type, w, zero_point, zeros):
    x = [1, 2, 3, 3] if op_type == "ConvInteger" else [1, 2]
    node = helper.make_node(op_type, ["x", "w", "xz", "wz"], ["y"])
    initializers = {"w": w, "xz": np.uint8(7), "wz": zero_point}
    result = counted([node], initializers, inputs={"x": x}, input_type=TensorProto.UINT8)
    positions = 9 if op_type == "ConvInteger" else 1
    assert result.dense.macs == positions * 8
    assert result.sparse.macs == positions * (8 - zeros)
    assert str(result.dense.formats[0].activation) == "UINT8"


def test_q_linear_operators_read_the_fourth_input_as_weights():
    q = {"s": np.float32(0.5), "z": np.uint8(0), "w": np.eye(4, dtype=np.uint8)}
    node = helper.make_node("QLinearMatMul", ["x", "s", "z", "w", "s", "z", "s", "z"], ["y"])
    result = counted([node], q, inputs={"x": [1, 4]}, input_type=TensorProto.UINT8)
    assert (result.dense.macs, result.sparse.macs) == (16, 4)
    q["w"] = q["w"].reshape(4, 4, 1, 1)
    node = helper.make_node("QLinearConv", ["x", "s", "z", "w", "s", "z", "s", "z"], ["y"])
    result = counted([node], q, inputs={"x": [1, 4, 3, 2]}, input_type=TensorProto.UINT8)
    assert (result.dense.macs, result.sparse.macs) == (6 * 16, 6 * 4)


@pytest.mark.parametrize(("mode", "taps"), [("nearest", 0), ("linear", 4), ("cubic", 16)])
def test_resize_multiplies_where_it_interpolates(mode, taps):
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], mode=mode)
    result = counted([node], {"scales": np.float32([1, 1, 2, 3])}, inputs={"x": [1, 3, 4, 5]})
    assert result.dense.macs == 3 * 8 * 15 * taps
    assert not result.others


def test_resize_along_one_axis_has_two_taps():
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="linear")
    result = counted([node], {"scales": np.float32([1, 1, 2, 1])}, inputs={"x": [1, 3, 4, 5]})
    assert result.dense.macs == 3 * 8 * 5 * 2


@pytest.mark.parametrize("op_type", ["AveragePool", "MaxPool"])
def test_pooling_is_listed_with_its_taps(op_type):
    node = helper.make_node(op_type, ["x"], ["y"], kernel_shape=[2, 3], strides=[2, 3], name="pool")
    result = counted([node], {}, inputs={"x": [1, 4, 8, 9]})
    assert result.dense.macs == 0
    (other,) = result.others
    assert (other.operator, other.nodes, other.elements) == (op_type, 1, 4 * 4 * 3 * 6)


def test_other_arithmetic_is_listed_and_moves_are_not():
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Softmax", ["f"], ["s"]),
        helper.make_node("Relu", ["s"], ["y"]),
    ]
    result = counted(nodes, {}, inputs={"x": [1, 4, 8, 9]})
    listed = {(o.operator, o.nodes, o.elements) for o in result.others}
    assert listed == {("Relu", 2, 292), ("GlobalAveragePool", 1, 288), ("Softmax", 1, 4)}


def test_an_unknown_operator_leaves_the_sums_open():
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Mystery", ["h"], ["y"], domain="elsewhere", name="mystery"),
    ]
    result = counted(nodes, {"w": np.ones((3, 3), np.float32)}, inputs={"x": [1, 3]}, imports={"": 21, "elsewhere": 1})
    assert (result.dense.macs, result.dense.weight_bits) == (None, None)
    assert result.layers[0].dense.macs == 9
    assert "mystery" in result.findings[0].node


def test_what_depends_on_no_input_is_computed_once_and_not_counted():
    nodes = [
        helper.make_node("MatMul", ["w", "w"], ["ww"]),
        helper.make_node("MatMul", ["x", "ww"], ["y"]),
    ]
    result = counted(nodes, {"w": np.full((3, 3), 0.1, np.float32)}, inputs={"x": [1, 3]})
    assert (result.dense.macs, result.dense.weight_bits) == (9, 9 * 32)
    assert len(result.layers) == 1


def test_shapes_that_contradict_each_other_have_no_figure():
    node = helper.make_node("LSTM", ["x", "w", "r"], ["y"])
    values = {"w": np.ones((1, 4, 3), np.float32), "r": np.ones((1, 4, 1), np.float32)}
    result = counted([node], values, inputs={"x": (1, 3)})
    assert result.dense.macs is None
    assert len(result.findings) == 1


@pytest.mark.parametrize(
    ("op_type", "x", "w"),
    [
        ("Conv", (1, 3, 4, 4), (2, 2, 3, 3)),
        ("Conv", (1, 2, 4), (2, 2, 3, 3)),
        ("ConvTranspose", (1, 3, 4, 4), (2, 2, 3, 3)),
        ("MatMul", (1, 3), (4, 3)),
        ("Gemm", (1, 3), (4, 3)),
        ("Gemm", (1, 3, 3), (3, 3)),
    ],
)
def test_what_check_calls_an_error_has_no_cost(op_type, x, w):
    node = helper.make_node(op_type, ["x", "w"], ["y"])
    with pytest.raises(InvalidModelError, match=op_type):
        counted([node], {"w": np.ones(w, np.float32)}, inputs={"x": x})


def test_attention_is_not_left_out_silently():
    node = helper.make_node("Attention", ["x", "x", "x"], ["y"])
    result = counted([node], {}, inputs={"x": [1, 2, 5, 4]}, opset=23)
    assert (result.dense.macs, result.dense.activation_bits) == (None, None)
    assert "Attention" in result.findings[0].problem
