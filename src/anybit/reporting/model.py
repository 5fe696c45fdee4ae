"""Report: everything that the page of a model shows, as texts and numbers.

Names are as `shown` makes them. None stands for what is not known, or does not exist; a bound that is None is infinite.
Integers that may leave the exact range of a browser's numbers are texts.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from anybit.reporting.quantities import Accumulator, Cost, Tensor


@dataclass(frozen=True)
class Operation:
    """One node of the graph.

    Attributes:
        name: Its name, or that of its first output.
        operator: Its operator.
        attributes: Its attributes, as text.
        parameters: The constants that it reads, those behind weight quantisers as what these make of them.
        outputs: What it makes.
        accumulators: How it adds up integers; several where a subgraph holds them.
        cost: What it costs; None where it multiplies nothing.
    """

    name: str
    operator: str
    attributes: str
    parameters: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    accumulators: tuple[Accumulator, ...]
    cost: Cost | None


class Kind(enum.StrEnum):
    """What a block is."""

    INPUT = "input"
    LAYER = "layer"
    """It multiplies tensors or reads weights."""
    OTHER = "other"
    OUTPUT = "output"


@dataclass(frozen=True)
class Block:
    """One box of the drawn graph: an operation and those that only work on its result, or an end of the model.

    Attributes:
        kind: What it is.
        operations: Its nodes, in the order in which they work; none for an end of the model.
        ends: The input or output, for an end of the model.
        folded: Number of nodes that compute its constants; they are not drawn.
        weight_bits: Bits of the second operands of its products, the widest of them; None where they are not quantised.
        input_bits: Bits of the first ones.
        output_bits: Bits of what leaves it.
        has_weights: Whether the second operands are constants.
    """

    kind: Kind
    operations: tuple[Operation, ...]
    ends: Tensor | None
    folded: int
    weight_bits: int | None
    input_bits: int | None
    output_bits: int | None
    has_weights: bool


@dataclass(frozen=True)
class Edge:
    """A tensor that goes from one block to another."""

    source: int
    target: int
    name: str
    format: str
    shape: str


@dataclass(frozen=True)
class Message:
    """A finding, or a refusal of a format.

    Attributes:
        severity: "error", "warning" or "refusal".
        rule: Name of the rule that found it; empty for a refusal.
        node: What it is about.
        text: The rest of it.
        block: Index of the block that it belongs to.
    """

    severity: str
    rule: str
    node: str
    text: str
    block: int | None


@dataclass(frozen=True)
class FormatRow:
    """What one format can say of the model: shares as texts, by the names of `SHARES`, and what it refuses."""

    format: str
    shares: tuple[str, ...]
    refusals: tuple[Message, ...]


SHARES = (
    "quantisers",
    "layers",
    "below 8 bits",
    "arbitrary width",
    "other rounding",
    "weights only",
    "wide output",
    "operators keep their names",
)
"""What the shares of a `FormatRow` are of."""


@dataclass(frozen=True)
class Fact:
    """One line of what a model is."""

    label: str
    text: str


@dataclass(frozen=True)
class Report:
    """A model, as its page shows it.

    Attributes:
        name: Name of its file, else of its graph.
        version: Version of anybit.
        samples: Samples of the user's data that were run, 0 without data.
        cost_samples: Samples that the figures are for; None where a sample cannot be told apart.
        nodes: Number of nodes of the graph, drawn or not.
        parameters: Number of elements of all initializers.
        facts: What the model is.
        cost: What it costs.
        blocks: The drawn graph, in the order in which it works.
        edges: Its edges.
        findings: What `check`, the cost and the value analysis found.
        shares: What the shares of `formats` are of.
        formats: What each format can say of it.
    """

    name: str
    version: str
    samples: int
    cost_samples: int | None
    nodes: int
    parameters: int
    facts: tuple[Fact, ...]
    cost: Cost
    blocks: tuple[Block, ...]
    edges: tuple[Edge, ...]
    findings: tuple[Message, ...]
    shares: tuple[str, ...]
    formats: tuple[FormatRow, ...]
