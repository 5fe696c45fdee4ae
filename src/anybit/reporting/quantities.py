"""What the page of a model shows of its tensors, accumulators and cost, as texts and numbers (see `Report`)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Histogram:
    """counts[k] elements have one of the integers start + k*width .. start + (k + 1)*width - 1."""

    start: int
    width: int
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Held:
    """What a quantised tensor holds: a weight, or an activation on the user's data (see `TensorStatistics`).

    Attributes:
        elements: Number of elements that were counted.
        lowest: Smallest value.
        highest: Largest value.
        levels: Number of integers that the quantiser can produce.
        used_levels: How many of them occur; None where they are too many to count.
        zeros: Fraction of elements that are 0.
        saturated: Fraction of elements at the ends of the grid; None where it has only these two.
        channels: Number of channels.
        dead_channels: Those of a weight that are all 0, those of an activation that never leave one value.
        histogram: How often the integers occur.
    """

    elements: int
    lowest: float | None
    highest: float | None
    levels: int
    used_levels: int | None
    zeros: float
    saturated: float | None
    channels: int
    dead_channels: int
    histogram: Histogram


@dataclass(frozen=True)
class Tensor:
    """One tensor.

    Attributes:
        name: Its name.
        shape: Its shape, as text.
        format: Number format of its values, "?" where it is not known.
        bits: Bits of its integers, else of its small floats; None where it is not quantised.
        integers: Format of the integers behind it.
        scale: Their scale, one number or the span of all channels.
        zero_point: Their zero point, likewise.
        integer_range: Smallest and largest integer that are proven to occur at most.
        lo: No element is smaller.
        hi: No element is larger.
        stuck_channels: Channels that hold one value whatever the input.
        held: What it holds; None where that was not counted.
    """

    name: str
    shape: str
    format: str
    bits: int | None
    integers: str | None
    scale: str | None
    zero_point: str | None
    integer_range: tuple[str, str] | None
    lo: float | None
    hi: float | None
    stuck_channels: int
    held: Held | None


@dataclass(frozen=True)
class Bound:
    """What is proven about the sums of an accumulator by one kind of bound (see `AccumulatorBound`)."""

    by: str
    lo: str
    hi: str
    bits: int
    partial_bits: int


@dataclass(frozen=True)
class Accumulator:
    """How a multiply-accumulate adds up integers.

    Attributes:
        terms: Products in one sum.
        operands: Formats of the integers that are multiplied.
        bounds: From the widest to the tightest.
    """

    terms: int
    operands: tuple[str, str]
    bounds: tuple[Bound, ...]


@dataclass(frozen=True)
class Figures:
    """What something costs for one sample; None stands for a figure that is not known."""

    macs: int | None
    bit_operations: int | None
    weight_bits: int | None
    activation_bits: int | None


@dataclass(frozen=True)
class Pair:
    """Two number formats that are multiplied.

    Attributes:
        text: Both of them.
        weight_bits: Bits of the second one; None where it is not quantised.
        bit_operations: Their bit operations.
    """

    text: str
    weight_bits: int | None
    bit_operations: int


@dataclass(frozen=True)
class Cost:
    """What something costs, with and without the weights that are 0.

    Attributes:
        dense: All of it.
        sparse: Without weights that are 0.
        pairs: The number formats that are multiplied, most frequent first.
    """

    dense: Figures
    sparse: Figures
    pairs: tuple[Pair, ...]
