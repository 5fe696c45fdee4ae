"""Times that can be compared: contenders take turns, and each one's median counts."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from guests import Guest

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_TURN = 0.02  # seconds that one turn lasts at least, so that the clock's own cost does not show
_COST = Path(__file__).with_name("build_cost.py")


def use_one_thread() -> None:
    """Restarts the script on one processor, with libraries that count threads at import set to one."""
    if all(os.environ.get(name) == value for name, value in _ONE_THREAD.items()):
        return
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **_ONE_THREAD})  # noqa: S606 - itself


Contender = Callable[[], object] | Guest
"""What takes turns: a call, or a process that times its own."""


def alternate(contenders: Mapping[str, Contender], *, rounds: int = 21, warm_up: int = 5) -> dict[str, float]:
    """Seconds a call, the median over rounds in which each contender has one turn: A B C A B C ...

    Args:
        contenders: What is called, by name.
        rounds: Turns that each has.
        warm_up: Calls before the first round; ONNX Runtime plans and touches its memory in the first few.
    """
    calls = {name: _calls_in_a_turn(call, warm_up) for name, call in contenders.items()}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            times[name].append(_turn(call, calls[name]))
    return {name: statistics.median(values) for name, values in times.items()}


def _calls_in_a_turn(call: Contender, warm_up: int) -> int:
    seconds = [_turn(call, 1) for _ in range(warm_up)]
    return max(1, int(_TURN / min(seconds)))


def _turn(call: Contender, calls: int) -> float:
    if isinstance(call, Guest):
        return call.turn(calls)
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls


def build_cost(model: Path | None, *, runs: int, execute: bool = False, clean: Path | None = None) -> dict[str, float]:
    """What `build_cost.py` prints about a model, each run in a fresh process; the median of each figure."""
    arguments = [] if model is None else [str(model), *(["--execute"] if execute else [])]
    arguments += [] if clean is None else ["--clean", str(clean)]
    results: list[dict[str, float]] = []
    for _ in range(runs):
        done = subprocess.run([sys.executable, str(_COST), *arguments], check=True, capture_output=True, text=True)
        results.append(json.loads(done.stdout))
    return {key: statistics.median(result[key] for result in results) for key in results[0]}
