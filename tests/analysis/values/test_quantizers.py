"""Bounds and grids of our quantisers, against their references at and between the bounds of X."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

import anybit
from anybit.analysis.values.interpreter import Values, analyse
from anybit.errors import InvalidModelError
from anybit.number_formats import BipolarFormat, FloatFormat, IntFormat, parse_number_format
from tests import models
from tests.analysis.values.soundness import assert_holds, bounds_of, check_sound
from tests.strategies import (
    Array,
    Case,
    bipolar_cases,
    examples,
    float_quant_cases,
    multi_threshold_cases,
    quant_cases,
    trunc_1_cases,
    trunc_2_cases,
)


def of_node(
    op_type: str, case: Case, *, version: int = 1, limits: tuple[float, float] | None = None, constant: bool = False
) -> tuple[onnx.ModelProto, Values]:
    """One node whose X is the input "x", or a constant; parameters are constants."""
    x, *parameters = case.inputs
    names = [f"p{i}" for i in range(len(parameters))]
    initializers = dict(zip(names, parameters, strict=True)) | ({"w": x} if constant else {})
    node = helper.make_node(op_type, ["w" if constant else "x", *names], ["y"], domain=models.DOMAIN, **case.attributes)
    model = models.model(
        [node],
        initializers,
        inputs={} if constant else {"x": x.shape},
        outputs=["y"],
        imports={"": 21, models.DOMAIN: version},
        input_type=helper.np_dtype_to_tensor_dtype(x.dtype),
    )
    model.graph.output[0].type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(x.dtype)
    return model, analyse(model, input_ranges=None if limits is None else {"x": limits})


def follow(op_type: str, case: Case, *, version: int = 1) -> None:
    """Every element of the reference's answer to X within its finite range holds."""
    x = case.inputs[0]
    numbers = x[np.isfinite(x)]
    limits = (float(numbers.min()), float(numbers.max())) if numbers.size else (-1.0, 1.0)
    model, values = of_node(op_type, case, version=version, limits=limits)
    fed = np.where(np.isfinite(x), x, x.dtype.type(limits[0])).astype(x.dtype)
    holds(values, run(model, fed))
    if not x.size:
        return
    ends = [run(model, np.full_like(x, end)) for end in limits]
    y = bounds_of(values, "y")
    if not values.unfollowed and all(np.isfinite(e).all() for e in ends):
        ends = [np.minimum(*ends), np.maximum(*ends)]
        assert np.min(y.lo) == np.min(ends[0])
        assert np.max(y.hi) == np.max(ends[1])
    whole, found = of_node(op_type, case, version=version, constant=True)
    holds(found, run(whole))


def holds(values: Values, y: Array) -> None:
    with np.errstate(invalid="ignore"):  # float16 overflows
        assert_holds(bounds_of(values, "y"), y)


def run(model: onnx.ModelProto, x: Array | None = None) -> Array:
    return anybit.Session(model, engine="reference").run({} if x is None else {"x": x})["y"]


@given(quant_cases())
@examples(150)
def test_quant_holds_its_results_and_attains_its_bounds(case: Any) -> None:
    follow("Quant", Case(case.inputs, case.attributes))


@given(bipolar_cases())
@examples(40)
def test_bipolar_quant(case: Case) -> None:
    follow("BipolarQuant", case)


@given(trunc_1_cases())
@examples(60)
def test_trunc_1(case: Case) -> None:
    follow("Trunc", case, version=1)


@given(trunc_2_cases())
@examples(80)
def test_trunc_2(case: Case) -> None:
    follow("Trunc", case, version=2)


@given(float_quant_cases())
@examples(100)
def test_float_quant(case: Case) -> None:
    follow("FloatQuant", case)


@given(multi_threshold_cases())
@examples(100)
def test_multi_threshold(case: Case) -> None:
    follow("MultiThreshold", case)


