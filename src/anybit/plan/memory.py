"""place: tensors in one piece of memory, each where none lies that lives at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Life:
    """When a tensor is held.

    Attributes:
        tensor: Its index.
        nbytes: Its size.
        first: The step that makes it.
        last: The last step that reads it.
    """

    tensor: int
    nbytes: int
    first: int
    last: int


@dataclass(frozen=True)
class Place:
    """Where a tensor lies: from `begin` to before `end`."""

    life: Life
    begin: int
    end: int


def place(lives: Sequence[Life], alignment: int, *, around: Sequence[Place] = ()) -> tuple[Place, ...]:
    """Each tensor, the largest first, at the lowest offset at which it meets none that lives at the same time.

    Args:
        lives: The tensors.
        alignment: Of which offsets and sizes are multiples.
        around: Tensors that have their place already; they are part of what is returned.
    """
    placed = list(around)
    for life in sorted(lives, key=lambda o: -o.nbytes):
        size = -(-life.nbytes // alignment) * alignment
        begin = 0
        for other in sorted(placed, key=lambda p: p.begin):
            meets = other.life.first <= life.last and life.first <= other.life.last
            if meets and other.begin < begin + size and begin < other.end:
                begin = other.end
        placed.append(Place(life, begin, begin + size))
    return tuple(placed)
