"""Walks: what a walk finds, and where its record is believed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from anybit.exact import walks
from anybit.exact.ordinals import INFINITY, float_at, ordinal_of
from anybit.exact.walks import Walk, environment, is_walked, kernel_of, recorded, samples_of
from tests.proofs.walk_float32 import first_fall
from tests.strategies import Array

_ENDS = (1_000_000, 1_100_000)
_LATER = float(float_at(np.array([_ENDS[0] + 77_777]))[0])


def _place_in_array(x: Array) -> Array:
    return np.where((np.arange(len(x)) == 4) & (len(x) > 10_000), x + np.float32(1e-38), x)


_FALLS: dict[str, Callable[[Array], Array]] = {
    "one number": lambda x: np.where(x == np.float32(_LATER), np.float32(0), x),
    "NaN in between": lambda x: np.where(x == np.float32(_LATER), np.float32(np.nan), x),
    "negation": lambda x: -x,
    "the place in the array": _place_in_array,
}
_RISES: dict[str, Callable[[Array], Array]] = {
    "identity": lambda x: x,
    "plateaus": lambda x: np.minimum(x, np.float32(_LATER)),
    "NaN before": lambda x: np.where(x < np.float32(_LATER), np.float32(np.nan), x),
    "NaN behind": lambda x: np.where(x > np.float32(_LATER), np.float32(np.nan), x),
    "NaN alone": lambda x: np.full_like(x, np.nan),
}


@pytest.mark.parametrize("name", _FALLS)
def test_a_walk_finds_what_does_not_rise(name: str):
    assert first_fall(_FALLS[name], *_ENDS) is not None


def test_a_walk_names_the_first_number_that_falls():
    assert first_fall(_FALLS["one number"], *_ENDS) == _LATER


@pytest.mark.parametrize("name", _RISES)
def test_a_walk_passes_what_rises(name: str):
    assert first_fall(_RISES[name], *_ENDS) is None


def test_a_walk_finds_a_zero_whose_sign_matters():
    assert first_fall(lambda x: np.signbit(x).astype(np.float32), -1, 1) == 0.0


@pytest.mark.parametrize("walk", recorded(), ids=lambda w: w.operator)
def test_recorded_walks_are_of_all_numbers(walk: Walk):
    """What was recorded elsewhere holds here at samples at least; where it was recorded here, so does its digest."""
    assert walk.numbers == 2 * INFINITY + 1
    assert walk.rises == (walk.counterexample is None)
    kernel = kernel_of(walk.operator, 20)
    if walk.environment == environment():
        assert samples_of(kernel) == walk.samples
    start = int(ordinal_of(np.float32([0.3]))[0])
    assert first_fall(kernel, start, start + 200_000) is None


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Walk], None]]:
    """Makes one walk the only one that is recorded."""

    def put(walk: Walk) -> None:
        walks._is_recorded.cache_clear()
        monkeypatch.setattr(walks, "recorded", lambda: (walk,))

    yield put
    walks._is_recorded.cache_clear()


def tanh(
    *, dtype: ir.DataType | None = ir.DataType.FLOAT, op_type: str = "Tanh", domain: str = "", **attributes: float
) -> ir.Node:
    """A Tanh of an input."""
    return ir.node(op_type, [ir.Value(name="x", type=dtype and ir.TensorType(dtype))], attributes, domain=domain)


def walk_of(operator: str) -> Walk:
    """What a walk here would record."""
    return Walk(operator, True, 2 * INFINITY + 1, samples_of(kernel_of(operator, 20)), environment())


def test_a_record_is_believed_where_everything_is_the_same(record: Callable[[Walk], None]):
    record(walk_of("Tanh"))
    assert is_walked(tanh(), 20)
    assert is_walked(tanh(), 6)
    assert not is_walked(tanh(dtype=ir.DataType.DOUBLE), 20)
    assert not is_walked(tanh(dtype=None), 20)
    assert not is_walked(tanh(domain="other"), 20)
    assert not is_walked(tanh(op_type="Sigmoid"), 20)


@pytest.mark.parametrize("part", environment())
def test_a_record_of_another_environment_is_not_believed(part: str, record: Callable[[Walk], None]):
    walk = walk_of("Tanh")
    record(replace(walk, environment={**walk.environment, part: "other"}))
    assert not is_walked(tanh(), 20)


def test_a_record_is_not_believed_where_results_differ_or_fall(record: Callable[[Walk], None]):
    for walk in (replace(walk_of("Tanh"), samples="0"), replace(walk_of("Tanh"), rises=False, counterexample=1.0)):
        record(walk)
        assert not is_walked(tanh(), 20)


def test_a_walk_holds_for_default_attributes_alone(record: Callable[[Walk], None]):
    record(walk_of("Elu"))
    assert is_walked(tanh(op_type="Elu"), 20)
    assert is_walked(tanh(op_type="Elu", alpha=1.0), 20)
    assert not is_walked(tanh(op_type="Elu", alpha=0.5), 20)


def test_samples_tell_kernels_apart():
    assert samples_of(lambda x: x) != samples_of(lambda x: np.where(np.abs(x) < 1e-30, 0, x).astype(np.float32))
