"""Progress bars on stderr, on a terminal only."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

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
from rich.text import Text

from anybit.errors import visible


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
