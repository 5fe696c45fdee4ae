"""What all commands share: printing figures as a table or as JSON, progress on stderr, writing arrays."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import zipfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anybit.cli.terminal.streams import write
from anybit.errors import ModelFileError, visible
from anybit.io.files.whole import whole

if TYPE_CHECKING:
    import numpy.typing as npt
    from rich.console import Console

    from anybit.passes.apply import AppliedPass

JsonOption = Annotated[bool, typer.Option("--json", help="Print the figures as JSON on stdout.")]
ModelArgument = Annotated[Path, typer.Argument(help="ONNX file; external data beside it.", show_default=False)]

OutputOption = Annotated[Path, typer.Option("-o", "--output", help="ONNX file to write.", show_default=False)]

FINDINGS = 1
"""Exit code for findings, mismatches and refusals."""

_PROBE_WIDTH = 100
_LEAST_NAME = 16  # letters that a name is not shortened below
_BETWEEN = 2  # letters between columns


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
    from anybit.number_formats import NumberFormat

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
    """Prints a table on stdout; numbers are aligned to the right, and long names shortened in the middle on a terminal.

    Nothing is shortened where stdout is no terminal.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(header_style="dim", box=None, pad_edge=False)
    for index, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[index], int | float) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    console = _console()
    cells = [[_cell(cell) for cell in row] for row in rows]
    for row in fitted(columns, cells, console.width) if console.is_terminal else cells:
        table.add_row(*map(Text, row))
    with console.capture() as drawn:
        console.print(Text(_title(title), style="bold"))
        console.print(table)
    write(drawn.get())


def fitted(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[list[str]]:
    """The cells of a table, the widest columns shortened until a line of it has at most `width` letters.

    No column becomes narrower than its title, or than what tells names apart.
    """
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    least = [max(len(title), _LEAST_NAME) for title in columns]
    excess = sum(widths) + _BETWEEN * (len(widths) - 1) - width
    while excess > 0:
        spare = [have - need for have, need in zip(widths, least, strict=True)]
        widest = max(range(len(widths)), key=lambda k: widths[k] if spare[k] > 0 else -1)
        if spare[widest] <= 0:
            break
        widths[widest] -= 1
        excess -= 1
    return [[shortened(cell, widths[k]) for k, cell in enumerate(row)] for row in rows]


def shortened(text: str, width: int) -> str:
    """A text of at most `width` letters: its middle is left out, since names differ at their ends.

    Example:
        >>> shortened("encoder/layer.0/attention/output", 16)
        'encoder…n/output'
    """
    if len(text) <= width:
        return text
    front = (width - 1) // 2
    return f"{text[:front]}…{text[len(text) - (width - 1 - front) :]}"


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
    from rich.console import Console

    probe = Console(soft_wrap=False, highlight=False)
    return probe if probe.is_terminal else Console(width=_PROBE_WIDTH + 60, highlight=False)


def progress(
    description: str, total: int | None, *, unit: str = "samples"
) -> AbstractContextManager[Callable[[int], None]]:
    """A progress bar on stderr, on a terminal only; yields the function that advances it. None: no end is known."""
    from anybit.cli.terminal.progress_bars import progress as bar

    return bar(description, total, unit=unit)


def progress_of(description: str, *, unit: str) -> AbstractContextManager[Callable[[int, int], None]]:
    """A progress bar whose function is told what is done and how much there is to do in all."""
    from anybit.cli.terminal.progress_bars import progress_of as bar

    return bar(description, unit=unit)


def write_arrays(path: Path, arrays: dict[str, npt.NDArray[Any]]) -> None:
    """Writes an .npz that appears whole or not at all."""
    import numpy as np

    try:
        with whole(path) as temporary, zipfile.ZipFile(temporary, "w", allowZip64=True) as archive:
            for name, array in arrays.items():  # np.savez takes not every name
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)
    except OSError as error:
        raise ModelFileError("cannot write the file", node=str(path), got=error.strerror or error) from error


def write_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Writes an .npy that appears whole or not at all."""
    import numpy as np

    try:
        with whole(path) as temporary, temporary.open("wb") as file:
            np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)
    except OSError as error:
        raise ModelFileError("cannot write the file", node=str(path), got=error.strerror or error) from error
