"""work: mutants one after the other in a process that may die of them."""

from __future__ import annotations

import os
import resource
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import anybit
from tests.fuzz.calls import CALLS, FIRST, OTHERS, Mutant, is_expected
from tests.fuzz.mutate import mutated

PROCESSOR_SECONDS = 20
"""What one call may take; a process that takes more is ended by the system."""
ADDRESS_SPACE = 4 << 30
LARGEST_RESIDENT = 2 << 30
MUTANTS_BETWEEN_LOOKS = 20
MEMORY, LOOP_STEPS = 1 << 30, 5_000
"""Limits that anybit is given: far below those of the process, so that it has to keep them."""


@dataclass(frozen=True)
class Plan:
    """What is run.

    Attributes:
        seeds: Folder of the seeds, one file each.
        seed: Seed of the mutations.
        others: How many of the other public calls each mutant goes through, in turn: below 1, that share of the mutants
            goes through one; None for all.
        rotate: Whether each mutant goes through a single call instead, of all in turn.
        only: Names of the calls to make instead of those; empty for none.
    """

    seeds: Path
    seed: int
    others: float | None = 1
    rotate: bool = False
    only: tuple[str, ...] = ()

    def key(self, index: int) -> str:
        """What decides the mutant of this number."""
        return f"{self.seed}:{index}"

    def calls(self, index: int) -> Sequence[str]:
        """The calls that the mutant of this number goes through."""
        if self.only:
            return self.only
        if self.rotate:
            return (list(CALLS)[index % len(CALLS)],)
        names = list(OTHERS)
        if self.others is None:
            return (*FIRST, *names)
        start, end = int(index * self.others), int((index + 1) * self.others)
        return (*FIRST, *(names[k % len(names)] for k in range(start, end)))


@dataclass(frozen=True)
class Escape:
    """A call that did something else than return or raise an AnybitError.

    Attributes:
        index: Number of the mutant.
        call: Name of the call.
        what: Kind of the error, or of the death.
        place: Where it comes from.
        text: What is known of it.
    """

    index: int
    call: str
    what: str
    place: str = ""
    text: str = ""


def work(connection: Connection, plan: Plan, start: int, step: int, end: int) -> None:
    """Runs the mutants start, start + step, ... and sends what is done next and what escapes.

    Args:
        connection: Gets ``(index, call)`` before each call, an `Escape` for each, None at the end.
        plan: What is run.
        start: Number of the first mutant.
        step: Distance of the numbers.
        end: Where to stop.
    """
    limit()
    seeds = read_seeds(plan.seeds)
    with tempfile.TemporaryDirectory() as folder, anybit.limits(memory=MEMORY, loop_steps=LOOP_STEPS):
        os.chdir(folder)
        for index in range(start, end, step):
            mutant = Mutant(mutated(seeds, plan.key(index)), index, Path(folder))
            for name in plan.calls(index):
                connection.send((index, name))
                escape = attempt(mutant, name)
                if escape is not None:
                    connection.send(escape)
            # Asking takes a millisecond. The peak stays known: what is missed is which of the mutants it was.
            is_asked = plan.only or (index - start) // step % MUTANTS_BETWEEN_LOOKS == 0 or index + step >= end
            if is_asked and resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > LARGEST_RESIDENT:
                text = f"reached by one of the {MUTANTS_BETWEEN_LOOKS} mutants of this process up to this one"
                connection.send(Escape(index, "", "memory", text=text))
                return
    connection.send(None)


def read_seeds(folder: Path) -> tuple[bytes, ...]:
    """The seeds of a folder."""
    return tuple(path.read_bytes() for path in sorted(folder.iterdir()))


def limit() -> None:
    """Limits of this process: memory, no dumps, quiet, warnings are errors."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)
    warnings.resetwarnings()
    warnings.simplefilter("error")
    for package in ("onnx", "onnxscript"):
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=rf"{package}\b")
    from anybit.engines.engine import FallbackWarning
    from anybit.quantization.quantize import FewSamplesWarning

    for expected in (FallbackWarning, FewSamplesWarning):
        warnings.simplefilter("ignore", expected)


def attempt(mutant: Mutant, name: str) -> Escape | None:
    """One call; what escapes of it. The process ends if it takes too long."""
    signal.setitimer(signal.ITIMER_PROF, PROCESSOR_SECONDS)
    try:
        CALLS[name](mutant)
    except BaseException as error:  # noqa: BLE001  (whatever escapes is what is looked for)
        return None if is_expected(error) else _escape(mutant.index, name, error)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return None


def _escape(index: int, name: str, error: BaseException) -> Escape:
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if f"{os.sep}anybit{os.sep}" in f.filename]
    place = f"{own[-1].filename.rpartition('anybit' + os.sep)[2]}:{own[-1].lineno}" if own else "outside"
    text = "".join(traceback.format_exception(error))[-6000:]
    return Escape(index, name, type(error).__name__, place, text)


if sys.platform == "win32":
    raise ImportError("the fuzzer needs limits of POSIX")
