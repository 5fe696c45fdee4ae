"""Limits: how much a model may make anybit take, whatever its size; `limits` sets them for a block of code."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cache

from anybit.arguments import checked
from anybit.errors import UsageError

_MEMORY = "ANYBIT_MEMORY"
_LEAST_MEMORY = 4 << 30
_LOOP_STEPS = 30_000
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True)
class Limits:
    """What one call may take for what a model asks for, beyond what it holds itself.

    Attributes:
        memory: Bytes of the tensors that are computed and held at once.
        loop_steps: How often the bodies of Loop, Scan and SequenceMap may run in one run of the reference engine.
    """

    memory: int
    loop_steps: int = _LOOP_STEPS


_current: ContextVar[Limits | None] = ContextVar("anybit_limits", default=None)


@checked
@contextmanager
def limits(*, memory: int | None = None, loop_steps: int | None = None) -> Generator[Limits]:
    """Other limits inside the block, for this thread; what is left out stays as it is.

    Models may ask for far more memory than their files have bytes: a few numbers say how large a constant, a
    repetition or a sparse tensor is. What would take more than `memory` is refused by the name of the node before it
    is taken. Without this, `memory` is what the environment variable ANYBIT_MEMORY says (bytes, or a number with K, M,
    G or T for powers of 1024), else half of the memory of the machine, and 4 GiB at the least.

    Args:
        memory: Bytes of the tensors that one call computes and holds at once.
        loop_steps: How often bodies of loops may run in one run of the reference engine: 30,000 if never set.

    Raises:
        UsageError: A limit is below 1.

    Example:
        >>> with limits(memory=1 << 30) as inside:
        ...     inside.memory
        1073741824
    """
    for name, value in (("memory", memory), ("loop_steps", loop_steps)):
        if value is not None and value < 1:
            raise UsageError(f"limit '{name}'", got=value, expected="1 or more")
    changes = {k: v for k, v in (("memory", memory), ("loop_steps", loop_steps)) if v is not None}
    chosen = replace(current_limits(), **changes)
    token = _current.set(chosen)
    try:
        yield chosen
    finally:
        _current.reset(token)


def current_limits() -> Limits:
    """The limits that hold here.

    Raises:
        UsageError: ANYBIT_MEMORY is no number of bytes.
    """
    return _current.get() or _of_environment(os.environ.get(_MEMORY, ""))


@cache
def _of_environment(text: str) -> Limits:
    if not text:
        return Limits(max(_machine_memory() // 2, _LEAST_MEMORY))
    plain = text.strip().upper().removesuffix("B").removesuffix("I")
    number, unit = (plain[:-1], plain[-1]) if plain[-1:] in _UNITS and plain[-1:] else (plain, "")
    try:
        memory = int(float(number) * _UNITS[unit])
    except (ValueError, OverflowError):
        memory = 0
    if memory < 1:
        raise UsageError(f"environment variable {_MEMORY}", got=repr(text), expected="bytes, such as 8000000000 or 8G")
    return Limits(memory)


def _machine_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on this system
        return 0
