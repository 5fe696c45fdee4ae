"""Limits: where they come from, and that they hold inside a block only."""

from __future__ import annotations

import threading

import pytest

import anybit
from anybit.budget import Limits, current_limits, limits
from anybit.errors import UsageError


@pytest.mark.parametrize(
    ("text", "memory"),
    [
        ("1", 1),
        ("8000000000", 8_000_000_000),
        ("2K", 2048),
        ("1.5G", 3 << 29),
        ("3 GiB".replace(" ", ""), 3 << 30),
        ("1tb", 1 << 40),
    ],
)
def test_the_environment_says_how_much(monkeypatch, text, memory):
    monkeypatch.setenv("ANYBIT_MEMORY", text)
    assert current_limits().memory == memory


@pytest.mark.parametrize("text", ["much", "-1", "0", "G", "nan", "inf"])
def test_an_environment_that_makes_no_sense_is_refused(monkeypatch, text):
    monkeypatch.setenv("ANYBIT_MEMORY", text)
    with pytest.raises(UsageError, match="ANYBIT_MEMORY"):
        current_limits()


def test_by_default_it_is_half_of_the_machine_and_four_gibibytes_at_least(monkeypatch):
    monkeypatch.delenv("ANYBIT_MEMORY", raising=False)
    assert current_limits().memory >= 4 << 30


def test_they_hold_inside_the_block_for_its_thread(monkeypatch):
    monkeypatch.setenv("ANYBIT_MEMORY", "5G")
    seen: list[Limits] = []
    with anybit.limits(memory=100):
        with limits(loop_steps=7) as inner:
            assert current_limits() == inner == Limits(100, 7)
        assert current_limits().memory == 100
        thread = threading.Thread(target=lambda: seen.append(current_limits()))
        thread.start()
        thread.join()
    assert current_limits().memory == seen[0].memory == 5 << 30


@pytest.mark.parametrize("wrong", [{"memory": 0}, {"loop_steps": -1}])
def test_limits_below_one_are_refused(wrong):
    with pytest.raises(UsageError, match="limit"), limits(**wrong):
        pass


def test_the_module_does_not_hide_the_function():
    anybit.load  # noqa: B018  (imports what reads limits)
    assert callable(anybit.limits)
