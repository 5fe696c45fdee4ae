"""Functions of one number: no result of either engine leaves its bounds, and monotone functions attain them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from anybit.analysis.values.interpreter import analyse
from anybit.analysis.values.tensor_values import TensorValues
from tests.analysis.values.soundness import bounds_of, check_sound
from tests.models import model, parameters, quant
from tests.strategies import examples

BOTH = ("reference", "onnxruntime")

ACTIVATIONS = [
    ("Acos", {}), ("Acosh", {}), ("Asin", {}), ("Asinh", {}), ("Atan", {}), ("Atanh", {}), ("Ceil", {}), ("Celu", {}),
    ("Celu", {"alpha": 0.3}), ("Cos", {}), ("Cosh", {}), ("Elu", {}), ("Elu", {"alpha": -2.0}), ("Erf", {}),
    ("Exp", {}), ("Floor", {}), ("Gelu", {}), ("Gelu", {"approximate": "tanh"}), ("HardSigmoid", {}),
    ("HardSigmoid", {"alpha": -0.3, "beta": 0.1}), ("HardSwish", {}), ("LeakyRelu", {}),
    ("LeakyRelu", {"alpha": -0.5}),
    ("LeakyRelu", {"alpha": 1.7}), ("Log", {}), ("Mish", {}), ("Reciprocal", {}), ("Relu", {}), ("Round", {}),
    ("Selu", {}), ("Selu", {"alpha": -1.0, "gamma": -2.0}), ("Shrink", {"bias": 0.2}), ("Sigmoid", {}), ("Sign", {}),
    ("Sin", {}), ("Sinh", {}), ("Softplus", {}), ("Softsign", {}), ("Sqrt", {}), ("Swish", {}),
    ("Swish", {"alpha": -0.4}), ("Tan", {}), ("Tanh", {}), ("ThresholdedRelu", {}),
    ("ThresholdedRelu", {"alpha": -0.7}),
]  # fmt: skip

STEEP = ("Acos", "Acosh", "Asin", "Atanh", "Reciprocal", "Tan", "ThresholdedRelu")
RANGES = [None, (-1, 1), (0, 1), (-3, 0), (0.5, 2), (-0.25, 0.1), (-100, 100), (-20, -10), (3, 40), (-2, -2), (0, 0)]


def single(op_type: str, elem_type: int = TensorProto.FLOAT, shape=(40,), **attributes) -> onnx.ModelProto:
    node = helper.make_node(op_type, ["x"], ["y"], name="node", **attributes)
    opset = 24 if op_type == "Swish" else 22
    proto = model([node], {}, inputs={"x": shape}, outputs=["y"], opset=opset, input_type=elem_type)
    proto.graph.output[0].type.tensor_type.elem_type = elem_type
    return proto


def quantized(op_type: str, *, zeropt: float = 0.0, scale=0.5, signed: int = 1, **attributes) -> onnx.ModelProto:
    """x -> Quant to 4 bits -> the operator."""
    nodes = [quant("x", "q", signed=signed), helper.make_node(op_type, ["q"], ["y"], name="node", **attributes)]
    return model(nodes, parameters("q", scale=scale, zeropt=zeropt), inputs={"x": ["n", 3]}, outputs=["y"])


@pytest.mark.parametrize("limits", RANGES)
@pytest.mark.parametrize("elem_type", [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_results_stay_within_bounds(limits, elem_type):
    """All of them side by side: a session takes longer to make than all of its runs."""
    known = [(op_type, a) for op_type, a in ACTIVATIONS if elem_type == TensorProto.FLOAT or op_type != "Celu"]
    for engines, newer in ((BOTH if elem_type == TensorProto.FLOAT else BOTH[:1], False), (BOTH[:1], True)):
        chosen = [(op_type, a) for op_type, a in known if (op_type == "Swish") == newer]
        names = [f"{op_type}{number}" for number, (op_type, _) in enumerate(chosen)]
        nodes = [helper.make_node(op, ["x"], [n], name=n, **a) for n, (op, a) in zip(names, chosen, strict=True)]
        proto = model(nodes, {}, inputs={"x": (40,)}, outputs=names, opset=24 if newer else 22, input_type=elem_type)
        for output in proto.graph.output:
            output.type.tensor_type.elem_type = elem_type
        check_sound(proto, limits and {"x": limits}, 7, engines=engines)


@given(st.sampled_from(ACTIVATIONS), st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=2), st.integers(0, 99))
@examples(60)
def test_random_intervals(activation, ends, seed):
    op_type, attributes = activation
    check_sound(single(op_type, **attributes), {"x": (min(ends), max(ends))}, 7, seed, engines=("reference",))


@pytest.mark.parametrize("op_type", ["Relu", "Gelu", "Softsign", "Sigmoid"])
@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3)])
def test_tensors_without_axes_or_elements(op_type, shape):
    engines = ("reference",) if op_type == "Softsign" else BOTH
    if shape or op_type != "Softsign":  # onnx's reference refuses it
        check_sound(single(op_type, shape=shape), {"x": (-1, 1)}, 2, engines=engines)


@pytest.mark.parametrize(("op_type", "attributes"), [a for a in ACTIVATIONS if a[0] not in STEEP])
def test_bounds_are_attained(op_type, attributes):
    values = bounds_of(check_sound(single(op_type, **attributes), {"x": (-3, 3)}), "y")
    x = np.linspace(-3, 3, 100001, dtype=np.float32)
    proto = single(op_type, shape=x.shape, **attributes)
    import anybit

    y = anybit.Session(proto, engine="reference").run({"x": x})["y"]
    assert np.nanmin(y) == pytest.approx(float(values.lo), rel=2e-5, abs=3e-5)
    assert np.nanmax(y) == pytest.approx(float(values.hi), rel=2e-5, abs=3e-5)


@pytest.mark.parametrize("op_type", ["Sigmoid", "Tanh", "Erf", "Softsign", "Exp", "Softplus", "Gelu"])
def test_dense_points_in_onnxruntime(op_type):
    for limits in [(-20, 20), (-1, 1), (-1e-3, 1e-3), (4, 10), (-18, -5)]:
        values = bounds_of(check_sound(single(op_type), {"x": limits}, engines=BOTH), "y")
        x = np.linspace(*limits, 200001, dtype=np.float32).clip(*limits)
        import anybit

        y = anybit.Session(single(op_type, shape=x.shape), engine="onnxruntime").run({"x": x})["y"].astype(np.float64)
        assert y.min() >= values.lo
        assert y.max() <= values.hi


def test_ranges_of_saturating_functions():
    sigmoid, tanh = (bounds_of(check_sound(single(op)), "y") for op in ("Sigmoid", "Tanh"))
    assert sigmoid.lo == 0
    assert 1 <= sigmoid.hi <= 1 + 1e-6
    assert -1 - 1e-6 <= tanh.lo <= -1
    assert bounds_of(check_sound(single("Exp")), "y").lo == 0


@pytest.mark.parametrize(
    ("op_type", "least", "most", "overshoot"),
    [("Sigmoid", 0, 1, 8), ("HardSigmoid", 0, 1, 0), ("Erf", -1, 1, 0), ("Softsign", -1, 1, 4), ("Tanh", -1, 1, 8)],
)
@pytest.mark.parametrize("elem_type", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_saturating_functions_leave_their_range_by_rounding_alone(op_type, least, most, overshoot, elem_type):
    unit = (2.0**-11 if elem_type == TensorProto.FLOAT16 else 2.0**-24) * overshoot
    y = bounds_of(analyse(single(op_type, elem_type), input_ranges={"x": (-60000.0, 60000.0)}), "y")
    assert least * (1 + unit) <= y.lo <= least * (1 - 1e-4)
    assert most * (1 - 1e-4) <= y.hi <= most * (1 + unit)


@pytest.mark.parametrize("elem_type", [TensorProto.FLOAT, TensorProto.FLOAT16])
@pytest.mark.parametrize("alpha", [1e-38, -1e-30, 1e-6])
def test_a_turn_that_no_number_reaches(alpha, elem_type):
    for limits in (None, (-60000.0, 60000.0), (-1.0, 1.0)):
        check_sound(single("Swish", elem_type, alpha=alpha), limits and {"x": limits}, 4, engines=BOTH[:1])


@pytest.mark.parametrize("op_type", ["Asinh", "Atan", "Erf", "Sinh", "Softsign", "Tanh"])
def test_functions_through_zero_keep_the_sign_of_their_argument(op_type):
    for limits, sign in (((-3.0, 0.0), -1), ((-3.0, -1.0), -1), ((0.0, 3.0), 1), ((1.0, 3.0), 1)):
        values = bounds_of(analyse(single(op_type), input_ranges={"x": limits}), "y")
        nearest, farthest = (values.hi, values.lo) if sign < 0 else (values.lo, values.hi)
        assert nearest * sign > 0.4 if all(limits) else nearest == 0
        assert farthest * sign > 0.7
    values = bounds_of(analyse(single(op_type), input_ranges={"x": (-3.0, 3.0)}), "y")
    assert values.lo < -0.7
    assert values.hi > 0.7


@pytest.mark.parametrize("zeropt", [0.0, 3.0, -2.0])
def test_relu_keeps_a_grid_that_has_zero(zeropt):
    values = bounds_of(check_sound(quantized("Relu", zeropt=zeropt), engines=BOTH), "y")
    assert values.grid is not None
    assert (values.grid.lo, values.grid.hi) == (zeropt, 7)


def test_relu_drops_a_grid_without_zero_unless_it_is_never_reached():
    assert bounds_of(check_sound(quantized("Relu", zeropt=0.5)), "y").grid is None
    below = bounds_of(check_sound(quantized("Relu", zeropt=-0.5, signed=0)), "y")
    assert below.grid is not None
    assert below.grid.lo == 0


def test_relu_of_bipolar_numbers_is_no_longer_bipolar():
    node = helper.make_node("BipolarQuant", ["x", "s"], ["q"], domain="qonnx.custom_op.general")
    nodes = [node, helper.make_node("Relu", ["q"], ["y"])]
    grid = bounds_of(check_sound(model(nodes, {"s": np.float32(0.5)}, inputs={"x": [4]}, outputs=["y"])), "y").grid
    assert grid is not None
    assert str(grid.integers) == "BINARY"


@pytest.mark.parametrize("op_type", ["LeakyRelu", "Elu", "Celu"])
def test_identity_on_positive_numbers_keeps_the_grid(op_type):
    assert bounds_of(check_sound(quantized(op_type, signed=0)), "y").grid is not None
    assert bounds_of(check_sound(quantized(op_type)), "y").grid is None


@pytest.mark.parametrize("op_type", ["Floor", "Ceil", "Round", "Sign"])
def test_rounding_makes_integers(op_type):
    grid = bounds_of(check_sound(single(op_type), {"x": (-2.6, 7.5)}, engines=BOTH), "y").grid
    assert grid is not None
    assert grid.scale == 1
    assert bounds_of(check_sound(single("Floor")), "y").grid is None


def prelu(slope, shape=(2, 3, 2, 4), opset: int = 21) -> onnx.ModelProto:
    node = helper.make_node("PRelu", ["x", "s"], ["y"], name="node")
    return model([node], {"s": np.asarray(slope, np.float32)}, inputs={"x": shape}, outputs=["y"], opset=opset)


@pytest.mark.parametrize("opset", [7, 9, 16, 21])
def test_prelu_by_channel(opset):
    for limits in RANGES:
        check_sound(prelu([[[0.1]], [[-2.0]], [[3.0]]], opset=opset), limits and {"x": limits}, engines=BOTH)
    values = bounds_of(check_sound(prelu([[[0.1]], [[-2.0]], [[3.0]]]), {"x": (-1, 1)}), "y")
    assert values.lo.ravel() == pytest.approx([-0.1, 0, -3], rel=1e-6)
    assert values.hi.ravel() == pytest.approx([1, 2, 1], rel=1e-6)


def power(exponent, elem_type: int = TensorProto.FLOAT) -> onnx.ModelProto:
    node = helper.make_node("Pow", ["x", "p"], ["y"], name="node")
    initializers = {"p": np.asarray(exponent, np.float32)}
    proto = model([node], initializers, inputs={"x": [4, 3]}, outputs=["y"], input_type=elem_type)
    proto.graph.output[0].type.tensor_type.elem_type = elem_type
    return proto


EXPONENTS = [0, 1, 2, 3, 4, -1, -2, -3, 0.5, -0.5, 1.7, [2, 3, -1]]


@pytest.mark.parametrize("limits", [*RANGES, (0.5, 3), (-3, -0.5)])
def test_powers(limits):
    names = [f"power{number}" for number in range(len(EXPONENTS))]
    nodes = [helper.make_node("Pow", ["x", f"{n}_exponent"], [n], name=n) for n in names]
    constants = {f"{n}_exponent": np.asarray(e, np.float32) for n, e in zip(names, EXPONENTS, strict=True)}
    for elem_type in (TensorProto.FLOAT, TensorProto.DOUBLE):
        proto = model(nodes, constants, inputs={"x": [4, 3]}, outputs=names, input_type=elem_type)
        for output in proto.graph.output:
            output.type.tensor_type.elem_type = elem_type
        check_sound(proto, limits and {"x": limits}, 7, engines=BOTH)


@pytest.mark.parametrize("limits", [(-5, 3), (0, 4), (2, 5), (-4, -2)])
@pytest.mark.parametrize("exponent", [0, 1, 2, 3])
def test_powers_of_integers(exponent, limits):
    node = helper.make_node("Pow", ["x", "p"], ["y"])
    proto = model([node], {"p": np.int32(exponent)}, inputs={"x": [4, 3]}, outputs=["y"], input_type=TensorProto.INT32)
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.INT32
    values = check_sound(proto, {"x": limits}, 7, engines=BOTH)
    assert not values.unfollowed
    y = bounds_of(values, "y")
    numbers = [n**exponent for n in range(limits[0], limits[1] + 1)]
    assert (y.lo, y.hi) == (min(numbers), max(numbers))


def test_even_power_is_never_negative_and_tight():
    values = bounds_of(check_sound(power(2), {"x": (-2, 3)}), "y")
    assert (values.lo, values.hi) == (0, pytest.approx(9, rel=1e-6))


def test_power_of_a_known_base():
    node = helper.make_node("Pow", ["b", "x"], ["y"], name="node")
    proto = model([node], {"b": np.float32([0, 0.5, 1, 2])}, inputs={"x": [3, 4]}, outputs=["y"])
    for limits in (None, (-2, 3), (0, 1), (-3, -1)):
        values: TensorValues = bounds_of(check_sound(proto, limits and {"x": limits}, engines=BOTH), "y")
    assert values.hi[-1] == pytest.approx(0.5, rel=1e-6)
