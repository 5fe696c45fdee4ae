"""What all commands share: printing figures as a table or as JSON, progress on stderr, writing arrays."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import zipfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from anybit.cli.streams import write
from anybit.errors import ModelFileError, visible
from anybit.io.files.whole import whole
from anybit.number_formats import NumberFormat

if TYPE_CHECKING:
    from anybit.passes.apply import AppliedPass

JsonOption = Annotated[bool, typer.Option("--json", help="Print the figures as JSON on stdout.")]
ModelArgument = Annotated[Path, typer.Argument(help="ONNX file; external data beside it.", show_default=False)]

OutputOption = Annotated[Path, typer.Option("-o", "--output", help="ONNX file to write.", show_default=False)]

FINDINGS = 1
"""Exit code for findings, mismatches and refusals."""

_PROBE_WIDTH = 100


def say(*lines: object, error: bool = False) -> None:
    """Prints lines: all that the commands print goes through here, so that no name in a file can steer the terminal.

    Args:
        *lines: They; what cannot be printed is shown as escapes, see `visible`.
        error: Whether they go to stderr.

    Raises:
        ModelFileError: They cannot be written to stdout.
    """
    write("".join(f"{visible(str(line))}\n" for line in lines), error=error)


def print_json(value: object) -> None:
    """Prints a value of dataclasses, enums and numbers as JSON; infinities and NaN as their names."""
    write(json.dumps(_plain(value), indent=2, allow_nan=False).replace("\x7f", "\\u007f") + "\n")


def _plain(value: Any) -> Any:
    # msgspec.to_builtins keeps infinities, and takes a number format apart, since it is a dataclass: no hook sees them
    match value:
        case enum.Enum():
            return value.value
        case float() if not math.isfinite(value):
            return str(value)
        case Fraction():
            return float(value)
        case NumberFormat():
            return str(value)
        case dict():
            return {str(k): _plain(v) for k, v in value.items()}
        case list() | tuple():
            return [_plain(v) for v in value]
        case None | bool() | int() | float() | str():
            return value
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        case _:
            return str(value)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints a table on stdout; numbers are aligned to the right."""
    table = Table(header_style="dim", box=None, pad_edge=False)
    for index, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[index], int | float) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(cell)) for cell in row))
    console = _console()
    with console.capture() as drawn:
        console.print(Text(_title(title), style="bold"))
        console.print(table)
    write(drawn.get())


def print_long_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints a table of many rows, a line each however long it is: what `print_table` lays out takes its time."""
    cells = [list(columns), *([_cell(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)
    say(title, *lines)


def _cell(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else visible(str(value))
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _title(text: str) -> str:
    """A title, which may begin with an empty line."""
    return "\n" + visible(text[1:]) if text.startswith("\n") else visible(text)


def print_steps(steps: Sequence[AppliedPass], output: Path, *, as_json: bool) -> None:
    """Prints what each pass did, and what it had to leave as it was."""
    if as_json:
        print_json({"output": str(output), "steps": steps})
        return
    rows = [(s.name, "yes" if s.modified else "no", s.nodes_before, s.nodes_after) for s in steps]
    print_table(f"written to {output}", ("pass", "changed", "nodes before", "after"), rows)
    say(*(f"{step.name}: {finding}" for step in steps for finding in step.notes))


def _console() -> Console:
    """Standard output; at a fixed width where it is no terminal, so that nothing is cut off in a pipe."""
    probe = Console(soft_wrap=False, highlight=False)
    return probe if probe.is_terminal else Console(width=_PROBE_WIDTH + 60, highlight=False)


class _Speed(ProgressColumn):
    """How much is done a second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:,.0f} {self._unit}/s")


@contextmanager
def progress(description: str, total: int | None, *, unit: str = "samples") -> Generator[Callable[[int], None]]:
    """A progress bar on stderr, on a terminal only; yields the function that advances it. None: no end is known."""
    with _bar(unit) as bar:
        task = bar.add_task(visible(description), total=total)
        yield lambda amount: bar.update(task, advance=amount)


def _bar(unit: str) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _Speed(unit),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not Console(stderr=True).is_terminal,
    )


@contextmanager
def progress_of(description: str, *, unit: str) -> Generator[Callable[[int, int], None]]:
    """A progress bar whose function is told what is done and how much there is to do in all."""
    with _bar(unit) as bar:
        task = bar.add_task(visible(description), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def write_arrays(path: Path, arrays: dict[str, npt.NDArray[Any]]) -> None:
    """Writes an .npz that appears whole or not at all."""
    try:
        with whole(path) as temporary, zipfile.ZipFile(temporary, "w", allowZip64=True) as archive:
            for name, array in arrays.items():  # np.savez takes not every name
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)
    except OSError as error:
        raise ModelFileError("cannot write the file", node=str(path), got=error.strerror or error) from error