def quantized(limits: tuple[float, float] | None = None, **options: Any) -> Values:
    names = ("scale", "zeropt", "bits")
    given_parameters = {k: options.pop(k) for k in names if k in options}
    model = models.model(
        [models.quant("x", "y", **options)],
        models.parameters("y", **given_parameters),
        inputs={"x": [2, 3]},
        outputs=["y"],
    )
    return check_sound(model, {} if limits is None else {"x": limits})


@pytest.mark.parametrize("mode", ["ROUND", "FLOOR", "CEIL", "UP", "DOWN", "HALF_UP", "HALF_DOWN"])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7, 8, 16, 32])
@pytest.mark.parametrize(("signed", "narrow"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_all_integers_of_a_width_are_reached_without_a_range(mode: str, bits: int, signed: int, narrow: int) -> None:
    model = models.model(
        [models.quant("x", "y", signed=signed, narrow=narrow, rounding_mode=mode)],
        models.parameters("y", bits=float(bits)),
        inputs={"x": [2]},
        outputs=["y"],
    )
    grid = bounds_of(analyse(model), "y").grid
    assert grid is not None
    declared: Any = BipolarFormat() if signed and bits == 1 else IntFormat(bits, signed=bool(signed))
    lo, hi = int(declared.min), int(declared.max)
    if narrow and declared != BipolarFormat():
        lo, hi = (lo + 1, hi) if signed else (lo, hi - 1)
    assert (grid.lo.item(), grid.hi.item(), grid.datatype) == (lo, hi, declared)


def test_range_zero_point_and_scale_by_channel() -> None:
    values = quantized(
        (-1.3, 0.8), scale=np.float32([0.5, 0.25, 0.1]), zeropt=np.float32([0, 1.5, -2]), rounding_mode="FLOOR"
    )
    grid = bounds_of(values, "y").grid
    assert grid is not None
    assert grid.lo.tolist() == [-3, -4, -8]
    assert grid.hi.tolist() == [1, 4, 6 if np.float32(0.8) / np.float32(0.1) >= 8 else 5]
    assert grid.zero_point.tolist() == [0, 1.5, -2]
    assert grid.scale.tolist() == [0.5, 0.25, np.float32(0.1)]


def test_known_weights_are_bounded_by_channel_and_attain_it() -> None:
    rng = np.random.default_rng(0)
    w = (rng.normal(size=(64, 128)) * np.linspace(0.1, 1, 128)).astype(np.float32)  # too many for bounds by element
    s = np.linspace(0.1, 0.2, 128).astype(np.float32)
    case = Case((w, s, np.float32(0), np.float32(4)), {"signed": 1, "narrow": 1, "rounding_mode": "ROUND"})
    model, values = of_node("Quant", case, constant=True)
    q = np.rint(run(model) / s)
    grid = bounds_of(values, "y").grid
    assert grid is not None
    np.testing.assert_array_equal(np.ravel(grid.lo), q.min(0))
    np.testing.assert_array_equal(np.ravel(grid.hi), q.max(0))
    assert grid.datatype == IntFormat(4, signed=True)


def test_widths_by_element_declare_the_widest() -> None:
    values = quantized(bits=np.float32([2, 5, 3]))
    grid = bounds_of(values, "y").grid
    assert grid is not None
    assert grid.datatype == IntFormat(5, signed=True)
    assert grid.hi.tolist() == [1, 15, 3]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("scale", 0.0, "scale: got 0, expected positive finite numbers"),
        ("scale", -1.0, "scale: got -1, expected positive finite numbers"),
        ("scale", np.nan, "scale: got nan, expected positive finite numbers"),
        ("zeropt", np.inf, "zeropt: got inf, expected finite"),
        ("bits", 2.5, "bitwidth: got 2.5, expected a positive integer"),
    ],
)
def test_illegal_parameters_are_refused(name: str, value: float, reason: str) -> None:
    model = models.model(
        [models.quant("x", "y")], models.parameters("y", **{name: value}), inputs={"x": [2]}, outputs=["y"]
    )
    with pytest.raises(InvalidModelError, match=reason):
        analyse(model)


