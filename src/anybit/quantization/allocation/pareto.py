"""pareto_front: the least loss for each share of a budget, from the measurements of an allocation."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from anybit.errors import InputError, ModelFileError
from anybit.io.files.json_values import read_json
from anybit.io.files.whole import write_whole
from anybit.quantization.allocation.budget import CostBudget
from anybit.quantization.allocation.program import allocated
from anybit.quantization.allocation.search import Allocation

_SHARES = np.geomspace(0.4, 2.5, 13)


@dataclass(frozen=True)
class FrontPoint:
    """A plan that no other one beats in both loss and costs.

    Attributes:
        loss: Squared error of the outputs as a share of their square: the sum of what each tensor alone loses.
        costs: Its costs, by the names of `CostBudget`.
        bits: Bits by tensor; of tensors that have their bits in common the first one.
    """

    loss: float
    costs: dict[str, int]
    bits: dict[str, int]


@dataclass(frozen=True)
class Front:
    """Plans of falling loss and rising cost.

    Attributes:
        points: The plans.
    """

    points: tuple[FrontPoint, ...]

    def to_json(self) -> str:
        """The front as JSON."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode() + "\n"

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Front:
        """A front from a file.

        Raises:
            InputError: The file cannot be read, or holds no front.
        """
        return read_json(path, cls, what="Pareto front")

    def write(self, path: str | os.PathLike[str]) -> None:
        """Writes the front to a file, whole or not at all.

        Raises:
            ModelFileError: The file cannot be written.
        """
        try:
            write_whole(Path(path), self.to_json().encode())
        except OSError as error:
            raise ModelFileError("cannot write the front", node=str(path), got=error.strerror or error) from error


def pareto_front(allocation: Allocation) -> Front:
    """The plans of least loss within 0.4 to 2.5 times the costs of the budget, without those that another one beats.

    Where the budget bounds only the loss, it is the cheapest plans at 0.4 to 2.5 times that loss. No sample is run.

    Args:
        allocation: What was measured, and the budget.
    """
    losses, model = allocation.losses, allocation.model
    found: list[FrontPoint] = []
    for share in _SHARES:
        limits = {name: limit * share for name, limit in allocation.budget.limits.items()}
        target = None if limits or allocation.budget.target_loss is None else allocation.budget.target_loss * share
        try:
            bits = allocated(losses, model, CostBudget(**limits, target_loss=target))
        except InputError:
            continue  # a share that nothing meets has no plan
        loss = sum(losses[t][b] for t, b in bits.items())
        found.append(FrontPoint(loss, model.costs(bits), bits))
    names = tuple(allocation.budget.limits) or ("bops",)
    kept = [p for p in found if not any(_beats(q, p, names) for q in found)]
    unique = {tuple(p.bits.items()): p for p in kept}
    return Front(tuple(sorted(unique.values(), key=lambda p: (-p.loss, p.costs[names[0]]))))


def _beats(one: FrontPoint, other: FrontPoint, names: tuple[str, ...]) -> bool:
    ours, theirs = ((p.loss, *(p.costs[n] for n in names)) for p in (one, other))
    return ours != theirs and all(a <= b for a, b in zip(ours, theirs, strict=True))
