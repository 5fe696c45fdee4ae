"""Loads one model, checks it and builds a session, or cleans and saves it; prints seconds and peak memory as JSON.

Of the session also the processor time, which other processes disturb less: "processor".

Started by `processes.build_cost`, so that the peak is that of one model alone. Without a model: the imports' own peak.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from anybit.analysis.check import check
from anybit.cleanup.clean import clean
from anybit.io.load import load
from anybit.io.save import save
from anybit.runtime.session import Session


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--execute", action="store_true", help="also run the session once, on zeros")
    parser.add_argument("--clean", metavar="OUT", help="clean the model and save it there, instead")
    options = parser.parse_args()
    if options.model is None:
        costs = {}
    elif options.clean is not None:
        costs = _cleaning(options.model, options.clean)
    else:
        costs = _costs(options.model, execute=options.execute)
    print(json.dumps({**costs, "peak": peak()}))


def _cleaning(path: str, target: str) -> dict[str, float]:
    marks = [time.perf_counter()]
    model = load(path)
    marks.append(time.perf_counter())
    cleaned = clean(model)
    marks.append(time.perf_counter())
    save(cleaned, target)
    marks.append(time.perf_counter())
    return {name: end - start for name, start, end in zip(("load", "clean", "save"), marks, marks[1:], strict=False)}


def _costs(path: str, *, execute: bool) -> dict[str, float]:
    marks = [time.perf_counter()]
    model = load(path)
    marks.append(time.perf_counter())
    check(model)
    marks.append(time.perf_counter())
    started = time.process_time()
    session = Session(model, threads=1)
    processor = time.process_time() - started
    marks.append(time.perf_counter())
    if execute:
        (info,) = session.inputs
        shape = [size if isinstance(size, int) else 1 for size in info.shape or ()]
        session.run({info.name: np.zeros(shape, info.dtype)})
        marks.append(time.perf_counter())
    names = ("load", "check", "session", "run")
    seconds = {name: end - start for name, start, end in zip(names, marks, marks[1:], strict=False)}
    return {**seconds, "processor": processor}


def peak() -> float:
    """The most bytes that were ever resident.

    Not getrusage: Linux starts a child's figure there at the peak of the process that started it.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return float(line.split()[1]) * 1024
    raise OSError("no VmHWM in /proc/self/status")


if __name__ == "__main__":
    main()
