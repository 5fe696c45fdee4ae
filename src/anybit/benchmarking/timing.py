"""Times that can be compared: contenders take turns, and the median of each one counts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

_TURN = 0.02  # seconds that a turn lasts at least, so that the clock's own cost does not show
_WARM_UP = 5  # calls before the first round; ONNX Runtime plans and touches its memory in the first few
_BUDGET = 10.0  # seconds after which a contender has no more turns


def alternate(
    contenders: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    progress: Callable[[int], None] | None = None,
) -> dict[str, float]:
    """Seconds of a call, the median over rounds in which each contender has one turn: A B C A B C ...

    A contender that has taken ten seconds has no more turns.

    Args:
        contenders: What is called, by name.
        rounds: Turns that each has.
        progress: Called with 1 after each turn.
    """
    calls = {name: _calls_in_a_turn(call) for name, call in contenders.items()}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            if sum(times[name]) * calls[name] < _BUDGET:
                times[name].append(_turn(call, calls[name]))
            if progress is not None:
                progress(1)
    return {name: statistics.median(values) for name, values in times.items()}


def _calls_in_a_turn(call: Callable[[], object]) -> int:
    seconds = [_turn(call, 1)]
    while len(seconds) < _WARM_UP and sum(seconds) < _BUDGET / _WARM_UP:
        seconds.append(_turn(call, 1))
    return max(1, int(_TURN / max(min(seconds), 1e-9)))


def _turn(call: Callable[[], object], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls
