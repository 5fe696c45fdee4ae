"""Enclosures: means in float lie within them, and what they decide is so for every window of levels."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

import anybit
from anybit.exact.certificate import Verdict
from anybit.exact.enclosures import around, between, decided, error_of_mean
from anybit.exact.integer_functions import MOST_LEVELS, Error, Function, Kernel, Root, function_on, with_runs
from anybit.formats.certify import certify
from anybit.formats.convert import translate
from tests.models import model, parameters, quant
from tests.strategies import MODES

_SCALES = st.floats(2.0**-8, 2.0**8, width=32)


def _ends(lo: float, hi: float, count: int, scale: float):
    """Both ends of the enclosure of a mean, for each sum that so many levels have."""
    kernel = Kernel(b"levels", lo, hi, np.float64([scale]), 1, 1)
    root = Root(b"sums", np.float64([count * lo]), np.float64([count * hi]))
    error = error_of_mean(kernel)
    assert error is not None
    enclosure = around(root, scale / count, error, rank=2)
    every = enclosure.lower.steps.every()
    return (f.steps(every)[:, 0] for f in (enclosure.lower, enclosure.upper))


@given(_SCALES, st.integers(2, 64), st.sampled_from([(0, 15), (-8, 7), (-15, 0), (-1, 1), (3, 200)]), st.data())
def test_means_in_float_lie_within_their_enclosure(
    scale: float, count: int, ends: tuple[int, int], data: st.DataObject
):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    lo, hi = ends
    levels = rng.integers(lo, hi + 1, (64, count))
    levels[:8] = rng.choice([lo, hi], (8, count))  # of both signs, which cancel
    reals = (levels * np.float64(np.float32(scale))).astype(np.float32)
    low, high = (end[levels.sum(axis=1) - count * lo] for end in _ends(lo, hi, count, float(np.float32(scale))))
    means = [(reals.astype(np.float64).sum(axis=1) / count).astype(np.float32)]
    if count <= 4:  # a few additions in float32 are within it as well
        means.append(np.cumsum(reals, axis=1, dtype=np.float32)[:, -1] / np.float32(count))
    for mean in means:
        assert (low <= mean).all()
        assert (mean <= high).all()
    assert (high - low <= 2.0**-19 * scale * max(abs(lo), abs(hi))).all()


def test_both_ends_of_an_enclosure_rise():
    for lo, hi in ((0, 255), (-128, 127)):
        for end in _ends(lo, hi, 49, 0.3):
            assert (np.diff(end) > 0).all()


@pytest.mark.parametrize(("scale", "largest"), [(2.0**-101, 1), (2.0**98, 8), (2.0**-120, 2.0**22)])
def test_scales_whose_levels_may_be_subnormal_or_overflow_are_left_alone(scale, largest):
    assert error_of_mean(Kernel(b"levels", 0, largest, np.float64([scale]), 1, 1)) is None


def _function(table, *, rising: bool = True) -> Function:
    values = np.asarray(table, np.float32).reshape(len(table), -1)
    root = Root(b"key", np.zeros(1), np.float64([len(values) - 1]))
    channels = values.shape[1]
    made = function_on(
        root,
        lambda q: np.take_along_axis(values, np.broadcast_to(q, (len(q), channels)).astype(np.int64), axis=0),
        rank=2,
        channels=channels,
        rising=np.ones(channels) if rising else None,
    )
    return with_runs(made)


def test_a_function_is_decided_only_where_both_ends_are_equal():
    one = _function([[0, 0], [0, 1], [1, 1]])
    assert decided(one, _function([[0, 0], [0, 1], [1, 1]])) is one
    steps_of_its_own = [[0, 0], [1, 1], [1, 1]], [[0, 0], [0, 0], [1, 1]], [[0, 0], [0, 1], [1, 2]]
    levels_of_its_own = [[0, 0], [0, 1], [2, 1]], [[-1, 0], [-1, 1], [1, 1]], [[0, 2], [0, 3], [1, 3]]
    for other in (*steps_of_its_own, *levels_of_its_own):
        assert decided(one, _function(other)) is None
    assert decided(one, None) is None
    assert decided(None, one) is None
    for unknown in (replace(one, runs=None), _function([[0, 0], [0, 1], [1, 1]], rising=False)):
        assert decided(unknown, one) is None
    assert decided(one, replace(one, runs=None)) is None
    assert decided(*[_function([[0, 0], [0, 1], [1, 1]], rising=False)] * 2) is None


def test_what_lies_between_is_below_and_above_whichever_way_it_falls():
    made = between(_function([[0, 5], [1, 6]]), _function([[2, 3], [3, 4]]))
    assert made is not None
    every = made.lower.steps.every()
    np.testing.assert_array_equal(made.lower.steps(every), [[0, 3], [1, 4]])
    np.testing.assert_array_equal(made.upper.steps(every), [[2, 5], [3, 6]])
    assert made.integers is None
    assert between(*[_function([[0, 0], [1, 1]], rising=False)] * 2) is None
    assert around(Root(b"k", np.zeros(1), np.ones(1)), 0.5, Error(), rank=2).integers is not None


def test_whole_numbers_behind_an_enclosure_rise_one_by_one():
    root = Root(b"k", np.zeros(1), np.float64([5]), step=2, offset=np.float64([-5]))
    made = around(root, 0.5, Error(absolute=0.125), rank=3)
    assert made.integers is not None
    every = made.lower.steps.every()
    np.testing.assert_array_equal(made.integers.steps(every)[:, 0], [-5, -3, -1, 1, 3, 5])
    np.testing.assert_array_equal(made.lower.steps(every), made.integers.steps(every) * 0.5 - 0.125)
    np.testing.assert_array_equal(made.upper.steps(every), made.integers.steps(every) * 0.5 + 0.125)
    for function in (made.lower, made.upper, made.integers):
        assert function.rank == 3
        assert function.steps.direction is not None
        assert function.steps.direction.tolist() == [1]
    assert (made.scale, made.error) == (0.5, Error(absolute=0.125))
    wide = Root(b"k", np.zeros(1), np.float64([MOST_LEVELS]))
    assert around(wide, 0.5, None, rank=2).integers is None
    assert around(replace(wide, hi=wide.hi - 1), 0.5, None, rank=2).integers is not None


def _pool(scale: float, step: float, *, mode: str, bits: float = 3.0, factor: float = 1.0) -> onnx.ModelProto:
    """The mean of four levels of two bits, times a factor, quantised with a step of its own."""
    nodes = [
        quant("x", "q", signed=0),
        helper.make_node("AveragePool", ["q"], ["m"], kernel_shape=[2, 2]),
        helper.make_node("Mul", ["m", "factor"], ["f"]),
        quant("f", "y", rounding_mode=mode),
    ]
    known = parameters("q", scale=scale, bits=2.0) | parameters("y", scale=step, bits=bits)
    return model(nodes, known | {"factor": np.float32(factor)}, inputs={"x": ["N", 1, 2, 2]}, outputs=["y"])


def _sums(
    scale: float, step: float, *, mode: str, bits: float = 3.0, factor: float = 1.0, last: float = 1.0
) -> onnx.ModelProto:
    """The same by a convolution of ones, or of ones but for the last element, behind whole numbers."""
    nodes = [
        helper.make_node("Div", ["x", "scale"], ["d"]),
        quant("d", "q", signed=0),
        quant("ones", "wq"),
        helper.make_node("Conv", ["q", "wq"], ["c"]),
        helper.make_node("Mul", ["c", "share"], ["m"]),
        quant("m", "y", rounding_mode=mode),
    ]
    known = parameters("q", scale=1.0, bits=2.0) | parameters("wq", scale=1.0) | parameters("y", scale=step, bits=bits)
    known |= {"scale": np.float32(scale), "share": np.float32(np.float64(np.float32(scale)) * factor / 4)}
    known |= {"ones": np.float32([[[[1, 1], [1, last]]]])}
    return model(nodes, known, inputs={"x": ["N", 1, 2, 2]}, outputs=["y"])


def _every_window(scale: float) -> np.ndarray:
    windows = np.float32(list(itertools.product(range(4), repeat=4))).reshape(-1, 1, 2, 2)
    return windows * np.float32(scale)


def _run(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    (result,) = anybit.Session(proto, engine="reference").run({"x": x}).values()
    return result


@given(_SCALES, st.sampled_from([1, 2, 3, 0.25, 1 / 3, 0.7, 0.1]), st.sampled_from(MODES), st.data())
def test_a_mean_and_its_sums_are_equal_only_where_they_are_for_every_window(
    scale: float, share: float, mode: str, data: st.DataObject
):
    scale, factor = float(np.float32(scale)), data.draw(st.sampled_from([1.0, -1.0, 0.3, 3.0]))
    step = float(np.float32(scale * share))
    one = _pool(scale, step, mode=mode, factor=factor)
    kind = data.draw(st.sampled_from(["same", "ulp", "level", "element", "factor"]))
    changed = {
        "same": _sums(scale, step, mode=mode, factor=factor),
        "ulp": _sums(scale, float(np.nextafter(np.float32(step), np.float32(0))), mode=mode, factor=factor),
        "level": _sums(scale, step, mode=mode, factor=factor, bits=2.0),
        "element": _sums(scale, step, mode=mode, factor=factor, last=2.0),
        "factor": _sums(scale, step, mode=mode, factor=factor * 1.1),
    }
    x = _every_window(scale)
    if certify(one, changed[kind]).verdict.is_exact:
        np.testing.assert_array_equal(_run(one, x), _run(changed[kind], x))


@pytest.mark.parametrize(
    ("share", "mode", "exact"),
    [
        (0.7071, "ROUND", True),
        (1.0, "FLOOR", False),  # each whole mean is a step
        (0.5, "ROUND", False),  # an odd sum is a tie
        (0.3331, "CEIL", True),
        (0.25, "ROUND", True),
        (0.25, "FLOOR", False),
    ],
)
def test_a_mean_whose_ties_are_far_is_a_function_of_its_sum(share, mode, exact):
    step = float(np.float32(0.3 * share))
    one, other = _pool(0.3, step, mode=mode), _sums(0.3, step, mode=mode)
    assert (certify(one, other).verdict is Verdict.EXACT_BY_ENUMERATION) == exact
    assert certify(one, one).verdict is Verdict.EXACT_BY_CONSTRUCTION
    for mutant in ({"last": 2.0}, {"bits": 2.0}, {"factor": 1.4}):
        assert not certify(one, _sums(0.3, step, mode=mode, **mutant)).verdict.is_proof


def _trunc_pool(scale: float, mode: str) -> onnx.ModelProto:
    """The mean of four levels of two bits, whose sum Trunc halves twice."""
    nodes = [
        quant("x", "q", signed=0),
        helper.make_node("AveragePool", ["q"], ["m"], kernel_shape=[2, 2]),
        helper.make_node(
            "Trunc", ["m", "unit", "y_zeropt", "in_bits", "out", "y_bits"], ["y"], domain="qonnx.custom_op.general",
            rounding_mode=mode, signed=0, narrow=0,
        ),
    ]  # fmt: skip
    known = parameters("q", scale=scale, bits=2.0) | parameters("y", scale=scale, bits=2.0)
    known |= {"unit": np.float32(scale / 4), "in_bits": np.float32(4), "out": np.float32(scale)}
    imports = {"": 21, "qonnx.custom_op.general": 2}
    return model(nodes, known, inputs={"x": ["N", 1, 2, 2]}, outputs=["y"], imports=imports)


@given(_SCALES, st.sampled_from(["FLOOR", "ROUND", "CEIL"]), st.sampled_from(["FLOOR", "ROUND", "CEIL"]), _SCALES)
def test_a_truncated_mean_is_equal_only_where_it_is_for_every_window(
    scale: float, mode: str, other: str, factor: float
):
    scale = float(np.float32(scale))
    one, sums = _trunc_pool(scale, mode), _sums(scale, scale, mode=other)
    x = _every_window(scale)
    for changed in (sums, _trunc_pool(scale, other), _trunc_pool(float(np.float32(scale * factor)), mode)):
        if certify(one, changed).verdict.is_exact:
            np.testing.assert_array_equal(_run(one, x), _run(changed, x))


@pytest.mark.parametrize("mode", ["FLOOR", "ROUND"])
def test_a_truncated_mean_is_its_form_for_finn(mode: str):
    proto = _trunc_pool(0.3, mode)
    converted = translate(proto, "finn")
    assert converted.refusals == ()
    assert certify(proto, converted.model).verdict is Verdict.EXACT_BY_ENUMERATION
    x = _every_window(0.3)
    np.testing.assert_array_equal(_run(anybit.to_proto(converted.model), x), _run(proto, x))