def test_a_scale_that_is_computed_leaves_the_integers_of_the_width() -> None:
    nodes = [helper.make_node("Abs", ["x"], ["y_scale"]), models.quant("x", "y")]
    initializers = models.parameters("y", zeropt=1.0)
    del initializers["y_scale"]
    model = models.model(nodes, initializers, inputs={"x": [2, 3]}, outputs=["y"])
    values = check_sound(model, {"x": (-2.0, 0.5)})
    y = bounds_of(values, "y")
    assert y.grid is None
    assert -18.01 < y.lo.min() <= -18
    assert 12 <= y.hi.max() < 12.01


def test_a_bipolar_quantiser_whose_input_has_one_sign() -> None:
    node = helper.make_node("BipolarQuant", ["x", "s"], ["y"], domain=models.DOMAIN)
    model = models.model([node], {"s": np.float32([0.5, 2])}, inputs={"x": [3, 2]}, outputs=["y"])
    for limits, lo, hi in (((-1, 1), -1, 1), ((0, 4), 1, 1), ((-3, -1), -1, -1)):
        grid = bounds_of(check_sound(model, {"x": limits}), "y").grid
        assert grid is not None
        assert (grid.lo.item(), grid.hi.item(), grid.datatype) == (lo, hi, BipolarFormat())


def test_trunc_declares_its_output_width() -> None:
    inputs = (np.zeros((1, 3), np.float32), *(np.float32(v) for v in (0.5, 4.0, 8.0, 8.0, 4.0)))
    _, values = of_node("Trunc", Case(inputs, {"signed": 0}), version=2, limits=(0.0, 77.0))
    grid = bounds_of(values, "y").grid
    assert grid is not None
    assert (grid.scale.item(), grid.zero_point.item()) == (8.0, 0.25)
    assert (grid.lo.item(), grid.hi.item(), grid.datatype) == (0, 9, IntFormat(4, signed=False))


def test_minifloats_are_multiples_of_the_smallest_subnormal() -> None:
    inputs = (np.zeros((1, 3), np.float32), *(np.float32(v) for v in (0.5, 4, 3, 7, 448)))
    _, values = of_node("FloatQuant", Case(inputs, {}))
    y = bounds_of(values, "y")
    assert y.grid is not None
    assert (y.lo.item(), y.hi.item()) == (-224, 224)
    assert (y.grid.scale.item(), y.grid.hi.item()) == (0.5 * 2**-9, 448 * 2**9)
    assert y.grid.datatype == FloatFormat(4, 3, 7)


def test_minifloats_cut_off_beside_their_grid_have_none() -> None:
    inputs = (np.zeros((1, 3), np.float32), *(np.float32(v) for v in (1, 2, 1, 1, 1.1)))
    _, values = of_node("FloatQuant", Case(inputs, {}))
    y = bounds_of(values, "y")
    assert y.grid is None
    assert y.hi.item() == np.float32(1.1)
    _, within = of_node("FloatQuant", Case(inputs, {}), limits=(-1.0, 1.0))
    assert bounds_of(within, "y").grid is not None


def test_overflow_to_infinity_is_bounded_by_infinity_alone() -> None:
    inputs = (np.zeros((1, 3), np.float32), *(np.float32(v) for v in (1, 4, 3, 7, 448)))
    _, values = of_node("FloatQuant", Case(inputs, {"saturation": 0, "has_inf": 1}), limits=(-1.0, 1000.0))
    assert (bounds_of(values, "y").lo.item(), bounds_of(values, "y").hi.item()) == (-1.0, np.inf)
    _, values = of_node("FloatQuant", Case(inputs, {"saturation": 0, "has_nan": 1}), limits=(-1.0, 1000.0))
    assert bounds_of(values, "y").hi.item() == 448


