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
        weights_mixed: Whether the second operands have several widths.
        inputs_mixed: Whether the first ones have.
    """

    kind: Kind
    operations: tuple[Operation, ...]
    ends: Tensor | None
    folded: int
    weight_bits: int | None
    input_bits: int | None
    output_bits: int | None
    has_weights: bool
    weights_mixed: bool
    inputs_mixed: bool


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
class PlanStep:
    """One step of the integer plan, which native kernels run.

    Attributes:
        kind: What it does.
        tensor: The tensor that it makes.
        element: What the elements of it are.
        macs: Multiplications for one sample.
        weight_bits: Bit width of its weights; None where it has none.
        epilogue: How levels come from sums.
        block: Index of the block that it belongs to.
    """

    kind: str
    tensor: str
    element: str
    macs: int
    weight_bits: int | None
    epilogue: str
    block: int | None


@dataclass(frozen=True)
class NativePlan:
    """What of the model native kernels run.

    Attributes:
        macs: Multiplications of the plan for one sample.
        arena: Bytes between its layers for one sample.
        nodes: Number of nodes that it computes.
        steps: The layers, in order.
        refusals: What is outside it, and why.
    """

    macs: int
    arena: int
    nodes: int
    steps: tuple[PlanStep, ...]
    refusals: tuple[Message, ...]


@dataclass(frozen=True)
class Tool:
    """What a hardware tool takes of the model.

    Attributes:
        name: The tool.
        ready: Whether `anybit prepare` has a project for it.
        rewrites: How many exact rewrites that takes.
        messages: What stands in the way, and what a user should know.
    """

    name: str
    ready: bool
    rewrites: int
    messages: tuple[Message, ...]


@dataclass(frozen=True)
class Loss:
    """What the outputs lose when one tensor is quantised (see `anybit.sensitivity`).

    Attributes:
        tensor: Its name.
        block: Index of the block that it belongs to.
        is_weight: Whether it is a weight.
        bits: Bit width.
        sqnr: Signal to noise of the outputs in decibels; None where nothing is lost.
        kl: Divergence of the classes in nats.
        changed: Share of the samples whose class changes.
        accuracy: Accuracy then; None without labels.
    """

    tensor: str
    block: int | None
    is_weight: bool
    bits: int
    sqnr: float | None
    kl: float
    changed: float
    accuracy: float | None


@dataclass(frozen=True)
class Losses:
    """The sensitivity of a model.

    Attributes:
        samples: Samples that it was measured on.
        accuracy: Accuracy of the float model; None without labels.
        tensors: A row for each tensor and bit width.
    """

    samples: int
    accuracy: float | None
    tensors: tuple[Loss, ...]


@dataclass(frozen=True)
class FrontPoint:
    """One plan of a Pareto front: its loss, its costs by name, and how many tensors have which bits."""

    loss: float
    costs: tuple[tuple[str, int], ...]
    bits: tuple[tuple[int, int], ...]


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
        tools: What hardware tools take of it.
        plan: What of it native kernels run; None for a model that cannot be walked.
        losses: Its sensitivity, where that was measured.
        front: The plans that `anybit.quantize` could choose from, where these are given.
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
    tools: tuple[Tool, ...]
    plan: NativePlan | None
    losses: Losses | None
    front: tuple[FrontPoint, ...]
