"""The table of results, on the terminal and in RESULTS.md."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import os
import platform
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import guests

_PACKAGES = ("anybit", "numpy", "onnx", "onnx-ir", "onnxruntime", "openvino", "qonnx")
_GUESTS = {"torch": "brevitas", "brevitas": "brevitas", "hls4ml": "hls4ml"}  # in which environment


@dataclass(frozen=True)
class Row:
    """One line of the table; `met` is empty where the figure has no goal."""

    benchmark: str
    measure: str
    anybit: str = ""
    other: str = ""
    figure: str = ""
    goal: str = ""
    met: str = ""


def at_least(benchmark: str, measure: str, ours: float, other: float, goal: float | None = None) -> Row:
    """How many times faster we are, from seconds a sample."""
    ratio = other / ours
    figure = f"{ratio:,.0f}x faster" if ratio >= 10 else f"{ratio:.2f}x faster"
    wanted = "" if goal is None else f">= {goal:,.0f}x"
    return Row(benchmark, measure, duration(ours), duration(other), figure, wanted, _met(goal, goal and ratio >= goal))


def at_most(benchmark: str, measure: str, ours: float, other: float, goal: float | None = None) -> Row:
    """How many times the other's time we take, from seconds a sample."""
    ratio = ours / other
    figure, wanted = f"{ratio:.2f}x the time", "" if goal is None else f"<= {goal:g}x"
    return Row(benchmark, measure, duration(ours), duration(other), figure, wanted, _met(goal, goal and ratio <= goal))


def seconds(benchmark: str, measure: str, total: float, parts: str, goal: float | None = None) -> Row:
    """A time that is measured against a limit; `parts` says what it consists of."""
    wanted = "" if goal is None else f"< {goal:g} s"
    return Row(benchmark, measure, f"{total:.2f} s", "", parts, wanted, _met(goal, goal and total < goal))


def rate(benchmark: str, measure: str, operations: float) -> Row:
    """Operations a second."""
    return Row(benchmark, measure, figure=f"{operations / 1e9:,.0f} G operations/s")


def share(benchmark: str, measure: str, operations: float, peak: float) -> Row:
    """Operations a second, two for each multiply-accumulate, as a part of what the processor can do."""
    return Row(benchmark, measure, figure=f"{operations / 1e9:,.0f} G operations/s, {operations / peak:.0%}")


def at_most_share(benchmark: str, measure: str, part: float, parts: str, goal: float) -> Row:
    """A part of a whole that is measured against a limit; `parts` says what it consists of."""
    return Row(benchmark, measure, f"{part:.1%}", "", parts, f"< {goal:.0%}", _met(goal, part < goal))


def memory(benchmark: str, measure: str, peak: float, weights: float, goal: float | None = None) -> Row:
    """A peak of resident memory, all in bytes."""
    wanted = "" if goal is None else f"< {goal / 1e6:,.0f} MB"
    figure = f"weights {weights / 1e6:,.0f} MB"
    return Row(benchmark, measure, f"{peak / 1e6:,.0f} MB", "", figure, wanted, _met(goal, goal and peak < goal))


def _met(goal: float | None, reached: object) -> str:
    if goal is None:
        return ""
    return "yes" if reached else "NO"


def duration(value: float) -> str:
    """Seconds in a unit that suits them.

    >>> duration(0.000_012_34)
    '12.3 us'
    """
    if value < 1e-3:
        return f"{value * 1e6:.3g} us"
    return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.2f} s"


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table that is also legible as text."""
    lines = [tuple(f.name for f in fields(Row)), *(astuple(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in lines]
    texts.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(texts)


def setting() -> str:
    """Processor and versions; nothing that names this machine."""
    found = {name: _version(name) for name in _PACKAGES}
    found |= {name: guests.version(environment, name) or "not installed" for name, environment in _GUESTS.items()}
    versions = ", ".join(f"{name} {number}" for name, number in found.items())
    return (
        f"{_processor()}, {os.cpu_count()} cores of which 1 is used; {platform.system()}, "
        f"Python {platform.python_version()}, {versions}."
    )


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def write(path: Path, rows: Sequence[Row], notes: str) -> None:
    """Writes the results, with date and setting."""
    today = dt.datetime.now(tz=dt.UTC).date().isoformat()
    parts = ["# Benchmark results", f"{today}, by `benchmarks/run.py --write`.\n{setting()}", notes, table(rows)]
    path.write_text("\n\n".join(parts) + "\n")