@pytest.mark.parametrize(
    ("declared", "scale", "bias", "grid"),
    [
        ("UINT2", 1.0, 0.0, (1.0, 0.0, 0, 3)),
        ("INT3", 1.0, -3.0, (1.0, 0.0, -3, 0)),
        ("INT3", 0.5, -1.5, (0.5, 0.0, -3, 0)),
        ("UINT2", 0.5, 0.25, (0.5, -0.5, 0, 3)),
        ("INT4", 2.0, -3.0, (1.0, 0.0, -3, 3)),
        ("UINT1", 1.0, 0.0, (1.0, 0.0, 0, 3)),
        ("INT3", -1.0, 0.0, (1.0, 0.0, -3, 0)),
    ],
)
def test_the_integers_of_thresholds_are_those_of_the_declared_format(
    declared: str, scale: float, bias: float, grid: tuple[float, ...]
) -> None:
    thresholds = np.float32([[-1, 0, 1]])
    case = Case(
        (np.zeros((1, 3), np.float32), thresholds), {"out_dtype": declared, "out_scale": scale, "out_bias": bias}
    )
    found = bounds_of(of_node("MultiThreshold", case)[1], "y").grid
    assert found is not None
    assert tuple(a.item() for a in (found.scale, found.zero_point, found.lo, found.hi)) == grid
    assert found.datatype == (None if declared == "UINT1" else parse_number_format(declared))


def test_one_threshold_makes_a_bipolar_tensor() -> None:
    thresholds = np.float32([[0.5]])
    attributes = {"out_dtype": "BIPOLAR", "out_scale": 2.0, "out_bias": -1.0}
    _, values = of_node("MultiThreshold", Case((np.zeros((1, 3), np.float32), thresholds), attributes))
    grid = bounds_of(values, "y").grid
    assert grid is not None
    assert (grid.scale.item(), grid.lo.item(), grid.hi.item(), grid.datatype) == (1, -1, 1, BipolarFormat())


@given(st.sampled_from(["NCHW", "NHWC"]), st.integers(0, 100))
@examples(12)
def test_thresholds_by_channel(layout: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    node = helper.make_node("MultiThreshold", ["x", "t"], ["y"], domain=models.DOMAIN, data_layout=layout)
    shape = (1, 3, 2, 2) if layout == "NCHW" else (1, 2, 2, 3)
    t = rng.normal(size=(3, 7)).astype(np.float32)
    model = models.model([node], {"t": t}, inputs={"x": shape}, outputs=["y"])
    values = check_sound(model, {"x": (-0.5, 0.75)})
    grid = bounds_of(values, "y").grid
    assert grid is not None
    expected = [(t <= end).sum(1) for end in (-0.5, 0.75)]
    np.testing.assert_array_equal(np.broadcast_to(np.ravel(grid.lo), 3), expected[0])
    np.testing.assert_array_equal(np.broadcast_to(np.ravel(grid.hi), 3), expected[1])


def test_thresholds_that_are_computed_leave_all_counts() -> None:
    nodes = [
        helper.make_node("Abs", ["t"], ["a"]),
        helper.make_node("MultiThreshold", ["x", "a"], ["y"], domain=models.DOMAIN, out_scale=-1.0),
    ]
    model = models.model(nodes, {}, inputs={"x": [1, 3], "t": [3, 5]}, outputs=["y"])
    y = bounds_of(check_sound(model), "y")
    assert (y.lo.item(), y.hi.item()) == (-5, 0)


def test_a_quantiser_is_followed_by_each_of_its_names() -> None:
    model = models.model(
        [models.quant("x", "y", op_type="IntQuant")], models.parameters("y"), inputs={"x": [2]}, outputs=["y"]
    )
    values = analyse(ir.to_proto(ir.from_proto(model)))
    assert bounds_of(values, "y").grid is not None
