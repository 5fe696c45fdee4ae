"""Processes of the benchmarks: this one on one processor, and fresh ones whose memory is that of one model alone."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_COST = Path(__file__).with_name("build_cost.py")


def use_one_thread() -> None:
    """Restarts the script on one processor, with libraries that count threads at import set to one."""
    if all(os.environ.get(name) == value for name, value in _ONE_THREAD.items()):
        return
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **_ONE_THREAD})  # noqa: S606 - itself


def build_cost(model: Path | None, *, runs: int, execute: bool = False, clean: Path | None = None) -> dict[str, float]:
    """What `build_cost.py` prints about a model, each run in a fresh process; the median of each figure."""
    arguments = [] if model is None else [str(model), *(["--execute"] if execute else [])]
    arguments += [] if clean is None else ["--clean", str(clean)]
    results: list[dict[str, float]] = []
    for _ in range(runs):
        done = subprocess.run([sys.executable, str(_COST), *arguments], check=True, capture_output=True, text=True)
        results.append(json.loads(done.stdout))
    return {key: statistics.median(result[key] for result in results) for key in results[0]}
