"""Tensors: one tensor of an analysed model as the page shows it, and what stands behind the constants of a node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from anybit.analysis.ranges import Ranges, TensorRange
from anybit.analysis.roles import Role
from anybit.analysis.statistics import TensorStatistics
from anybit.analysis.types import TensorType
from anybit.evaluation.statistics import Statistics
from anybit.graph.walk import dimension_text
from anybit.number_formats import FloatFormat, NumberFormat
from anybit.ops.calls import operator_of
from anybit.reporting.quantities import Held, Histogram, Tensor
from anybit.reporting.text import TIMES, finite, shown

_WIDE_FLOAT = 16  # from so many bits on a float format is how a tensor is stored, not how it is quantised


@dataclass(frozen=True)
class Tensors:
    """What the analyses say of each tensor, by its name.

    Attributes:
        model: The model that was analysed.
        roles: What each of its tensors is.
        types: Number formats.
        ranges: Proven bounds.
        statistics: What quantised tensors hold.
    """

    model: ir.Model
    roles: Mapping[ir.Value, Role]
    types: Mapping[str, TensorType]
    ranges: Mapping[str, TensorRange]
    statistics: Mapping[str, TensorStatistics]
    _behind: dict[ir.Value, ir.Value] = field(init=False, default_factory=dict[ir.Value, ir.Value])

    def __post_init__(self) -> None:
        for node in self.model.graph:
            self._follow(node)

    def _follow(self, node: ir.Node) -> None:
        """Notes which quantised tensor the results of a node that computes constants are made from."""
        if any(map(self.moves, node.outputs)):
            return
        quantized = [v for v in node.inputs if v is not None and self._quantized(v)]
        for output in node.outputs:
            if str(output.name) in self.statistics:
                self._behind[output] = output
            elif len(quantized) == 1:
                self._behind[output] = self.behind(quantized[0])

    def _quantized(self, value: ir.Value) -> bool:
        return value in self._behind or str(value.name) in self.statistics

    def moves(self, value: ir.Value) -> bool:
        """Whether a tensor depends on an input."""
        return value in self.roles and self.roles[value].depends_on_data

    def behind(self, value: ir.Value) -> ir.Value:
        """The quantised tensor that a constant is made from by moving its elements, itself where there is none."""
        return self._behind.get(value, value)

    def constants(self, node: ir.Node) -> Iterator[ir.Value]:
        """The constants that a node reads; not those that say how one of our operators quantises: a grid has these."""
        ours = operator_of(node, self.model.opset_imports) is not None
        for value in node.inputs[:1] if ours else node.inputs:
            if value is not None and not self.moves(value) and (value in self.roles or value.is_initializer()):
                yield self.behind(value)

    def bits(self, value: ir.Value) -> int | None:
        """Bits of the integers or small floats of a tensor; None where it is not quantised."""
        known = self.types.get(str(value.name))
        return None if known is None else quantized_bits(known.integers or known.format)

    def shown(self, value: ir.Value) -> Tensor:
        """A tensor with all that is known of it."""
        name = str(value.name)
        known, bounds, held = self.types.get(name), self.ranges.get(name), self.statistics.get(name)
        integers = None if bounds is None else bounds.integers
        return Tensor(
            name=shown(name),
            shape=shape_text(value),
            format=format_text(None if known is None else known.format),
            bits=self.bits(value),
            integers=None if known is None or known.integers is None else str(known.integers),
            scale=None if known is None or known.scale is None else str(known.scale),
            zero_point=None if known is None or known.zero_point is None else str(known.zero_point),
            integer_range=None if integers is None else (f"{integers.lo:,}", f"{integers.hi:,}"),
            lo=None if bounds is None else finite(bounds.lo),
            hi=None if bounds is None else finite(bounds.hi),
            stuck_channels=0 if bounds is None else bounds.stuck_channels or 0,
            held=None if held is None else _held(held),
        )


def tensors(
    model: ir.Model,
    roles: Mapping[ir.Value, Role],
    types: tuple[TensorType, ...],
    ranges: Ranges,
    statistics: Statistics,
) -> Tensors:
    """The tensors of an analysed model."""
    counted = (*statistics.weights, *statistics.activations)
    return Tensors(
        model, roles, {t.name: t for t in types}, {t.name: t for t in ranges.tensors}, {t.name: t for t in counted}
    )


def quantized_bits(format_: NumberFormat | None) -> int | None:
    """Bits of a number format; None for the float formats that tensors are stored in."""
    if format_ is None or (isinstance(format_, FloatFormat) and format_.bits >= _WIDE_FLOAT):
        return None
    return format_.bits


def format_text(format_: NumberFormat | None) -> str:
    """A number format as text."""
    return "?" if format_ is None else str(format_)


def shape_text(value: ir.Value) -> str:
    """The shape of a tensor as text, with the names of its free dimensions."""
    if value.shape is None:
        return "?"
    return shown(f" {TIMES} ".join(map(dimension_text, value.shape)) or "scalar", longest=80)


def _held(counted: TensorStatistics) -> Held:
    bars = counted.histogram
    return Held(
        elements=counted.elements,
        lowest=finite(counted.lowest),
        highest=finite(counted.highest),
        levels=counted.levels,
        used_levels=counted.used_levels,
        zeros=counted.zeros,
        saturated=counted.saturated,
        channels=counted.channels,
        dead_channels=len(counted.dead_channels),
        histogram=Histogram(bars.start, bars.width, bars.counts),
    )
