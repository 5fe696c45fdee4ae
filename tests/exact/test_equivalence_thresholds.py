"""certify on thresholds, sums of a fixed parity and unquantised functions: a proof only where all inputs agree."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

import anybit
from anybit.exact.certificate import Verdict
from anybit.formats.certify import certify
from anybit.formats.convert import translate
from tests.formats.integer.integer_models import Net, mlps
from tests.models import PROJECT, model, parameters, quant

FINN_DOMAIN = "qonnx.custom_op.general"
ZOO = PROJECT / "src" / "anybit" / "zoo" / "models"


def _run(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    (result,) = anybit.run(proto, {"x": x}, engine="reference").values()
    return result


def _thresholds(x: str, rows: str, y: str, **attributes) -> onnx.NodeProto:
    return helper.make_node("MultiThreshold", [x, rows], [y], domain=FINN_DOMAIN, **attributes)


def _staircase(rows: np.ndarray, *, scale: float = 1.0, bias: float = 0.0, layout: str = "NCHW") -> onnx.ModelProto:
    """x (1, 3) -> Quant of 2 bits -> MatMul of 3 x 2 integers -> MultiThreshold."""
    nodes = [
        quant("x", "xq"),
        quant("w", "wq"),
        helper.make_node("MatMul", ["xq", "wq"], ["sums"]),
        _thresholds("sums", "rows", "y", out_scale=scale, out_bias=bias, data_layout=layout),
    ]
    values = {"w": np.float32([[1, -1], [1, 1], [-1, 1]]), "rows": rows.astype(np.float32)}
    values |= parameters("xq", scale=1.0, bits=2.0) | parameters("wq", scale=1.0, bits=2.0)
    return model(nodes, values, inputs={"x": [1, 3]}, outputs=["y"])


EVERY = np.float32([[row] for row in itertools.product(range(-2, 2), repeat=3)])[:, 0]

rows = st.lists(st.integers(-7, 7).map(lambda n: n / 2), min_size=2, max_size=2)


@given(
    st.lists(rows, min_size=1, max_size=2).map(np.float64),
    st.lists(rows, min_size=1, max_size=2).map(np.float64),
    st.sampled_from([1.0, 2.0, -1.0]),
    st.sampled_from([0.0, -1.0]),
)
def test_thresholds_are_equal_only_where_every_sum_agrees(first, second, scale, bias):
    a, b = _staircase(first), _staircase(second, scale=scale, bias=bias)
    certificate = certify(a, b)
    equal = np.array_equal(_run(a, EVERY), _run(b, EVERY))
    assert certificate.verdict.is_exact == equal
    assert certificate.verdict is not Verdict.DIFFERENT


def test_thresholds_between_two_sums_are_equal_wherever_they_lie():
    certificate = certify(_staircase(np.float64([[0.2, 3.7]])), _staircase(np.float64([[0.9, 3.1], [0.5, 4.0]])))
    assert certificate.verdict is Verdict.EXACT_BY_ENUMERATION


@pytest.mark.parametrize("move", [0.1, 1.0])
def test_one_tensor_of_levels_has_thresholds_by_channel(move: float):
    """Levels of one grid for all channels, which thresholds tell apart; channels and samples are as many."""
    rows = np.float64([[0.25, 1.25], [-0.75, 0.25], [-1.25, 1.75]])
    nodes = [quant("x", "q", prefix="q"), _thresholds("q", "rows", "t"), quant("w", "wq", prefix="q")]
    nodes += [helper.make_node("MatMul", ["t", "wq"], ["m"]), quant("m", "y", prefix="q")]
    known = parameters("q", scale=0.5) | {"w": np.float32(np.eye(3))}
    first, second = (
        model(nodes, known | {"rows": r.astype(np.float32)}, inputs={"x": [3, 3]}, outputs=["y"])
        for r in (rows, rows - np.float64([[0], [0], [move]]))
    )
    x = np.float32([[a, b, c] for a in (-0.5, 0.0) for b in (0.5, 1.5) for c in (-2, -1.5, -1, 1, 1.5, 2)])
    equal = all(np.array_equal(_run(first, x[i : i + 3]), _run(second, x[i : i + 3])) for i in range(0, len(x), 3))
    assert equal == (move == 0.1)
    assert certify(first, second).verdict.is_exact == equal


def _bipolar(rows: np.ndarray, *, pads: int = 0) -> onnx.ModelProto:
    """x -> BipolarQuant -> Conv of four weights of 1 and -1 -> MultiThreshold; without pads, sums are even."""
    nodes = [
        helper.make_node("BipolarQuant", ["x", "one"], ["xq"], domain=FINN_DOMAIN),
        helper.make_node("BipolarQuant", ["w", "one"], ["wq"], domain=FINN_DOMAIN),
        helper.make_node("Conv", ["xq", "wq"], ["sums"], pads=[pads] * 4),
        _thresholds("sums", "rows", "y"),
    ]
    values = {"w": np.float32([[[[1, -1], [1, 1]]]]), "one": np.float32(1), "rows": rows.astype(np.float32)}
    return model(nodes, values, inputs={"x": [1, 1, 3, 3]}, outputs=["y"])


def test_sums_of_signs_have_one_parity_unless_windows_reach_over_the_edge():
    first, second = np.float64([[-1.0, 1.0]]), np.float64([[0.0, 2.0]])
    assert certify(_bipolar(first), _bipolar(second)).verdict is Verdict.EXACT_BY_ENUMERATION
    assert certify(_bipolar(first, pads=1), _bipolar(second, pads=1)).verdict is Verdict.UNDECIDED
    x = np.float32(np.random.default_rng(0).normal(size=(64, 1, 3, 3)))
    np.testing.assert_array_equal(_run(_bipolar(first), x), _run(_bipolar(second), x))
    assert not np.array_equal(_run(_bipolar(first, pads=1), x), _run(_bipolar(second, pads=1), x))


def test_parity_outlives_operators_that_move_elements():
    def proto(*thresholds: float) -> onnx.ModelProto:
        nodes = [
            helper.make_node("BipolarQuant", ["x", "one"], ["xq"], domain=FINN_DOMAIN),
            helper.make_node("Flatten", ["xq"], ["flat"]),
            helper.make_node("BipolarQuant", ["w", "one"], ["wq"], domain=FINN_DOMAIN),
            helper.make_node("MatMul", ["flat", "wq"], ["sums"]),
            _thresholds("sums", "rows", "y"),
        ]
        values = {"w": np.float32([[1], [-1], [1]]), "one": np.float32(1), "rows": np.float32([thresholds])}
        return model(nodes, values, inputs={"x": [1, 1, 3]}, outputs=["y"])

    assert certify(proto(0.0, 2.0), proto(-0.5, 2.5)).verdict.is_exact
    assert certify(proto(0.0, 2.0), proto(0.0, 3.5)).verdict is Verdict.UNDECIDED


@given(mlps())
def test_the_dialect_of_finn_is_not_undone_wrongly(net: Net):
    converted = translate(net.proto(), "finn")
    certificate = certify(net.proto(), converted.model)
    if certificate.verdict.is_exact:
        np.testing.assert_array_equal(_run(anybit.to_proto(converted.model), net.x), _run(net.proto(), net.x))


DECIDED = (
    "digits_cnn_4w4a",
    "digits_mlp_1w1a",
    "digits_mlp_2w2a",
    "digits_mlp_4w4a",
    "digits_mobilenet_4w4a",
    "friedman_mlp_4w6a",
    "keywords_conv_4w4a",
)


@pytest.mark.parametrize("name", DECIDED)
def test_models_that_ship_are_proven_equal_to_their_form_for_finn(name: str):
    source = ZOO / name / "model.onnx"
    certificate = certify(source, translate(source, "finn").model)
    assert certificate.verdict.is_proof, [p for p in certificate.layers if not p.verdict.is_proof]


def _looked_up(zero: float, *, inverse: bool) -> onnx.ModelProto:
    nodes = [helper.make_node("Gather", ["table", "x"], ["y" if not inverse else "g"])]
    nodes += [helper.make_node("Reciprocal", ["g"], ["y"])] if inverse else []
    proto = model(nodes, {"table": np.float32([zero, 1.0, 2.0])}, inputs={}, outputs=["y"])
    proto.graph.input.append(helper.make_tensor_value_info("x", onnx.TensorProto.INT64, [1, 4]))
    return proto


def test_tables_that_differ_in_the_sign_of_zero_are_equal_where_nothing_tells_it():
    assert certify(_looked_up(0.0, inverse=False), _looked_up(-0.0, inverse=False)).verdict.is_exact
    assert certify(_looked_up(0.0, inverse=True), _looked_up(-0.0, inverse=True)).verdict is Verdict.UNDECIDED


@pytest.mark.parametrize(("zeropt", "equal"), [(0.0, True), (-2.0, True), (1.0, False), (5.0, False)])
@pytest.mark.parametrize("mode", ["ROUND", "CEIL", "FLOOR", "UP", "DOWN"])
def test_a_relu_is_nothing_only_where_the_quantiser_has_no_level_below_zero(zeropt: float, equal: bool, mode: str):
    def proto(*, relu: bool) -> onnx.ModelProto:
        nodes = [helper.make_node("Relu", ["x"], ["r"])] if relu else []
        nodes += [quant("r" if relu else "x", "y", signed=0, rounding_mode=mode)]
        return model(nodes, parameters("y", scale=0.5, zeropt=zeropt, bits=3.0), inputs={"x": [1, 61]}, outputs=["y"])

    x = (np.arange(-30, 31, dtype=np.float32) / 12)[None]
    assert np.array_equal(_run(proto(relu=True), x), _run(proto(relu=False), x)) == equal
    assert certify(proto(relu=True), proto(relu=False)).verdict.is_exact == equal


def test_unquantised_functions_of_one_sum_are_tried_where_they_go_into_another_operator():
    def proto(*, by_norm: bool, gamma: float = 2.0) -> onnx.ModelProto:
        nodes = [quant("x", "xq"), quant("w", "wq"), helper.make_node("Conv", ["xq", "wq"], ["c"])]
        if by_norm:
            nodes.append(helper.make_node("BatchNormalization", ["c", "g", "z", "z", "o"], ["n"], epsilon=0.0))
        else:
            nodes.append(helper.make_node("Mul", ["c", "factor"], ["n"]))
        nodes.append(helper.make_node("Softmax", ["n"], ["y"], axis=1))
        values = {"w": np.float32([[[[1]], [[2]]], [[[3]], [[-1]]]]), "g": np.float32([gamma, 0.5])}
        values |= {"z": np.zeros(2, np.float32), "o": np.ones(2, np.float32)}
        values |= {"factor": np.float32([2.0, 0.5]).reshape(2, 1, 1)}
        values |= parameters("xq", bits=3.0) | parameters("wq", scale=1.0)
        return model(nodes, values, inputs={"x": [1, 2, 2, 2]}, outputs=["y"])

    assert certify(proto(by_norm=True), proto(by_norm=False)).verdict is Verdict.EXACT_BY_ENUMERATION
    assert certify(proto(by_norm=True, gamma=3.0), proto(by_norm=False)).verdict is Verdict.UNDECIDED
