"""Normalisations and Softmax: no result of either engine leaves its bounds; known affine functions attain them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from anybit.analysis.values.interpreter import analyse
from tests.analysis.values.soundness import bounds_of, check_sound
from tests.models import model, parameters, quant
from tests.strategies import Array, examples

BOTH = ("reference", "onnxruntime")
RANGES = [None, (-1, 1), (0, 1), (-3, 0), (0.5, 2), (100, 101), (-1e4, 1e4), (-2, -2), (0, 0), (-1e-20, 1e-21)]


def single(
    op_type: str,
    constants: Mapping[str, Array],
    *,
    shape=(2, 4, 3, 5),
    opset: int = 21,
    elem_type: int = TensorProto.FLOAT,
    outputs=("y",),
    **attributes,
) -> onnx.ModelProto:
    node = helper.make_node(op_type, ["x", *constants], list(outputs), name="node", **attributes)
    dtype = helper.tensor_dtype_to_np_dtype(elem_type)
    typed = {name: np.asarray(a, dtype) for name, a in constants.items()}
    proto = model([node], typed, inputs={"x": shape}, outputs=outputs[:1], opset=opset, input_type=elem_type)
    proto.graph.output[0].type.tensor_type.elem_type = elem_type
    return proto


def statistics(channels: int, seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    scale = rng.normal(size=channels)
    scale[0], scale[-1] = 0.0, -1.5
    spread = rng.uniform(0.01, 4, channels)
    return {"s": scale, "b": rng.normal(size=channels), "m": 3 * rng.normal(size=channels), "v": spread}


@pytest.mark.parametrize("opset", [7, 8, 9, 14, 15, 21])
@pytest.mark.parametrize("elem_type", [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16])
def test_batch_normalization(opset, elem_type):
    for shape in ((2, 4), (2, 4, 3, 5)):
        proto = single("BatchNormalization", statistics(4), shape=shape, opset=opset, elem_type=elem_type)
        engines = BOTH if elem_type == TensorProto.FLOAT else ("reference",)
        for limits in RANGES:
            check_sound(proto, limits and {"x": limits}, 7, engines=engines)


def test_batch_normalization_is_tight():
    constants = {
        "s": np.array([2.0, -2.0]),
        "b": np.array([1.0, 1.0]),
        "m": np.array([1.0, 0.0]),
        "v": np.array([4.0, 1.0]),
    }
    proto = single("BatchNormalization", constants, shape=(3, 2, 2), epsilon=0.0)
    values = bounds_of(check_sound(proto, {"x": (-1, 3)}, engines=BOTH), "y")
    assert values.lo.ravel() == pytest.approx([-1, -5], rel=1e-5)
    assert values.hi.ravel() == pytest.approx([3, 3], rel=1e-5)


@given(st.integers(0, 10**6), st.lists(st.floats(-60, 60, width=32), min_size=2, max_size=2))
@examples(25)
def test_batch_normalization_of_quantised_numbers_stays_on_a_grid(seed, ends):
    nodes = [quant("x", "q"), helper.make_node("BatchNormalization", ["q", *"sbmv"], ["y"], name="node")]
    constants = {n: np.asarray(a, np.float32) for n, a in statistics(3, seed).items()}
    proto = model(nodes, parameters("q") | constants, inputs={"x": ["n", 3, 2]}, outputs=["y"])
    values = bounds_of(check_sound(proto, {"x": (min(ends), max(ends))}, 6, seed, engines=BOTH), "y")
    assert values.grid is not None


def test_batch_normalization_fused_into_a_convolution():
    rng = np.random.default_rng(3)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("BatchNormalization", ["c", *"sbmv"], ["y"], name="node"),
    ]
    constants = statistics(4) | {"w": rng.normal(size=(4, 3, 3, 3))}
    typed = {n: np.asarray(a, np.float32) for n, a in constants.items()}
    proto = model(nodes, typed, inputs={"x": [1, 3, 5, 5]}, outputs=["y"])
    check_sound(proto, {"x": (-2, 5)}, 20, engines=BOTH)


def test_training_is_not_followed():
    proto = single("BatchNormalization", statistics(4), training_mode=1, outputs=("y", "rm", "rv"), opset=15)
    assert list(check_sound(proto, {"x": (-1, 1)}, 2).unfollowed.values()) == ["statistics of the batch, or by element"]


@pytest.mark.parametrize("axis", [-1, 1, 2])
@pytest.mark.parametrize("elem_type", [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16])
def test_layer_normalization(axis, elem_type):
    shape = (2, 4, 3, 5)
    rng = np.random.default_rng(1)
    constants = {"s": rng.normal(size=shape[axis:]), "b": rng.normal(size=shape[axis:])}
    proto = single("LayerNormalization", constants, axis=axis, elem_type=elem_type)
    for limits in RANGES:
        check_sound(proto, limits and {"x": limits}, 7, engines=BOTH)


def layer_normalization_in_parts(epsilon: float, scale: Array, bias: Array, *, square: str) -> onnx.ModelProto:
    """ReduceMean, Sub, Mul, ReduceMean, Add, Sqrt, Div, Mul, Add: as exporters spelt it before opset 17."""
    square_node = helper.make_node("Mul", ["d", "d"], ["q"])
    if square == "Pow":
        square_node = helper.make_node("Pow", ["d", "two"], ["q"])
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[-1]),
        helper.make_node("Sub", ["x", "m"], ["d"]),
        square_node,
        helper.make_node("ReduceMean", ["q"], ["v"], axes=[-1]),
        helper.make_node("Add", ["v", "e"], ["w"]),
        helper.make_node("Sqrt", ["w"], ["r"]),
        helper.make_node("Div", ["d", "r"], ["u"]),
        helper.make_node("Mul", ["u", "s"], ["t"]),
        helper.make_node("Add", ["t", "b"], ["y"]),
    ]
    constants = {"e": np.float32(epsilon), "s": scale, "b": bias, "two": np.float32(2)}
    return model(nodes, constants, inputs={"x": [2, 3, len(scale)]}, outputs=["y"], opset=17)


@pytest.mark.parametrize("square", ["Mul", "Pow"])
@pytest.mark.parametrize("limits", [(-1, 1), (0, 1), (-1e-3, 1e-3), (2, 2.01), (5, 5), (-3, 0)])
def test_layer_normalization_is_no_looser_than_its_parts(limits, square):
    """Both hold; the parts are looser where elements differ by more than epsilon: they do not know of each other."""
    rng = np.random.default_rng(1)
    for count, epsilon in ((1, 1e-5), (2, 1e-5), (4, 0.1), (5, 1.0)):
        scale, bias = rng.normal(size=(2, count)).astype(np.float32)
        whole = single("LayerNormalization", {"s": scale, "b": bias}, shape=(2, 3, count), epsilon=epsilon)
        parts = layer_normalization_in_parts(epsilon, scale, bias, square=square)
        one, other = (bounds_of(check_sound(p, {"x": limits}, 6, engines=BOTH), "y") for p in (whole, parts))
        extent = max(map(abs, limits))
        slack = np.abs(scale) * 4 * (count + 2) * 2.0**-24 * extent / np.sqrt(epsilon) + 2.0**-20 * np.abs(bias) + 1e-30
        assert (one.lo >= other.lo - slack).all()
        assert (one.hi <= other.hi + slack).all()


@pytest.mark.parametrize("count", [2, 3, 8])
@pytest.mark.parametrize(("low", "high"), [(0, 1), (-0.01, 0.01), (-4, 4)])
def test_layer_normalization_is_attained_by_one_element_at_the_other_end(count, low, high):
    proto = single("LayerNormalization", {"s": np.ones(count)}, shape=(1, count), epsilon=1e-3)
    y = bounds_of(analyse(proto, input_ranges={"x": (low, high)}), "y")
    x = np.full(count, float(low))
    x[0] = high
    for end, deviations in ((y.hi, x - x.mean()), (-y.lo, x - x.mean())):
        attained = deviations[0] / np.sqrt((deviations**2).mean() + 1e-3)
        assert attained <= end.max() <= attained * (1 + 1e-3)


def test_layer_normalization_of_one_large_element_attains_its_bound():
    values = check_sound(
        single("LayerNormalization", {"s": np.ones(5)}, outputs=("y", "mean", "inverse")), {"x": (-3, 9)}
    )
    assert bounds_of(values, "y").hi == pytest.approx(2, rel=2e-3)
    assert bounds_of(values, "mean").hi == pytest.approx(9, rel=1e-3)
    assert bounds_of(values, "inverse").hi == pytest.approx(1e-5**-0.5, rel=1e-3)


@pytest.mark.parametrize(("lo", "hi"), [(-9, 3), (-3, 9), (-9, -1), (1, 9), (-9, 9)])
def test_a_mean_may_leave_the_elements_by_the_roundings_of_its_sum(lo, hi):
    """Five elements of a magnitude up to 9: four additions, a quotient, and a rounding each of operand and result."""
    proto = single("LayerNormalization", {"s": np.ones(5)}, outputs=("y", "mean", "inverse"))
    mean = bounds_of(check_sound(proto, {"x": (lo, hi)}, 7), "mean")
    off = 9 * (5 + 2) * 2.0**-24
    assert (mean.lo, mean.hi) == (lo - off, hi + off)


def test_elements_that_are_zero_have_a_mean_of_zero():
    proto = single("LayerNormalization", {"s": np.ones(5)}, outputs=("y", "mean", "inverse"))
    values = check_sound(proto, {"x": (0, 0)}, 2)
    assert (bounds_of(values, "mean").lo, bounds_of(values, "mean").hi) == (0, 0)
    assert (bounds_of(values, "y").lo.min(), bounds_of(values, "y").hi.max()) == (0, 0)


@pytest.mark.parametrize("op_type", ["LayerNormalization", "InstanceNormalization", "GroupNormalization"])
@pytest.mark.parametrize("epsilon", [0.0, -1e-5])
def test_without_an_epsilon_squares_may_vanish(op_type, epsilon):
    length = 5 if op_type == "LayerNormalization" else 4
    attributes = {"num_groups": 2} if op_type == "GroupNormalization" else {}
    proto = single(op_type, {"s": np.ones(length), "b": np.zeros(length)}, epsilon=epsilon, **attributes)
    assert analyse(proto, input_ranges={"x": (-1, 1)}).unfollowed


@pytest.mark.parametrize(
    ("limits", "signs"), [((0, 1), (0, 1)), ((-1, 0), (-1, 0)), ((-1, 1), (-1, 1)), ((2, 3), (0, 1))]
)
def test_norms_keep_the_sign_of_their_elements(limits, signs):
    """RMSNormalization of five elements is sqrt(5) at the most, LpNormalization sqrt(3/2) where squares underflow."""
    rms = single("RMSNormalization", {"s": np.ones(5)}, opset=23)
    norm = bounds_of(check_sound(rms, {"x": limits}, 7), "y")
    assert (norm.lo.min(), norm.hi.max()) == pytest.approx([5**0.5 * sign for sign in signs], rel=1e-5)
    unit = bounds_of(check_sound(single("LpNormalization", {}), {"x": limits}, 7), "y")
    assert (unit.lo, unit.hi) == pytest.approx([1.5**0.5 * sign for sign in signs], rel=1e-5)
    total = analyse(single("LpNormalization", {}, p=1), input_ranges={"x": limits})
    assert bool(total.unfollowed) == (limits[0] < 0)
    if not total.unfollowed:
        assert (bounds_of(total, "y").lo, bounds_of(total, "y").hi) == pytest.approx((0, 1), rel=1e-5)


@pytest.mark.parametrize(
    ("attributes", "factor"),
    [({}, 1.0), ({"bias": 4.0}, 4**-0.75), ({"bias": 4.0, "beta": 2.0}, 1 / 16), ({"bias": 4.0, "beta": 0.0}, 1.0)],
)
def test_lrn_divides_by_no_less_than_a_power_of_its_bias(attributes, factor):
    values = bounds_of(analyse(single("LRN", {}, size=3, **attributes), input_ranges={"x": (-3, 8)}), "y")
    assert (values.lo, values.hi) == pytest.approx((-3 * factor, 8 * factor), rel=1e-4)
    apart = bounds_of(analyse(single("LRN", {}, size=3, **attributes), input_ranges={"x": (2, 8)}), "y")
    assert (apart.lo, apart.hi) == pytest.approx((0, 8 * factor), rel=1e-4)


@pytest.mark.parametrize("attributes", [{"alpha": -1.0}, {"beta": -1.0}, {"bias": 0.0}])
def test_lrn_of_a_divisor_that_may_vanish_is_not_followed(attributes):
    assert analyse(single("LRN", {}, size=3, **attributes), input_ranges={"x": (-1, 1)}).unfollowed


@pytest.mark.parametrize(
    ("op_type", "opset", "length", "attributes"),
    [
        ("InstanceNormalization", 9, 4, {}),
        ("InstanceNormalization", 22, 4, {}),
        ("GroupNormalization", 18, 2, {"num_groups": 2}),
        ("GroupNormalization", 21, 4, {"num_groups": 2}),
    ],
)
@pytest.mark.parametrize("shape", [(2, 4, 3, 5), (2, 4, 7), (1, 4, 1)])
def test_spatial_normalisations(op_type, opset, length, attributes, shape):
    rng = np.random.default_rng(2)
    constants = {"s": rng.normal(size=length), "b": rng.normal(size=length)}
    proto = single(op_type, constants, shape=shape, opset=opset, **attributes)
    for limits in RANGES:
        assert not check_sound(proto, limits and {"x": limits}, 7, engines=BOTH).unfollowed


def test_each_channel_has_its_scale_and_bias():
    """A channel whose scale is 0 is its bias; the others leave it by up to their scale times the largest deviation."""
    scale, bias = np.float64([2, 0, 1, 0]), np.float64([1, -1, 0, 3])
    proto = single("InstanceNormalization", {"s": scale, "b": bias}, shape=(2, 4, 7))
    y = bounds_of(check_sound(proto, {"x": (-1, 1)}, 7, engines=BOTH), "y")
    deviation = np.sqrt(6)
    np.testing.assert_allclose(y.lo.reshape(-1), bias - scale * deviation, rtol=1e-3)
    np.testing.assert_allclose(y.hi.reshape(-1), bias + scale * deviation, rtol=1e-3)


@pytest.mark.parametrize("op_type", ["LayerNormalization", "InstanceNormalization", "GroupNormalization"])
@pytest.mark.parametrize(("middle", "spread"), [(100.0, 0.01), (1e4, 1.0), (1e6, 1.0), (1.0, 1e-4)])
def test_variances_that_cancel(op_type, middle, spread):
    length = {"LayerNormalization": 4, "InstanceNormalization": 2, "GroupNormalization": 2}[op_type]
    attributes = {"num_groups": 1} if op_type == "GroupNormalization" else {}
    proto = single(op_type, {"s": np.ones(length), "b": np.zeros(length)}, shape=(50, 2, 4), **attributes)
    check_sound(proto, {"x": (middle - spread, middle + spread)}, 20, engines=BOTH)


def test_rms_normalization():
    proto = single("RMSNormalization", {"s": np.array([1.0, -2, 0, 3, 4])}, opset=23)
    for limits in RANGES:
        check_sound(proto, limits and {"x": limits}, 7, engines=BOTH)
    hi = bounds_of(check_sound(proto, {"x": (-1, 1)}), "y").hi
    assert hi == pytest.approx(np.sqrt(5) * np.array([1, 2, 0, 3, 4]), rel=1e-5)


@pytest.mark.parametrize("p", [1, 2])
def test_lp_normalization(p):
    proto = single("LpNormalization", {}, p=p)
    for limits in (*RANGES, (-2e-23, 2e-23), (0, 1e-22)):
        check_sound(proto, limits and {"x": limits}, 10, engines=BOTH)


def test_mean_variance_normalization_is_not_followed():
    assert check_sound(single("MeanVarianceNormalization", {}), {"x": (-1, 1)}, 2).unfollowed


def test_lrn():
    for attributes in ({"size": 3}, {"size": 3, "bias": 0.5, "beta": 2.0}, {"size": 5, "bias": 4.0, "alpha": 3.0}):
        for limits in RANGES:
            check_sound(single("LRN", {}, **attributes), limits and {"x": limits}, 7, engines=BOTH)
    assert analyse(single("LRN", {}, size=3, bias=-1.0), input_ranges={"x": (-1, 1)}).unfollowed


@pytest.mark.parametrize("opset", [9, 11, 13, 21])
def test_softmax(opset):
    """All axes of a shape side by side: a session takes longer to make than all of its runs."""
    for shape, axes in (((2, 4, 3, 5), (1, -1)), ((3, 1), (1,)), ((4,), (0,))):
        chosen = [(op_type, axis) for op_type in ("Softmax", "LogSoftmax") for axis in axes]
        names = [f"{op_type}{axis}" for op_type, axis in chosen]
        nodes = [helper.make_node(op, ["x"], [n], axis=axis) for n, (op, axis) in zip(names, chosen, strict=True)]
        proto = model(nodes, {}, inputs={"x": shape}, outputs=names, opset=opset)
        for limits in (*RANGES, (-30, 30)):
            check_sound(proto, limits and {"x": limits}, 7, engines=BOTH)


def test_softmax_is_tight_where_the_range_is_known():
    values = bounds_of(check_sound(single("Softmax", {}, shape=(2, 3)), {"x": (0, 1)}), "y")
    assert values.hi == pytest.approx(np.e / (np.e + 2), rel=1e-5)
    assert values.lo == pytest.approx(1 / (1 + 2 * np.e), rel=1e-5)
    log = bounds_of(check_sound(single("LogSoftmax", {}, shape=(2, 3)), {"x": (0, 1)}), "y")
    assert log.lo == pytest.approx(-np.log(1 + 2 * np.e), rel=1e-5)


@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax", "LpNormalization"])
@pytest.mark.parametrize("elem_type", [TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_other_float_types(op_type, elem_type):
    for limits in RANGES:
        check_sound(single(op_type, {}, elem_type=elem_type), limits and {"x": limits}, 7)
