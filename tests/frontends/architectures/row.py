"""row: one architecture exported, and the export held against it on inputs that it has not seen."""

from __future__ import annotations

import resource
import time
from dataclasses import asdict, dataclass

import torch

import anybit
from tests.frontends.architectures.catalogue import Architecture
from tests.frontends.architectures.mutated import kept_graphs, missed
from tests.frontends.unseen import departing, explained


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        name: Architecture.
        exporter: The flow that quantised it.
        result: "equal", "equal but for ties", "refused: " and the rule, "WRONG on unseen inputs", "BLIND to " and
            a change that goes unnoticed, or "CRASHED: " and the error.
        unseen: Share of the elements that depart on inputs that the export has not seen; None without an export.
        seconds: Processor time of the export.
        megabytes: The most memory that the process had, the making of the net included.
        missed: Changes of single quantisers that the comparison does not find; it is to find all.
    """

    name: str
    exporter: str
    result: str
    unseen: float | None
    seconds: float
    megabytes: int
    missed: tuple[str, ...] = ()


def row_of(architecture: Architecture) -> Row:
    """Makes and exports it."""
    torch.manual_seed(0)
    net, inputs = architecture.make()
    export = anybit.from_brevitas if architecture.brevitas else anybit.from_torch
    started, unseen, unnoticed = time.process_time(), None, list[str]()
    try:
        with kept_graphs() as kept:
            exported = export(net, inputs, dynamic_batch=architecture.dynamic_batch, quiet=True)
    except anybit.AnybitError as error:
        result = f"refused: {_rule(error)}"
    except Exception as error:  # noqa: BLE001  what the table is there to find
        result = f"CRASHED: {type(error).__name__}: {' '.join(str(error).split())[:80]}"
    else:
        result = exported.agreement.verdict.value
    seconds = time.process_time() - started
    if not result.startswith(("refused", "CRASHED")):
        fresh = [_fresh(x) for x in inputs]
        unseen = departing(exported, net, *fresh)
        if unseen and not explained(
            exported, lambda: export(net, tuple(fresh), dynamic_batch=architecture.dynamic_batch, quiet=True), fresh
        ):
            result = "WRONG on unseen inputs"
        unnoticed = missed(kept.traced[0], tuple(fresh)) if architecture.small else []
        if unnoticed:
            result = f"BLIND to {unnoticed[0]}"
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return Row(architecture.name, architecture.exporter, result, unseen, round(seconds, 1), megabytes, tuple(unnoticed))


def as_dict(row: Row) -> dict[str, object]:
    """For JSON."""
    return asdict(row)


def _rule(error: anybit.AnybitError) -> str:
    problem = error.diagnosis.problem
    return "ties" if problem == "the converted model departs from its source" else problem


def _fresh(x: torch.Tensor) -> torch.Tensor:
    if x.is_floating_point():
        return 1.2 * torch.randn_like(x)
    return x[:, torch.randperm(x.shape[1])]
