"""The bounds of an operator's own record: what it is told, what is believed of it, and what is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from anybit.analysis.values.interpreter import Values, analyse
from anybit.operators import Attribute, Bounds, Call, GridBounds, Input, Operator, register
from anybit.ops import registry
from tests.analysis.values.soundness import bounds_of, check_sound
from tests.models import model, parameters, quant
from tests.strategies import Array


@pytest.fixture(autouse=True)
def _operators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_operators", {k: list(v) for k, v in registry._operators.items()})


def _shifted(x: Array, by: Array | None = None, *, factor: float) -> Array:
    return (x * np.float32(factor) + (np.float32(0) if by is None else by)).astype(np.float32)


_SHIFTED = Operator(
    name="Shifted",
    domain="my.ops",
    inputs=(Input("X"), Input("by", optional=True)),
    attributes=(Attribute("factor", float, 1.0),),
    reference=_shifted,
)


def _proto(*names: str, **attributes: float) -> onnx.ModelProto:
    """x quantised to 3 bits in steps of a half, and the operator behind it."""
    node = helper.make_node("Shifted", ["q", *names], ["y"], name="mine", domain="my.ops", **attributes)
    imports = {"": 21, "my.ops": 1, "qonnx.custom_op.general": 1}
    constants = parameters("q", scale=0.5, bits=3) | {"c": np.float32([1, 2, 4])}
    return model([quant("x", "q"), node], constants, inputs={"x": [2, 3]}, outputs=["y"], imports=imports)


def _analysed(bounds: Callable[..., Any], *names: str, **attributes: float) -> Values:
    register(replace(_SHIFTED, bounds=bounds))
    return analyse(_proto(*names, **attributes))


def _halved(_: Call, x: Bounds, by: Bounds | None = None) -> Bounds:
    """Of half of x: the same integers of half the scale."""
    assert x.grid is not None
    grid = GridBounds(scale=np.asarray(x.grid.scale) / 2, lo=x.grid.lo, hi=x.grid.hi, zero_point=x.grid.zero_point)
    lo, hi = np.asarray(x.lo) / 2, np.asarray(x.hi) / 2
    return Bounds(lo=lo, hi=hi, grid=grid) if by is None else Bounds(lo=lo + by.lo, hi=hi + by.hi)


def test_bounds_and_grids_go_in_and_out():
    register(replace(_SHIFTED, bounds=_halved))
    y = bounds_of(check_sound(_proto(factor=0.5)), "y")
    assert (y.lo, y.hi) == (-1, 0.75)
    assert y.grid is not None
    assert (y.grid.scale, y.grid.zero_point, y.grid.lo, y.grid.hi) == (0.25, 0, -4, 3)
    y = bounds_of(check_sound(_proto("c", factor=0.5)), "y")
    assert (y.lo.tolist(), y.hi.tolist(), y.grid) == ([0, 1, 3], [1.75, 2.75, 4.75], None)


def test_a_record_is_told_the_constants_and_the_attributes():
    seen: list[Call] = []

    def bounds(call: Call, *_: Bounds | None) -> Bounds:
        seen.append(call)
        return Bounds(lo=-np.inf, hi=np.inf)

    _analysed(bounds, "c", factor=0.25)
    assert [*seen[-1].constants] == ["by"]
    np.testing.assert_array_equal(seen[-1].constants["by"], [1, 2, 4])
    assert seen[-1].attributes["factor"] == 0.25
    _analysed(bounds)
    assert not seen[-1].constants
    assert seen[-1].attributes["factor"] == 1


def _grid(**parts: Any) -> Callable[..., Bounds]:
    return lambda *_: Bounds(lo=-1.0, hi=1.0, grid=GridBounds(**{"scale": 0.5, "lo": -2.0, "hi": 2.0} | parts))


@pytest.mark.parametrize(
    "parts",
    [
        {"scale": 0.0},
        {"scale": -1.0},
        {"scale": np.inf},
        {"scale": np.nan},
        {"scale": [0.5, 0.5, 0.0]},
        {"lo": -np.inf},
        {"hi": np.inf},
        {"hi": [2.0, np.inf, 2.0]},
        {"lo": [-2.0, -np.inf, -2.0]},
        {"zero_point": np.nan},
        {"zero_point": [0.0, np.inf, 0.0]},
        {"hi": 2.0**60},
    ],
)
def test_a_grid_that_is_not_finite_is_left_out(parts: dict[str, Any]):
    values = _analysed(_grid(**parts))
    y = bounds_of(values, "y")
    assert (y.lo, y.hi, y.grid) == (-1, 1, None)
    assert not values.unfollowed


@pytest.mark.parametrize("parts", [{}, {"zero_point": 0.25}, {"lo": 2.0}, {"lo": [-2.0, -1.0, 2.0]}])
def test_a_grid_with_whole_ends_is_kept(parts: dict[str, Any]):
    y = bounds_of(_analysed(_grid(**parts)), "y")
    assert y.grid is not None
    np.testing.assert_array_equal(y.grid.lo, parts.get("lo", -2.0))
    np.testing.assert_array_equal(y.grid.zero_point, parts.get("zero_point", 0.0))


@pytest.mark.parametrize(
    ("bounds", "reason"),
    [
        (_grid(lo=3.0), "no whole ends"),
        (_grid(lo=[-2.0, 3.0, -2.0]), "no whole ends"),
        (_grid(lo=-1.5), "no whole ends"),
        (_grid(hi=[2.0, 1.5, 2.0]), "no whole ends"),
        (_grid(scale=np.zeros(0)), "do not broadcast"),
        (_grid(hi=np.ones((1, 1, 1))), "do not broadcast"),
        (lambda *_: Bounds(lo=[0.0, 2.0, 0.0], hi=1.0), "no interval"),
        (lambda *_: Bounds(lo=0.0, hi=[1.0, np.nan, 1.0]), "no interval"),
        (lambda *_: Bounds(lo=[np.nan, 0.0, 0.0], hi=1.0), "no interval"),
        (lambda *_: (0.0, 1.0), "tuple, expected Bounds"),
    ],
)
def test_what_makes_no_sense_is_not_believed(bounds: Callable[..., Any], reason: str):
    values = _analysed(bounds)
    (reason_given,) = values.unfollowed.values()
    assert reason in reason_given
    assert not bounds_of(values, "y").is_bounded


def test_a_point_is_an_interval_and_bounds_broadcast():
    y = bounds_of(_analysed(lambda *_: Bounds(lo=[[1.0], [2.0]], hi=[[1.0], [3.0]])), "y")
    assert (y.lo.tolist(), y.hi.tolist()) == ([[1], [2]], [[1], [3]])


def test_without_bounds_nothing_is_known():
    register(_SHIFTED)
    values = analyse(_proto())
    assert not bounds_of(values, "y").is_bounded
    assert len(values.unfollowed) == 1
