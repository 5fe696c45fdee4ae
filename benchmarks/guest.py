"""The guest's side of `guests.Guest`: builds, says ready, answers each number of calls with the seconds of one."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable


def serve(call: Callable[[], object]) -> None:
    """Answers until the input ends."""
    call()  # what cannot run fails before it is ready
    print("answer ready", flush=True)
    for line in sys.stdin:
        calls = int(line)
        start = time.perf_counter()
        for _ in range(calls):
            call()
        print(f"answer {(time.perf_counter() - start) / calls:.9f}", flush=True)
