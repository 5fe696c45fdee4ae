"""fuzz: workers that are watched, and started again after the mutant that ended them."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.fuzz.worker import Escape, Plan, work

_SILENCE = 120.0  # seconds without a word from a worker, which then waits for something that never comes
_ENDLESS = 1 << 60
_PROGRESS = 1000


@dataclass
class Result:
    """What a run found."""

    mutants: int = 0
    calls: int = 0
    escapes: list[Escape] = field(default_factory=list[Escape])

    @property
    def places(self) -> dict[tuple[str, str], list[Escape]]:
        """The escapes by what they are and where they come from."""
        found: dict[tuple[str, str], list[Escape]] = {}
        for escape in self.escapes:
            found.setdefault((escape.what, escape.place or escape.call), []).append(escape)
        return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def fuzz(
    plan: Plan,
    *,
    first: int = 0,
    count: int | None = None,
    seconds: float | None = None,
    workers: int = 2,
    report: Callable[[Escape], None] = lambda _: None,
    progress: Callable[[Result], None] = lambda _: None,
) -> Result:
    """Runs mutants until so many were run, or so much time is over.

    Args:
        plan: What is run.
        first: Number of the first mutant.
        count: How many.
        seconds: How long.
        workers: How many processes.
        report: Is told of each escape at once.
        progress: Is told after every 1,000 mutants.
    """
    result, lock = Result(), threading.Lock()
    end = _ENDLESS if count is None else first + count
    deadline = None if seconds is None else time.monotonic() + seconds
    threads = [
        threading.Thread(target=_watch, args=(plan, first + k, workers, end, deadline, result, lock, report, progress))
        for k in range(workers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return result


def _watch(
    plan: Plan,
    start: int,
    step: int,
    end: int,
    deadline: float | None,
    result: Result,
    lock: threading.Lock,
    report: Callable[[Escape], None],
    progress: Callable[[Result], None],
) -> None:
    context = multiprocessing.get_context("spawn")
    following: int | None = start
    while following is not None and following < end:
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(theirs, plan, following, step, end), daemon=True)
        process.start()
        theirs.close()
        at = (following, "start")
        following = None
        while True:
            if not ours.poll(_SILENCE):
                process.kill()
                died = Escape(*at, "silence")
                break
            try:
                message = ours.recv()
            except EOFError:
                process.join()
                died = Escape(*at, _death(process.exitcode))
                break
            if message is None:
                return
            if isinstance(message, Escape):
                with lock:
                    result.escapes.append(message)
                    report(message)
                if message.what == "memory":
                    process.join()
                    died = None
                    break
                continue
            with lock:
                _count(result, progress, is_first=message[0] != at[0] or at[1] == "start")
            at = message
            if deadline is not None and time.monotonic() > deadline:
                process.kill()
                return
        if died is not None:
            with lock:
                result.escapes.append(died)
                report(died)
        following = at[0] + step


def _count(result: Result, progress: Callable[[Result], None], *, is_first: bool) -> None:
    """Counts a call, and the mutant if it is the first call on it."""
    result.calls += 1
    result.mutants += is_first
    if is_first and not result.mutants % _PROGRESS:
        progress(result)


def _death(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit {code}"
    name = signal.Signals(-code).name
    return "hang" if name == "SIGPROF" else name
