"""python -m tests.frontends.architectures: the table of architectures and exporters, one process a line.

NAME ... for some of them; --small for those that are tested with each change; --json FILE to keep the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from tests.frontends.architectures.catalogue import architectures
from tests.frontends.architectures.row import as_dict, row_of

_LIMIT = 1800  # seconds for one line


def main() -> int:
    """Prints the table; 1 if a line crashed, took too long, or is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    every = architectures()
    if options.only is not None:
        print(json.dumps(as_dict(row_of(every[options.only]))))
        return 0
    chosen = [
        i
        for i, a in enumerate(every)
        if (not options.names or a.name in options.names) and (a.small or not options.small)
    ]
    rows = []
    print(f"{'architecture':24}{'exporter':20}{'unseen':>9}{'seconds':>9}{'MB':>7}  result", flush=True)
    for index in chosen:
        row = _in_a_process(index)
        rows.append(row)
        unseen = "" if row["unseen"] is None else f"{row['unseen']:.1%}"
        figures = f"{unseen:>9}{row['seconds']:>9}{row['megabytes']:>7}"
        print(f"{row['name']:24}{row['exporter']:20}{figures}  {row['result']}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    counts = {kind: sum(str(r["result"]).startswith(kind) for r in rows) for kind in ("equal", "refused")}
    bad = len(rows) - sum(counts.values())
    print(f"{len(rows)} lines: {counts['equal']} equal or equal but for ties, {counts['refused']} refused, {bad} bad")
    return 1 if bad else 0


def _in_a_process(index: int) -> dict[str, object]:
    """A line, from a process of its own: memory is its alone, and a crash is a line."""
    architecture = architectures()[index]
    command = [sys.executable, "-W", "ignore", "-m", "tests.frontends.architectures", "--only", str(index)]
    empty = {"name": architecture.name, "exporter": architecture.exporter, "unseen": None, "seconds": 0, "megabytes": 0}
    try:
        alone = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_LIMIT, env=alone)
    except subprocess.TimeoutExpired:
        return {**empty, "result": f"CRASHED: no end within {_LIMIT} s"}
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return {**empty, "result": f"CRASHED: {(done.stderr.strip().splitlines() or ['no output'])[-1][:100]}"}
    return json.loads(lines[-1])


if __name__ == "__main__":
    sys.exit(main())
