"""What validation takes of a load: processor time with it and without, in rounds that take turns.

`rows` is what run.py prints. As a script it prints them for the models named, or for the corpus and a long chain.
"""

from __future__ import annotations

import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import astuple
from pathlib import Path
from types import ModuleType
from unittest import mock

from report import Row, at_most_share

import anybit.io.load as load_module
import anybit.io.reading as reading_module
from anybit.io.load import load
from models import SHARED, chain

_SHARE = 0.1
_ROUNDS = 7
_CHAIN = 10_000
_WIDTH = 16
_VALIDATION: tuple[tuple[ModuleType, str, object], ...] = (  # each with what it returns of a sound model
    (reading_module, "is_utf8", True),
    (reading_module, "file_findings", ()),
    (reading_module, "attribute_findings", ()),
    (reading_module, "structure_findings", ()),
    (reading_module, "size_findings", ()),
    (load_module, "broken_calls", ()),
)


def rows() -> Iterator[Row]:
    """The share of the corpus, all its files one after the other, and that of a long chain."""
    corpus = sorted((SHARED / "corpus").rglob("*.onnx"))
    if corpus:
        yield _row(f"load, corpus of {len(corpus)} files", corpus)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chain.onnx"
        for quantised in (False, True):
            path.write_bytes(chain(_CHAIN, _WIDTH, quantised_weights=quantised).SerializeToString())
            kind = "quantised" if quantised else "float"
            yield _row(f"load, chain of {_CHAIN:,}, {kind} weights", [path], rounds=5)


def _row(name: str, paths: Sequence[Path], *, rounds: int = _ROUNDS) -> Row:
    times: tuple[list[float], list[float]] = ([], [])
    for path in paths:  # what is imported or cached once is neither's
        load(path)
    for number in range(2 * rounds):
        gc.collect()  # nobody pays for the models of the round before
        with nullcontext() if number % 2 else _without_validation():
            start = time.process_time()
            for path in paths:
                load(path)
            times[number % 2].append(time.process_time() - start)
    without, whole = map(min, times)
    share = statistics.median(1 - a / b for a, b in zip(*times, strict=True))
    parts = f"{whole * 1e3:.1f} ms, without {without * 1e3:.1f} ms"
    return at_most_share(name, "validation", share, parts, _SHARE)


def _without_validation() -> AbstractContextManager[object]:
    stack = ExitStack()
    for module, name, result in _VALIDATION:
        stack.enter_context(mock.patch.object(module, name, return_value=result))
    return stack


if __name__ == "__main__":
    for row in [_row(p, [Path(p)]) for p in sys.argv[1:]] or rows():
        print(*astuple(row), sep="  ")
