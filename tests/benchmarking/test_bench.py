"""Bench: who takes part, who agrees, and turns that alternate."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import onnx
import pytest

from anybit.benchmarking import bench as bench_module
from anybit.benchmarking.bench import bench
from anybit.benchmarking.timing import alternate
from anybit.errors import UsageError
from tests.models import mlp


def test_contenders_take_turns():
    order: list[str] = []
    turns: list[int] = []
    times = alternate({name: lambda n=name: order.append(n) for name in "ab"}, rounds=3, progress=turns.append)
    assert set(times) == {"a", "b"}
    assert all(seconds > 0 for seconds in times.values())
    assert sum(turns) == 6
    changes = [a + b for a, b in pairwise(order) if a != b]
    assert changes == ["ab", "ba"] * 3 or changes == ["ab"] + ["ba", "ab"] * 3


class _Guest:
    """Times itself: a second a call."""

    def __init__(self) -> None:
        self.turns: list[int] = []

    def turn(self, calls: int) -> float:
        self.turns.append(calls)
        return 1.0


def test_contenders_that_time_themselves_have_their_turns():
    guest = _Guest()
    assert alternate({"guest": guest}, rounds=4, warm_up=2) == {"guest": 1.0}
    assert guest.turns == [1] * 6


def test_contenders_that_have_taken_their_time_have_no_more_turns():
    guest, turns = _Guest(), list[int]()
    assert alternate({"guest": guest}, rounds=9, warm_up=5, limit=3, progress=turns.append) == {"guest": 1.0}
    assert guest.turns == [1] * (1 + 3)  # one to warm up, since a fifth of the time is for that
    assert len(turns) == 9


def test_engines_and_peers():
    result = bench(mlp(), engines=("auto", "reference"), batch_sizes=(1, 4), rounds=1)
    named = {t.contender for t in result.timings}
    assert {"auto", "reference", "ONNX Runtime, float emulation", "ONNX Runtime, QCDQ"} <= named
    assert {t.batch_size for t in result.timings} == {1, 4}
    assert named | set(result.absent) >= {"qonnx"}
    for timing in result.timings:
        assert timing.throughput == pytest.approx(timing.batch_size / timing.latency)
    assert all(a.agrees for a in result.agreements)
    assert result.agreements[0].elements == 4 * 8
    alone = bench(mlp(), engines=("auto",), batch_sizes=(1,), rounds=1, with_peers=False)
    assert {t.contender for t in alone.timings} == {"auto"}


def test_the_executor_of_qonnx():
    pytest.importorskip("qonnx", reason="needs qonnx")
    result = bench(mlp(), engines=("reference",), batch_sizes=(2, 4), rounds=1)
    assert [t.batch_size for t in result.timings if t.contender == "qonnx"] == [2]
    (found,) = (a for a in result.agreements if a.contender == "qonnx")
    assert (found.elements, found.agrees) == (16, True)


def test_a_peer_that_cannot_take_part_says_why():
    proto = mlp()
    for initializer in proto.graph.initializer:
        if initializer.name == "y_bits":
            initializer.CopyFrom(onnx.numpy_helper.from_array(np.float32(12), "y_bits"))
    result = bench(proto, batch_sizes=(2,), rounds=1)
    assert "no QCDQ form" in result.absent["ONNX Runtime, QCDQ"]
    assert all(a.contender != "ONNX Runtime, QCDQ" for a in result.agreements)


def test_outputs_that_differ_are_counted():
    right = np.ones((2000, 2), np.float32)
    for wrong, agrees in ((4, True), (5, False)):
        other = right.copy()
        other.flat[:wrong] += 0.5
        found = bench_module._agreement("other", [right], [other])
        assert (found.elements, found.departing, found.largest, found.agrees) == (4000, wrong, 0.5, agrees)
    nan = bench_module._agreement("nan", [right], [np.full_like(right, np.nan)])
    assert (nan.departing, nan.largest, nan.agrees) == (4000, np.inf, False)
    assert not bench_module._agreement("shape", [right], [right[:, :1]]).agrees
    texts = np.array(["aa", "b"], object)
    assert bench_module._agreement("text", [texts], [texts.copy()]).agrees
    assert bench_module._agreement("text", [texts], [np.array(["aa", "c"], object)]).departing == 1


def test_arguments_are_checked():
    for options in ({"rounds": 0}, {"batch_sizes": (0,)}, {"batch_sizes": ()}, {"engines": ()}, {"engines": ("gpu",)}):
        with pytest.raises(UsageError):
            bench(mlp(), **options)
