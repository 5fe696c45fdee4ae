"""Recipe: what `anybit.quantize` is asked to do."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from anybit.errors import UsageError
from anybit.quantization.allocation.budget import CostBudget

LEAST_BITS, MOST_BITS = 2, 16


class Scales(enum.Enum):
    """Which numbers a scale may be."""

    FLOAT = "float"
    POWER_OF_TWO = "power-of-two"


class Target(enum.Enum):
    """The tool that the model is made for, whose constraints its quantisers keep."""

    FINN = "finn"
    HLS4ML = "hls4ml"


@dataclass(frozen=True)
class LayerBits:
    """Bit widths of one layer; None where the recipe's own hold.

    Attributes:
        weights: Bits of its weights.
        activations: Bits of what it reads.
    """

    weights: int | None = None
    activations: int | None = None


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What `anybit.quantize` is asked to do.

    Names are those of nodes, of their outputs or of weights; patterns are those of the shell (``/block*/conv?``).

    Attributes:
        weights: Bits of the weights, 2 to 16.
        activations: Bits of the activations, 2 to 16; None leaves them in float.
        first_last: Bits of weights and inputs of the layers that read the inputs and that make the outputs; None for
            those of all others.
        scales: Which numbers a scale may be; None means powers of two where there is a target, else any.
        per_tensor: One scale for a weight in place of one for each output channel.
        block: Entries of a row of the weights that share a scale, where only weights are quantised; None for all.
        skip: Names or patterns of layers that stay in float.
        layers: Bit widths by name or pattern; of several that fit, the last one holds.
        accumulator: Bits of a signed accumulator that must hold every partial sum of every layer.
        target: The tool that the model is made for.
        bits: Bit widths to choose from for each tensor, where there is a budget.
        budget: What the model may cost; widths are then chosen tensor by tensor, but for those that `first_last`,
            `layers` or `skip` decide.
        requantize: Whether quantisers that the model has are taken out first; else what is quantised stays as it is.
    """

    weights: int = 8
    activations: int | None = 8
    first_last: int | None = None
    scales: Scales | None = None
    per_tensor: bool = False
    block: int | None = None
    skip: tuple[str, ...] = ()
    layers: Mapping[str, LayerBits] = field(default_factory=dict[str, LayerBits])
    accumulator: int | None = None
    target: Target | None = None
    bits: tuple[int, ...] = (2, 3, 4, 6, 8)
    budget: CostBudget | None = None
    requantize: bool = False

    def __post_init__(self) -> None:
        widths = [("weights", self.weights), ("activations", self.activations), ("first_last", self.first_last)]
        widths += [("bits", width) for width in self.bits]
        if not self.bits:
            raise UsageError("no bit widths to choose from")
        for pattern, bits in self.layers.items():
            widths += [(f"weights of '{pattern}'", bits.weights), (f"activations of '{pattern}'", bits.activations)]
        for name, width in widths:
            if width is not None and not LEAST_BITS <= width <= MOST_BITS:
                raise UsageError(f"bit width of {name}", got=width, expected=f"{LEAST_BITS} to {MOST_BITS}")
        if self.block is not None and self.activations is not None:
            raise UsageError("blocks of weights", got="quantised activations", expected="activations=None")
        if self.block is not None and (self.block < 16 or self.block & (self.block - 1)):
            raise UsageError("size of a block", got=self.block, expected="a power of two from 16 on")
        if self.accumulator is not None and not 8 <= self.accumulator <= 32:
            raise UsageError("bits of the accumulator", got=self.accumulator, expected="8 to 32")
        if self.accumulator is not None and self.activations is None:
            raise UsageError("a limit of the accumulator", got="float activations", expected="quantised activations")

    @property
    def chosen_scales(self) -> Scales:
        """Which numbers a scale may be."""
        by_target = Scales.FLOAT if self.target is None else Scales.POWER_OF_TWO
        return by_target if self.scales is None else self.scales

    def skips(self, *names: str) -> bool:
        """Whether a layer of one of these names stays in float."""
        return any(fnmatchcase(name, pattern) for pattern in self.skip for name in names)

    def bits_of(self, *names: str) -> LayerBits:
        """What `layers` says of a layer of these names."""
        found = LayerBits()
        for pattern, bits in self.layers.items():
            if any(fnmatchcase(name, pattern) for name in names):
                found = LayerBits(bits.weights or found.weights, bits.activations or found.activations)
        return found
