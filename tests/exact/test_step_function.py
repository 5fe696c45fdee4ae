"""StepFunction, runs, thresholds and equality against the values of every integer."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anybit.errors import Refusal
from anybit.exact import runs, step_function
from anybit.exact.ordinals import float_at
from anybit.exact.runs import Runs, agree, beside_steps, compressed, deciding, runs_of, values_at
from anybit.exact.step_function import Proof, StepFunction, proven, rising_in_floats
from anybit.exact.thresholds import Steps, steps_of
from tests.exact.step_functions import every_value, monotone_tables, of_table
from tests.strategies import Array, examples

_WIDE = float(1 << 40)


def assert_are_runs_of(runs: Runs | Refusal, function: StepFunction) -> None:
    """The runs give the value of every integer, and neighbouring ones differ."""
    assert isinstance(runs, Runs)
    assert runs.starts.shape == runs.values.shape
    for channel in range(function.channels):
        kept = np.isfinite(runs.starts[:, channel])
        starts, values = runs.starts[kept, channel], runs.values[kept, channel]
        integers, expected = every_value(function, channel)
        assert starts[0] == integers[0]
        np.testing.assert_array_equal(values[np.searchsorted(starts, integers, side="right") - 1], expected)
        assert (values[1:] != values[:-1]).all()
        assert not runs.values[~kept, channel].any()


@given(monotone_tables(), st.booleans())
@examples(300)
def test_runs_and_thresholds_are_those_of_every_integer(
    drawn: tuple[Array, list[int], list[int], Array], composed: bool
):
    table, lo, sizes, direction = drawn
    function = of_table(table, lo, sizes, direction=direction if composed else None)
    assert_are_runs_of(runs_of(function), function)
    steps = steps_of(function)
    assert isinstance(steps, Steps)
    assert steps.proof is (Proof.COMPOSITION if composed else Proof.ENUMERATION)
    for channel in range(function.channels):
        integers, expected = every_value(function, channel)
        signed = steps.sign[channel] * integers
        levels = steps.first[channel] + (signed[:, None] >= steps.thresholds[channel]).sum(axis=1)
        np.testing.assert_array_equal(levels, expected)
        assert (steps.lo[channel], steps.hi[channel]) == (signed.min(), signed.max())


@given(monotone_tables())
@examples(100)
def test_both_proofs_give_the_same(drawn: tuple[Array, list[int], list[int], Array]):
    table, lo, sizes, direction = drawn
    composed, tried = (of_table(table, lo, sizes, direction=d) for d in (direction, None))
    first, second = runs_of(composed), runs_of(tried)
    assert isinstance(first, Runs)
    assert isinstance(second, Runs)
    np.testing.assert_array_equal(first.starts, second.starts)
    np.testing.assert_array_equal(first.values, second.values)
    assert first.tried <= 2 * second.tried


_SHAPES: dict[str, Callable[[Array], Array]] = {
    "line": lambda x: x * 0.0173 + 3.2,
    "clipped": lambda x: np.clip(x * 0.05 + 20, 0, 255),
    "falls": lambda x: -x * 0.02,
    "bent": lambda x: np.maximum(x * 0.001, x * 0.03),
    "curved": lambda x: 200 / (1 + np.exp(-x / 1000)),
    "jumps": lambda x: np.where(x < 17, 0, 100 + x * 0.01),
}


@pytest.mark.parametrize("shape", _SHAPES)
def test_steps_of_many_levels_are_those_of_every_integer(shape: str):
    lo, hi = np.array([-6000.0, -5999.0]), np.array([6000.0, 7000.0])
    direction = np.full(2, -1.0 if shape == "falls" else 1.0)
    factor = np.array([1.0, 0.7])
    function = StepFunction(
        lo, hi, 2, lambda x: np.rint(_SHAPES[shape](x * factor)), direction=direction, proof=Proof.COMPOSITION
    )
    runs = runs_of(function)
    assert_are_runs_of(runs, function)


def test_steps_of_a_line_take_a_few_tries_each():
    function = StepFunction(
        np.zeros(1),
        np.full(1, 2.0**24),
        1,
        lambda x: np.rint(x * 1.5e-5),
        direction=np.ones(1),
        proof=Proof.COMPOSITION,
    )
    runs = runs_of(function)
    assert isinstance(runs, Runs)
    assert runs.starts.size == 253
    assert runs.tried < 6 * runs.starts.size  # halving takes sixteen


def test_every_small_function_is_judged_as_its_values_say():
    for size in range(1, 5):
        for levels in itertools.product(range(3), repeat=size):
            table = np.array(levels, np.float64)[:, None]
            function = of_table(table, [-2], [size])
            rises, falls = ((sign * np.diff(table[:, 0]) >= 0).all() for sign in (1, -1))
            found = proven(function)
            if not (rises or falls):
                assert isinstance(found, Refusal)
                assert (found.problem, found.node) == ("the activation is not monotone", "doubtful")
                assert isinstance(steps_of(function), Refusal)
            else:
                assert isinstance(found, StepFunction)
                assert found.proof is Proof.ENUMERATION
                assert found.direction is not None
                assert found.direction[0] == (1.0 if rises else -1.0)
            assert_are_runs_of(runs_of(function), function)


@given(monotone_tables(), monotone_tables(), st.booleans())
@examples(300)
def test_equality_is_that_of_every_integer(
    first: tuple[Array, list[int], list[int], Array], second: tuple[Array, list[int], list[int], Array], composed: bool
):
    table, lo, sizes, direction = first
    channels = min(len(lo), len(second[1]))
    theirs = np.where(np.arange(channels) % 2 == 0, table[:, :channels], second[0][:, :channels])
    same_direction = direction[:channels] if composed else None
    f = of_table(table[:, :channels], lo[:channels], sizes[:channels], direction=same_direction)
    own = np.where(np.arange(channels) % 2 == 0, direction[:channels], second[3][:channels]) if composed else None
    g = of_table(theirs, lo[:channels], sizes[:channels], direction=own)
    expected = all(np.array_equal(every_value(f, c)[1], every_value(g, c)[1]) for c in range(channels))
    assert agree(f, g) is expected


@given(monotone_tables())
@examples(100)
def test_deciding_integers_stand_on_both_sides_of_every_step(drawn: tuple[Array, list[int], list[int], Array]):
    table, lo, sizes, direction = drawn
    function = of_table(table, lo, sizes, direction=direction)
    integers = deciding(function)
    assert not isinstance(integers, Refusal)
    for channel in range(function.channels):
        every, values = every_value(function, channel)
        changes = every[1:][values[1:] != values[:-1]]
        expected = {every[0], every[-1], *changes, *(changes - 1)}
        assert set(integers[:, channel]) == expected
    tried = of_table(table, lo, sizes)
    np.testing.assert_array_equal(deciding(tried), tried.every())


@pytest.mark.parametrize("rise", [1.0, -1.0])
def test_a_domain_that_cannot_be_tried_is_halved(rise: float):
    """2^41 integers; one channel has plateaus of 2^38 of them, the other one is constant."""
    factor = rise * np.array([1.0, 0.0])
    function = StepFunction(
        np.array([-_WIDE]),
        np.array([_WIDE]),
        2,
        lambda n: np.floor(n / 2.0**38) * factor,
        np.full(2, rise),
        Proof.COMPOSITION,
    )
    steps = steps_of(function)
    assert isinstance(steps, Steps)
    expected = np.arange(-3, 5) * 2.0**38 if rise > 0 else np.arange(-4, 4) * 2.0**38 + 1
    np.testing.assert_array_equal(steps.thresholds[0], expected)
    assert np.isinf(steps.thresholds[1]).all()
    runs = runs_of(function)
    assert isinstance(runs, Runs)
    assert runs.tried < 1000


def test_without_proof_a_wide_domain_is_refused():
    function = StepFunction(np.zeros(1), np.full(1, 2.0**24), 1, np.floor, node="Quant 'q'")
    for found in (proven(function), runs_of(function), steps_of(function), deciding(function)):
        assert isinstance(found, Refusal)
        assert found.problem == "not known to be monotone, and too many sums to try"
        assert (found.node, found.got) == ("Quant 'q'", f"{(1 << 24) + 1} sums")
    assert isinstance(agree(function, function), Refusal)


def test_an_empty_domain_is_refused():
    for direction in (None, np.ones(2)):
        function = of_table(np.zeros((3, 2)), [0, 0], [3, 0], direction=direction)
        assert function.total == 3
        for found in (proven(function), runs_of(function), steps_of(function)):
            assert isinstance(found, Refusal)
            assert found.problem == "no integer to evaluate it for"


@pytest.mark.parametrize("ends", [(-np.inf, 0.0), (0.0, np.inf), (-np.inf, np.inf)])
def test_a_domain_without_an_end_is_refused(ends: tuple[float, float]):
    lo, hi = (np.array([end]) for end in ends)
    function = StepFunction(lo, hi, 1, np.floor, np.ones(1), Proof.COMPOSITION)
    for found in (proven(function), runs_of(function), steps_of(function)):
        assert isinstance(found, Refusal)
        assert found.problem == "sums without a bound"


def test_no_channels_have_no_steps():
    function = of_table(np.zeros((1, 0)), [], [])
    steps = steps_of(function)
    assert isinstance(steps, Steps)
    assert steps.thresholds.shape == (0, 0)


@pytest.mark.parametrize("direction", [None, np.ones(1)])
@pytest.mark.parametrize("end", [0, 2])
def test_a_function_that_is_no_number_somewhere_is_refused(direction: Array | None, end: int):
    table = np.array([[0.0], [1.0], [2.0]])
    table[end] = np.nan
    function = of_table(table, [5], [3], direction=direction)
    for found in (runs_of(function), steps_of(function)):
        assert isinstance(found, Refusal)
        assert found.problem == "sums for which it is no number"


def test_levels_have_to_be_whole():
    for value in (0.5, np.inf):
        found = steps_of(of_table(np.array([[0.0], [value]]), [0], [2], direction=np.ones(1)))
        assert isinstance(found, Refusal)
        assert found.problem == "values that are no whole levels"


def test_a_direction_without_proof_is_no_step_function():
    for direction, proof in ((np.ones(1), Proof.NONE), (None, Proof.COMPOSITION)):
        with pytest.raises(ValueError, match="proof"):
            StepFunction(np.zeros(1), np.ones(1), 1, np.floor, direction, proof)


def test_functions_of_different_domains_are_not_compared():
    first, second = (of_table(np.zeros((3, 1)), [lo], [3]) for lo in (0, 1))
    with pytest.raises(ValueError, match="domains"):
        agree(first, second)


def test_pieces_do_not_change_what_is_found(monkeypatch: pytest.MonkeyPatch):
    function = of_table(np.array([[0.0], [1], [1], [0], [2]]), [0], [5])
    monkeypatch.setattr(step_function, "_PIECE", 1)
    assert isinstance(proven(function), Refusal)
    assert_are_runs_of(runs_of(function), function)


def test_one_domain_for_all_channels():
    factor = np.array([1.0, -1.0, 0.0])
    for direction in (np.array([1.0, -1.0, 1.0]), None):
        proof = Proof.NONE if direction is None else Proof.COMPOSITION
        function = StepFunction(np.zeros(1), np.full(1, 6.0), 3, lambda n: np.floor(n / 2) * factor, direction, proof)
        assert function.total == 21
        assert_are_runs_of(runs_of(function), function)


def test_the_steps_of_a_rounding_of_floats_lie_between_two_neighbours():
    function = rising_in_floats(lambda x: np.clip(np.rint(x), -2, 2), 1)
    steps = steps_of(function)
    assert isinstance(steps, Steps)
    at = float_at(steps.thresholds[0])
    before = float_at(steps.thresholds[0] - 1)
    np.testing.assert_array_equal(np.rint(at), [-1, 0, 1, 2])
    np.testing.assert_array_equal(np.rint(before), [-2, -1, 0, 1])
    sides = beside_steps(function)
    assert not isinstance(sides, Refusal)
    assert {-np.inf, np.inf} <= set(float_at(sides[:, 0]))


def test_runs_of_a_function_of_runs_are_joined():
    starts = np.array([[0.0, 0.0], [2.0, 3.0], [4.0, np.inf]])
    joined = compressed(starts, np.array([[1.0, 5.0], [1.0, 5.0], [2.0, 5.0]]), 7)
    np.testing.assert_array_equal(joined.starts, [[0, 0], [4, np.inf]])
    np.testing.assert_array_equal(joined.values, [[1, 5], [2, 0]])
    assert joined.tried == 7


def test_no_integers_have_no_values():
    function = of_table(np.arange(6.0).reshape(2, 3), [0, 0, 0], [2, 2, 2], direction=None)
    assert function(np.zeros((0, 1))).shape == (0, 3)


@pytest.mark.parametrize(("steps", "known"), [(9, True), (10, True), (11, False)])
def test_so_many_steps_are_looked_for_and_no_more(steps: int, known: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(runs, "MOST_STEPS", 10)
    table = np.stack([np.minimum(np.arange(20.0), steps - 3), np.minimum(np.arange(20.0), 3)], axis=1)
    found = runs_of(of_table(table, [0, 5], [20, 20], direction=np.ones(2)))
    assert isinstance(found, Runs if known else Refusal)


@pytest.mark.parametrize("levels", [20, 200])  # few are found by halving, many are guessed first
def test_what_is_no_number_in_the_midst_of_steps_is_refused(levels: int):
    table = np.arange(float(levels))[:, None]
    table[levels // 4 : 3 * levels // 4] = np.nan
    found = runs_of(of_table(table, [0], [levels], direction=np.ones(1)))
    assert isinstance(found, Refusal)
    assert (found.problem, found.node) == ("sums for which it is no number", "node")


def test_values_of_no_integers_are_none():
    function = of_table(np.arange(6.0).reshape(2, 3), [0, 0, 0], [2, 2, 2])
    assert values_at(function, np.zeros(0, np.intp), np.zeros(0)).shape == (0,)
