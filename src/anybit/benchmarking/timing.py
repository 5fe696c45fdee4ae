"""Times that can be compared: contenders take turns, and the median of each one counts."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

_TURN = 0.02  # seconds that a turn lasts at least, so that the clock's own cost does not show


@runtime_checkable
class SelfTimed(Protocol):
    """A contender that times its own calls, as one in another process does."""

    def turn(self, calls: int) -> float:
        """Seconds a call, of so many calls in a row."""
        ...


Contender = Callable[[], object] | SelfTimed
"""What takes turns: a call, or what times its own."""


def alternate(
    contenders: Mapping[str, Contender],
    *,
    rounds: int = 21,
    warm_up: int = 5,
    limit: float = math.inf,
    progress: Callable[[int], None] | None = None,
) -> dict[str, float]:
    """Seconds of a call, the median over rounds in which each contender has one turn: A B C A B C ...

    Args:
        contenders: What is called, by name.
        rounds: Turns that each has.
        warm_up: Calls before the first round; ONNX Runtime plans and touches its memory in the first few.
        limit: Seconds after which a contender has no more turns.
        progress: Called with 1 after each turn.
    """
    calls = {name: _calls_in_a_turn(call, warm_up, limit) for name, call in contenders.items()}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            if sum(times[name]) * calls[name] < limit:
                times[name].append(_turn(call, calls[name]))
            if progress is not None:
                progress(1)
    return {name: statistics.median(values) for name, values in times.items()}


def _calls_in_a_turn(call: Contender, warm_up: int, limit: float) -> int:
    seconds = [_turn(call, 1)]
    while len(seconds) < warm_up and sum(seconds) < limit / warm_up:
        seconds.append(_turn(call, 1))
    return max(1, int(_TURN / max(min(seconds), 1e-9)))


def _turn(call: Contender, calls: int) -> float:
    if isinstance(call, SelfTimed):
        return call.turn(calls)
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls
