"""input_ranges: NAME=LO,HI on the command line, for all elements or, from a file, by channel."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anybit.errors import UsageError

if TYPE_CHECKING:
    import numpy.typing as npt

    from anybit.analysis.values.input_range import InputRange

RangeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--input-range",
        "--input",
        help="Values of an input: NAME=LO,HI, or NAME=FILE with the bounds by channel; repeatable.",
    ),
]
_FILES = (".npy", ".npz")
_MEMBERS = {"low", "high", "axis"}


def parse_ranges(texts: Sequence[str]) -> dict[str, InputRange | tuple[float, float]]:
    """The ranges by name of the input.

    A file is an .npy with two rows, the lowest and the highest value of each entry of axis 1, or an .npz with the
    arrays ``low`` and ``high``, and with ``axis`` where they run along another one.

    Raises:
        UsageError: A text is neither NAME=LO,HI nor NAME=FILE, an input has two ranges, or a file holds something else.
        InputError: A file cannot be read.
    """
    limits: dict[str, InputRange | tuple[float, float]] = {}
    given: dict[str, str] = {}
    for text in texts:
        name, separator, stated = text.rpartition("=")
        if not separator or not name:
            raise _refused(text)
        if given.setdefault(name, stated) != stated:
            raise UsageError(
                "range of an input", node=f"input '{name}'", got=f"{given[name]}, {stated}", expected="one"
            )
        limits[name] = _of_file(name, Path(stated)) if stated.endswith(_FILES) else _pair(text, stated)
    return limits


def _pair(text: str, numbers: str) -> tuple[float, float]:
    try:
        lo, hi = (float(n) for n in numbers.split(","))
    except ValueError:
        raise _refused(text) from None
    if math.isnan(lo) or math.isnan(hi):
        raise _refused(text)
    return lo, hi


def _refused(text: str) -> UsageError:
    expected = "NAME=LO,HI with two numbers, or NAME=FILE.npy"
    return UsageError("range of an input", got=repr(text), expected=expected)


def _of_file(name: str, path: Path) -> InputRange:
    import numpy as np

    from anybit.analysis.values.input_range import InputRange
    from anybit.io.files.arrays import read_arrays

    arrays = read_arrays(path)
    bounds = arrays if isinstance(arrays, Mapping) else _rows(arrays)
    if bounds is None or not {"low", "high"} <= bounds.keys() <= _MEMBERS:
        got = "other arrays" if bounds is None else ", ".join(sorted(bounds)) or "nothing"
        expected = "two rows, or the arrays low and high, and axis"
        raise UsageError("range of an input", node=f"input '{name}' in {path}", got=got, expected=expected)
    axis = bounds.get("axis", np.int64(1))
    if axis.size != 1 or axis.dtype.kind not in "iu":
        where = f"input '{name}' in {path}"
        raise UsageError("axis of a range", node=where, got=f"{axis.dtype} {list(axis.shape)}", expected="one integer")
    return InputRange(_bound(bounds["low"]), _bound(bounds["high"]), axis=int(axis.reshape(-1)[0]))


def _rows(array: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]] | None:
    return {"low": array[0], "high": array[1]} if array.ndim == 2 and len(array) == 2 else None


def _bound(array: npt.NDArray[Any]) -> npt.NDArray[Any] | float:
    return array if array.ndim else array.item()
