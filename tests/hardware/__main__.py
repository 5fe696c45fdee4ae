"""python -m tests.hardware: the table of models and hardware targets; 1 if a row is ready and not right.

WORD ... for models whose name holds one of them; --target NAME for one target; --json FILE to keep the rows;
--seeds FIRST:END for random nets (see `random_nets`) in their place.
FINN_PYTHON names a Python that has FINN (FINN_PYTHONPATH its path), HLS4ML_PYTHON and DA4ML_PYTHON one that has hls4ml
and da4ml: projects are then built and run. C is compiled and run where there is a compiler.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from anybit.errors import AnybitError
from tests.hardware import finn_rows, hls4ml_rows, project_rows
from tests.hardware.row import Row
from tests.hardware.sources import Source, random_sources, sources

# A target contributes its rows by one function.
TARGETS: Mapping[str, Callable[[Source], Iterator[Row]]] = {
    "finn": finn_rows.rows,
    "hls4ml": hls4ml_rows.rows,
    "c": project_rows.c_rows,
    "da4ml": project_rows.da4ml_rows,
}


def rows_of(source: Source, target: str) -> Iterator[Row]:
    """The rows of one model; one that cannot be read is one row."""
    try:
        yield from TARGETS[target](source)
    except AnybitError as error:
        yield Row(f"{source.group}/{source.name}", target, "-", verdict=f"not read: {type(error).__name__}")


def chosen(words: Iterable[str]) -> Iterator[Source]:
    """The models whose names hold one of the words; all where there are none."""
    asked = tuple(words)
    return (s for s in sources() if not asked or any(w in f"{s.group}/{s.name}" for w in asked))


def line(row: Row) -> str:
    """The row as it is printed."""
    equal = "" if row.equal is None else "equal" if row.equal else "DEPARTS"
    cells = f"{row.model:58.58}{row.target:8}{row.form:9}{row.io:10}{row.verdict:34.34}{equal:8}"
    return f"{cells}{row.ran if row.verdict == 'ready' else '':9}{row.widths}"


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--target", choices=list(TARGETS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seeds")
    options = parser.parse_args()
    print(f"{'model':58}{'target':8}{'form':9}{'io':10}{'verdict':34}{'':8}{'tool':9}widths", flush=True)
    found: list[Row] = []
    for source in random_sources(options.seeds) if options.seeds else chosen(options.words):
        for target in [options.target] if options.target else list(TARGETS):
            for row in rows_of(source, target):
                found.append(row)
                print(line(row), flush=True)
    if options.json:
        options.json.write_text(json.dumps([asdict(r) for r in found], indent=1))
    ready, ran, bad = (sum(map(rule, found)) for rule in (_is_ready, _ran, lambda r: r.is_bad))
    print(f"{len(found)} rows: {ready} ready, {len(found) - ready} refused, {ran} run in the real tool, {bad} bad")
    return 1 if bad else 0


def _is_ready(row: Row) -> bool:
    return row.verdict == "ready"


def _ran(row: Row) -> bool:
    return row.ran != "not run"


if __name__ == "__main__":
    raise SystemExit(main())
