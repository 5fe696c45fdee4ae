"""Record, Records: what frozen records look like in a notebook, and as a table."""

from __future__ import annotations

import dataclasses
import enum
import html
from collections.abc import Sequence
from importlib import import_module
from typing import Any, TypeVar, cast

R = TypeVar("R")

_MOST_ROWS = 30  # of a table inside a record


class Record:
    """A frozen dataclass whose fields are shown as a table by notebooks, and whose parts become a table of pandas."""

    def _repr_html_(self) -> str:
        """Name and value of each field; fields that hold records are tables of their own."""
        fields = _fields_of(self)
        plain = [(name, value) for name, value in fields if not _rows(value)]
        lines = "".join(f"<tr><th>{html.escape(name)}</th><td>{_cell(value)}</td></tr>" for name, value in plain)
        tables = "".join(_table(name, _rows(value)) for name, value in fields if _rows(value))
        return f"<table><caption>{html.escape(type(self).__name__)}</caption>{lines}</table>{tables}"

    def to_pandas(self, field: str | None = None) -> Any:
        """The records that a field holds as a ``pandas.DataFrame``, a row each.

        Without a name that is the longest field of records; a record that holds no others is one row.

        Raises:
            ModuleNotFoundError: pandas is not installed.
            AttributeError: There is no such field.
        """
        rows = max((_rows(value) for _, value in _fields_of(self)), key=len) if field is None else ()
        if field is not None:
            rows = _rows(getattr(self, field))
        return _data_frame(rows or (self,))


class Records(tuple[R, ...]):
    """A tuple of records of one kind, which notebooks show as a table, and which becomes one of pandas."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        """A table of HTML with one row for each record and one column for each of its fields."""
        return _table(type(self[0]).__name__, self) if self else "<p>nothing</p>"

    def to_pandas(self) -> Any:
        """The records as a ``pandas.DataFrame``, a row each.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        return _data_frame(self)


def _data_frame(rows: Sequence[Any]) -> Any:
    try:
        pandas = import_module("pandas")
    except ModuleNotFoundError as error:
        hint = "to_pandas needs pandas: pip install pandas"
        raise ModuleNotFoundError(hint, name=error.name) from error
    return pandas.DataFrame([{name: _text(value) for name, value in _fields_of(row)} for row in rows])


def _fields_of(record: Any) -> list[tuple[str, Any]]:
    return [(f.name, getattr(record, f.name)) for f in dataclasses.fields(record) if f.repr]


def _rows(value: object) -> tuple[Any, ...]:
    """The records of a field that holds nothing else."""
    if not isinstance(value, tuple | list):
        return ()
    rows = tuple(cast("Sequence[Any]", value))
    return rows if all(dataclasses.is_dataclass(r) for r in rows) else ()


def _table(name: str, rows: tuple[Any, ...]) -> str:
    heads = "".join(f"<th>{html.escape(n)}</th>" for n, _ in _fields_of(rows[0]))
    body = "".join(
        "<tr>" + "".join(f"<td>{_cell(value)}</td>" for _, value in _fields_of(row)) + "</tr>"
        for row in rows[:_MOST_ROWS]
    )
    more = f"<p>and {len(rows) - _MOST_ROWS} more</p>" if len(rows) > _MOST_ROWS else ""
    return f"<table><caption>{html.escape(name)}, {len(rows)}</caption><tr>{heads}</tr>{body}</table>{more}"


def _text(value: Any) -> Any:
    """Numbers as they are, the rest as text."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value.value if isinstance(value, enum.Enum) else value)


def _cell(value: Any) -> str:
    text = _text(value)
    shown = "" if text is None else f"{text:,}" if isinstance(text, int) and not isinstance(text, bool) else str(text)
    return html.escape(shown if len(shown) <= 300 else f"{shown[:300]}…")
