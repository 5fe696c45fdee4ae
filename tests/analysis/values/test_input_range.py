"""InputRange: bounds by channel against brute force, on nets where a wrong axis shows itself; what is refused."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

import anybit
from anybit import InputRange
from anybit.analysis.ranges import Channels
from anybit.analysis.values.interpreter import analyse
from anybit.errors import UsageError
from tests import models
from tests.analysis.values.soundness import assert_holds, check_sound

SIDE = 3  # of every axis but the batch, so that a list fits each of them


def _net(op_type: str = "Conv", shape: tuple[int | str, ...] = (1, SIDE, SIDE, SIDE)) -> onnx.ModelProto:
    """A product whose weights tell its channels apart."""
    rng = np.random.default_rng(5)
    weights = rng.normal(size=(4, SIDE, *(2,) * (len(shape) - 2))).astype(np.float32)
    nodes = [helper.make_node(op_type, ["x", "w"], ["y"]), helper.make_node("Relu", ["y"], ["z"])]
    arrays = {"w": weights.T if op_type == "MatMul" else weights}
    return models.model(nodes, arrays, inputs={"x": shape}, outputs=["z"])


def _corners(lo: np.ndarray, hi: np.ndarray, shape: tuple[int, ...], count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    picks = [np.zeros(shape, bool), np.ones(shape, bool), *(rng.random(shape) < 0.5 for _ in range(count))]
    return [np.where(p, np.broadcast_to(hi, shape), np.broadcast_to(lo, shape)).astype(np.float32) for p in picks]


@pytest.mark.parametrize("axis", [1, 2, 3, -1, -3])
@pytest.mark.parametrize("form", ["pair", "range", "full"])
def test_bounds_along_an_axis_hold_what_brute_force_finds(axis: int, form: str) -> None:
    lo, hi = [-1.0, 0.0, 3.0], [-0.5, 10.0, 3.0]
    sides = [SIDE if k == axis % 4 else 1 for k in range(4)]
    low, high = np.reshape(lo, sides), np.reshape(hi, sides)
    given = {"pair": (lo, hi), "range": InputRange(lo, hi, axis=axis), "full": (low, high)}[form]
    if form == "pair" and axis != 1:
        low, high = np.reshape(lo, (1, SIDE, 1, 1)), np.reshape(hi, (1, SIDE, 1, 1))
    values = analyse(_net(), input_ranges={"x": given})
    session = anybit.Session(_net(), engine="reference", tensors=["y"])
    shape = (1, SIDE, SIDE, SIDE)
    for x in _corners(low, high, shape, 60):
        assert_holds(values["x"], x)
        for name, array in session.run(x).items():
            assert_holds(values[name], array, name)
    assert (values["x"].lo == low).all()
    assert (values["x"].hi == high).all()


def test_bounds_by_channel_are_those_of_brute_force() -> None:
    lo, hi = np.array([-1.0, 0.0, 3.0]), np.array([-0.5, 10.0, 3.0])
    y = analyse(_net(), input_ranges={"x": (lo.tolist(), hi.tolist())})["y"]
    weights = onnx.numpy_helper.to_array(_net().graph.initializer[0]).astype(np.float64)
    low, high = lo[:, None, None], hi[:, None, None]
    lowest = np.where(weights > 0, weights * low, weights * high).sum((1, 2, 3))
    highest = np.where(weights > 0, weights * high, weights * low).sum((1, 2, 3))
    np.testing.assert_allclose(y.lo.reshape(-1), lowest, rtol=1e-3)
    np.testing.assert_allclose(y.hi.reshape(-1), highest, rtol=1e-3)


_W = np.random.default_rng(1).normal(size=(SIDE, SIDE, 2, 2)).astype(np.float32)
_READERS = {
    "padded": [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 0, 0, 2])],
    "grouped": [
        helper.make_node("Slice", ["w", "zero", "one", "one"], ["s"]),
        helper.make_node("Conv", ["x", "s"], ["y"], group=3),
    ],
    "transposed": [helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 1])],
    "pooled": [helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[2, 2], pads=[1, 1, 1, 1])],
    "largest": [helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], pads=[1, 1, 0, 0])],
    "flat": [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("ReduceSum", ["f", "one"], ["y"])],
    "moved": [helper.make_node("Transpose", ["x"], ["t"], perm=[3, 1, 0, 2]), helper.make_node("Relu", ["t"], ["y"])],
    "mean": [helper.make_node("ReduceMean", ["x", "one"], ["y"])],
    "shares": [helper.make_node("Softmax", ["x"], ["y"], axis=1)],
    "joined": [helper.make_node("Concat", ["x", "x"], ["c"], axis=2), helper.make_node("Neg", ["c"], ["y"])],
    "product": [helper.make_node("MatMul", ["x", "x"], ["y"])],
    "square": [helper.make_node("Mul", ["x", "x"], ["m"]), helper.make_node("Sub", ["m", "x"], ["y"])],
    "reshaped": [helper.make_node("Reshape", ["x", "sides"], ["y"])],
    "gathered": [helper.make_node("Gather", ["x", "one"], ["y"], axis=1)],
}


@pytest.mark.parametrize("axis", range(4))
@pytest.mark.parametrize("reader", _READERS)
def test_whatever_reads_the_input_stays_sound(reader: str, axis: int) -> None:
    arrays = {
        "w": _W,
        "one": np.array([1]),
        "zero": np.array([0]),
        "sides": np.array([SIDE, 1, -1]),
    }
    proto = models.model(_READERS[reader], arrays, inputs={"x": [SIDE] * 4}, outputs=["y"])
    check_sound(proto, {"x": InputRange([-3.0, 0.5, 2.0], [-2.0, 1.0, 40.0], axis=axis)})


@given(st.lists(st.tuples(st.floats(-4, 4), st.floats(0, 4)), min_size=SIDE, max_size=SIDE), st.integers(0, 99))
def test_features_of_a_matrix_are_its_channels(pairs: list[tuple[float, float]], seed: int) -> None:
    lo = np.float32([a for a, _ in pairs])
    hi = lo + np.float32([b for _, b in pairs])
    model = _net("MatMul", (2, SIDE))
    values = analyse(model, input_ranges={"x": (lo.tolist(), hi.tolist())})
    session = anybit.Session(model, engine="reference", tensors=["y"])
    for x in _corners(lo, hi, (2, SIDE), 4):
        assert_holds(values["x"], x)
        assert_holds(values["y"], session.run(x)["y"])


def test_channels_reach_the_figures_and_the_quantiser() -> None:
    proto = models.model([models.quant("x", "y")], models.parameters("y"), inputs={"x": [1, 3, 3, 3]}, outputs=["y"])
    found = {t.name: t for t in anybit.ranges(proto, input_ranges={"x": ([0, -1, 2], [0, 1, 2])}).tensors}
    assert found["x"].channels == Channels(1, (0, -1, 2), (0, 1, 2))
    assert found["y"].integers is not None
    assert found["y"].integers.channels == Channels(1, (0, -2, 4), (0, 2, 4))
    assert found["y"].stuck_channels == 2


# Identity of opset 28 does not take float6.
_OF_IDENTITY = [t for t in TensorProto.DataType.values() if t not in (0, 8, 14, 15) and t < TensorProto.FLOAT6E2M3]


@pytest.mark.parametrize("kind", _OF_IDENTITY)
def test_every_element_type_takes_a_range(kind: int) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    proto = models.model(
        [node], {}, inputs={"x": [1, 3]}, outputs=["y"], input_type=kind, imports={"": 28}, ir_version=13
    )
    x = analyse(proto, input_ranges={"x": ([0, 0, 1], 1)})["x"]
    assert (x.lo.tolist(), x.hi) == ([[0, 0, 1]], 1)


@pytest.mark.parametrize("kind", [TensorProto.STRING, TensorProto.COMPLEX64])
def test_what_is_no_real_number_has_no_range(kind: int) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    proto = models.model([node], {}, inputs={"x": [1, 3]}, outputs=["y"], input_type=kind)
    with pytest.raises(UsageError, match="real numbers"):
        analyse(proto, input_ranges={"x": (0, 1)})


def test_a_number_on_one_side_and_a_list_on_the_other() -> None:
    values = analyse(_net(), input_ranges={"x": (0, [1, 2, 3])})
    assert values["x"].lo == 0
    assert values["x"].hi.shape == (1, SIDE, 1, 1)


def test_integers_by_channel_stay_on_their_grid() -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    proto = models.model([node], {}, inputs={"x": [1, 3, 3]}, outputs=["y"], input_type=TensorProto.UINT8)
    grid = analyse(proto, input_ranges={"x": ([0.5, 3, -7], [2.5, 300, 0])})["x"].grid
    assert grid is not None
    assert grid.lo.reshape(-1).tolist() == [1, 3, 0]
    assert grid.hi.reshape(-1).tolist() == [2, 255, 0]
    with pytest.raises(UsageError, match="without a number"):
        analyse(proto, input_ranges={"x": ([0.5, 3, -7], [0.75, 300, 0])})


@pytest.mark.parametrize("bound", [2**53 + 1, 2**53 + 3, -(2**53) - 1])
def test_an_integer_beyond_float64_is_still_inside(bound: int) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    proto = models.model([node], {}, inputs={"x": [1, 1]}, outputs=["y"], input_type=TensorProto.INT64)
    for stated in (bound, [bound], np.int64(bound)):
        x = analyse(proto, input_ranges={"x": (stated, stated)})["x"]
        assert int(x.lo.item()) <= bound <= int(x.hi.item())


@pytest.mark.parametrize("number", [Fraction(1, 2), np.float32(0.5), np.float16(0.5), np.array(0.5)])
def test_numbers_of_other_types(number: object) -> None:
    assert analyse(_net(), input_ranges={"x": (number, number)})["x"].hi == 0.5  # pyright: ignore[reportArgumentType]


_SHAPES: dict[str, tuple[int | str, ...] | None] = {
    "fixed": (1, SIDE, SIDE, SIDE),
    "free": ("n", "c", SIDE, SIDE),
    "flat": (SIDE,),
    "scalar": (),
    "unknown": None,
}
_REFUSED = [
    ("fixed", ([0, 1], [2, 3]), "2 bounds along axis 1, expected 3"),
    ("fixed", ([0], [2]), "1 bounds along axis 1"),
    ("fixed", (0, [1, 2, 3, 4]), "4 bounds"),
    ("fixed", (0, []), "0 bounds"),
    ("fixed", ([0, 1, 2], [1, 0, 3]), "LO <= HI"),
    ("fixed", ([0, np.nan, 2], 9), "NaN"),
    ("fixed", (0, [1, np.nan, 2]), "NaN"),
    ("fixed", ([0, np.inf, 2], np.inf), "LO <= HI"),
    ("fixed", InputRange([0, 1, 2], 3, axis=4), "axis 4"),
    ("fixed", InputRange([0, 1, 2], 3, axis=-5), "axis -5"),
    ("fixed", InputRange([0, 1, 2], 3, axis=1.0), "axis 1.0"),
    ("fixed", InputRange([0, 1, 2], 3, axis=True), "axis True"),
    ("fixed", InputRange([0, 1, 2], 3, axis=0), "3 bounds along axis 0, expected 1"),
    ("fixed", (np.zeros((3, 1, 1)), 1), "shape"),
    ("fixed", (np.zeros((1, 2, 1, 1)), 1), "shape"),
    ("fixed", (np.zeros((1, 1, 3, 1, 1)), 1), "shape"),
    ("fixed", ([[0, 1, 2], [0, 1]], 1), "numbers"),
    ("fixed", ("0", "1"), "numbers"),
    ("fixed", (["0", "1", "2"], 4), "numbers"),
    ("fixed", (None, 1), "numbers"),
    ("fixed", (0, 1j), "numbers"),
    ("fixed", ({0: 1}, 1), "numbers"),
    ("fixed", (10**400, 10**401), "numbers"),
    ("fixed", (0, InputRange(0, 1)), "numbers"),
    ("fixed", 1, "a pair"),
    ("fixed", "01", "a pair"),
    ("fixed", (0,), "a pair"),
    ("fixed", (0, 1, 2), "a pair"),
    ("fixed", {0: 1, 2: 3}, "a pair"),
    ("free", ([0, 1, 2], 3), "known length"),
    ("free", (np.zeros((1, 3, 1, 1)), 1), "shape"),
    ("flat", ([0, 1, 2], 3), "axis 1"),
    ("scalar", ([0, 1, 2], 3), "axis 1"),
    ("unknown", ([0, 1, 2], 3), "not known"),
]


@pytest.mark.parametrize(("shape", "limits", "message"), _REFUSED)
@pytest.mark.parametrize("call", [analyse, anybit.ranges, anybit.prepare_hls4ml])
def test_what_does_not_fit_is_refused(call, shape: str, limits, message: str) -> None:
    proto = models.model([helper.make_node("Relu", ["x"], ["y"])], {}, inputs={"x": _SHAPES[shape]}, outputs=["y"])
    with pytest.raises(UsageError, match="input 'x': range of an input") as error:
        call(proto, input_ranges={"x": limits})
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("call", [analyse, anybit.ranges, anybit.prepare_hls4ml])
def test_names_that_are_no_inputs_are_refused(call) -> None:
    for stated in ({"y": (0, 1)}, {"w": (0, 1)}, {1: (0, 1)}, {"x": (0, 1), "": (0, 1)}):
        with pytest.raises(UsageError, match="range of an unknown input"):
            call(_net(), input_ranges=stated)
    with pytest.raises(UsageError, match="a mapping"):
        call(_net(), input_ranges=[("x", (0, 1))])


def test_a_matrix_states_its_rows_by_axis_0() -> None:
    model = _net("MatMul", (2, SIDE))
    x = analyse(model, input_ranges={"x": InputRange([0, 5], [1, 6], axis=0)})["x"]
    assert x.lo.tolist() == [[0], [5]]
    with pytest.raises(UsageError, match="2 bounds along axis 1, expected 3"):
        analyse(model, input_ranges={"x": ([0, 5], [1, 6])})


def test_the_precision_for_hls4ml_follows_the_channels() -> None:
    nodes = [models.quant("x", "q"), helper.make_node("Relu", ["q"], ["y"])]
    proto = models.model(nodes, models.parameters("q"), inputs={"x": [1, 3, 8, 8]}, outputs=["y"])
    wide, listed, stated = (
        anybit.prepare_hls4ml(proto, input_ranges=given).precision
        for given in (None, {"x": ([0, 0, -5], [1, 2, 1])}, {"x": (-5, 2)})
    )
    assert listed == stated != wide


def test_hls4ml_takes_ranges_by_the_names_of_the_source() -> None:
    nodes = [models.quant("x:0", "q"), helper.make_node("Relu", ["q"], ["y"])]
    proto = models.model(nodes, models.parameters("q"), inputs={"x:0": [1, 3, 8, 8]}, outputs=["y"])
    (renamed,) = (str(v.name) for v in anybit.prepare_hls4ml(proto).model.graph.inputs)
    assert renamed != "x:0"
    assert anybit.prepare_hls4ml(proto, input_ranges={"x:0": (0, 1)}).precision
    with pytest.raises(UsageError, match="unknown input"):
        anybit.prepare_hls4ml(proto, input_ranges={renamed: (0, 1)})
