"""changes_of: two described models side by side: which blocks correspond, and where the results depart."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from anybit.errors import AnybitError
from anybit.io.load import ModelSource
from anybit.reporting.model import Block, Report
from anybit.reporting.text import finite, shown
from anybit.runtime.compare import Difference, compare
from anybit.runtime.correspondence import aligned
from anybit.runtime.session import Inputs


@dataclass(frozen=True)
class Departure:
    """How one tensor of the two models differs (see `anybit.results.Difference`).

    Attributes:
        name: Its name in the earlier model.
        block: Index of the block of the later model that makes it; None where there is none.
        elements: Number of elements.
        unequal: How many are not the same number.
        departing: How many differ by more than the tolerance.
        largest: Largest difference; None where it is infinite.
        steps: The largest difference in steps of the grid; None where there is none.
    """

    name: str
    block: int | None
    elements: int
    unequal: int
    departing: int
    largest: float | None
    steps: float | None


@dataclass(frozen=True)
class Compared:
    """The results of both models on the same samples.

    Attributes:
        failure: Why they could not be compared; empty where they were.
        samples: Number of samples.
        random: Whether they were drawn at random.
        tolerance: Share of a tensor's largest magnitude within which elements count as equal.
        outputs: One entry an output.
        first: The first tensor that departs.
    """

    failure: str
    samples: int
    random: bool
    tolerance: float
    outputs: tuple[Departure, ...]
    first: Departure | None


@dataclass(frozen=True)
class Changes:
    """What became of an earlier model.

    Attributes:
        earlier: For each block of the later model, the index of the one of the earlier model; None where it is new.
        compared: Where the results depart.
    """

    earlier: tuple[int | None, ...]
    compared: Compared


def changes_of(before: Report, after: Report, sources: tuple[ModelSource, ModelSource], data: Inputs | None) -> Changes:
    """The blocks of two described models that correspond, and their results on the same samples.

    Args:
        before: The earlier model.
        after: The later one.
        sources: Both models.
        data: What to feed; drawn at random where None.
    """
    pairs = {b: a for a, b in aligned(_places(before), _places(after))}
    earlier = tuple(pairs.get(i) for i in range(len(after.blocks)))
    constants = {p.name: i for i, b in enumerate(after.blocks) for o in b.operations for p in o.parameters}
    blocks = constants | {name: i for i, block in enumerate(after.blocks) for name in _names(block)}
    return Changes(earlier, _compared(sources, data, blocks))


def _places(report: Report) -> list[tuple[str, Hashable | None]]:
    """Name and kind of each block; blocks of one name, which nothing else tells apart, go by their kind alone."""
    return [(_name(block, index), _kind(block)) for index, block in enumerate(report.blocks)]


def _name(block: Block, index: int) -> str:
    names = _names(block)
    return f"{block.kind.value} {names[-1] if names else index}"


def _kind(block: Block) -> Hashable | None:
    if block.ends is not None:
        return block.kind
    tensors = block.operations[0].outputs
    return block.operations[0].operator, tensors[0].shape if tensors else None


def _names(block: Block) -> list[str]:
    """The tensors that leave it last."""
    if block.ends is not None:
        return [block.ends.name]
    return [t.name for o in block.operations for t in o.outputs]


def _compared(sources: tuple[ModelSource, ModelSource], data: Inputs | None, blocks: dict[str, int]) -> Compared:
    try:
        found = compare(*sources, data, layers=True)
    except AnybitError as error:
        return Compared(shown(error), 0, data is None, 0.0, (), None)
    first = None if found.first_departure is None else _departure(found.first_departure, blocks)
    outputs = tuple(_departure(d, blocks) for d in found.outputs)
    return Compared("", found.samples, data is None, found.tolerance, outputs, first)


def _departure(found: Difference, blocks: dict[str, int]) -> Departure:
    return Departure(
        name=shown(found.name),
        block=blocks.get(shown(found.counterpart)),
        elements=found.elements,
        unequal=found.unequal,
        departing=found.departing,
        largest=finite(found.largest),
        steps=None if found.steps is None else finite(found.steps),
    )
