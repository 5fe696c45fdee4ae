"""Numbers: the whole numbers behind the tensors of a hub model, as far as the walk has come."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.interpreter import Values
from anybit.analysis.values.tensor_values import Float64s
from anybit.arrays import is_power_of_two
from anybit.errors import Refusal
from anybit.exact.chain import Chain, chain_of
from anybit.exact.numbers import Floats, Integers, Pairs
from anybit.formats.thresholds.emit import Written, integer_type, laid
from anybit.formats.thresholds.levels import ThresholdLayer, declared_levels, threshold
from anybit.formats.thresholds.rows import SAME
from anybit.graph.annotations import annotate_number_format
from anybit.graph.editor import Editor
from anybit.graph.walk import label

_FLOAT_ROUNDING = 2.0**-21  # of a mean or sum: three roundings to float32 of what the magnitudes of its terms add up to
_SUBNORMAL = 2.0**-149  # what these roundings may be off by besides, where they are of numbers next to 0
LARGEST_SUM = 1 << 24
"""Below it float32 holds every whole number."""


@dataclass
class Numbers:
    """Whole numbers by tensor, and the nodes that compute them.

    Attributes:
        edit: Adds what is written to a hub model.
        values: Analysis of the model.
        ties: Whether levels may depend on a sum rounded once, where float32 rounds its summands apart.
        layers: Quantisers that were written.
        chains: Tensors as functions of whole numbers.
        written: What is added to the model.
    """

    edit: Editor
    values: Values
    ties: bool = False
    layers: list[ThresholdLayer] = field(default_factory=list[ThresholdLayer])
    chains: dict[ir.Value, Chain] = field(default_factory=dict[ir.Value, Chain])
    _sums: dict[ir.Value, Integers] = field(default_factory=dict[ir.Value, Integers])
    _shifted: dict[ir.Value, Integers] = field(default_factory=dict[ir.Value, Integers])

    def __post_init__(self) -> None:
        self.written = Written(self.edit)

    @property
    def model(self) -> ir.Model:
        """The hub model whose numbers these are, which the editor changes."""
        return self.edit.model

    def declare(self, value: ir.Value) -> None:
        """A tensor of whole numbers that stand for themselves, such as a graph input."""
        grid = self.values[value].grid
        if (
            value.dtype == ir.DataType.FLOAT
            and grid is not None
            and (grid.scale == 1).all()
            and not grid.zero_point.any()
        ):
            lo, hi = (np.full(1, bound) for bound in (grid.lo.min(initial=0), grid.hi.max(initial=0)))
            numbers = Integers(value, None, np.ones(1), lo, hi)
            self.chains[value] = chain_of(numbers)
            if value.producer() is not None:  # an input keeps the format that is stated
                self.written.annotate(numbers)

    def has_quantized_operand(self, node: ir.Node) -> bool:
        """Whether one of the first two inputs of a node is on a grid."""
        return any(v is not None and self.values[v].grid is not None for v in node.inputs[:2])

    def keep(self, value: ir.Value, numbers: Integers) -> None:
        """The numbers behind a tensor of the hub."""
        self.written.annotate(numbers)
        self.written.roots[value] = numbers
        self.chains[value] = chain_of(numbers)

    def integers_of(self, value: ir.Value) -> Integers | Refusal | None:
        """The whole numbers behind a tensor, made by thresholds where a function stands behind them; None if real."""
        chain = self.chains.get(value)
        if chain is None or isinstance(chain.root, Floats):
            return None
        if chain.plain is not None:
            return chain.plain
        if isinstance(chain.root, Pairs) and not chain.steps:
            return self._sums.get(value) or self._added(value, chain.root)
        grid = self.values[value].grid
        return None if grid is None or not grid.is_centred else self.threshold(value, chain, quantizer=False)

    def without_bias(self, numbers: Integers, before: ir.Node, *, exactly: bool = True) -> Integers | Refusal:
        """k + bias / unit in the place of k, so that the numbers stand for their tensor by the scale alone.

        Args:
            numbers: The numbers k.
            before: The node that reads them, before which the addition is put.
            exactly: Whether float32 has to compute scale * k + bias without rounding; else the bias only has to be
                a whole multiple of the unit as closely as float32 can say it.
        """
        if numbers.bias is None:
            return numbers
        known = self._shifted.get(numbers.value)
        if known is not None:
            return known
        steps = numbers.bias / numbers.unit
        shift = np.rint(steps)
        lo, hi = numbers.lo + shift, numbers.hi + shift
        distance = np.abs(steps - shift) > (0.0 if exactly else SAME) * np.abs(steps)
        if distance.any() or (exactly and not is_scaled_exactly(numbers)):
            return Refusal(
                problem="it reads sums to which a bias is added that is no whole number of steps of their scale",
                node=label(before),
                got=f"bias {float(numbers.bias.reshape(-1)[0]):g}, scale {float(numbers.unit.reshape(-1)[0]):g}",
                hint="quantise the sums, or give the bias their scale",
            )
        if max(np.abs(lo).max(), np.abs(hi).max(), np.abs(shift).max()) >= LARGEST_SUM:
            return Refusal(problem="sums and bias do not fit into float32", node=label(before))
        name = f"{numbers.value.name}/shifted"
        added = self.edit.constant(f"{name}/bias", laid(shift.astype(np.float32), numbers.axis, numbers.value))
        annotate_number_format(added, integer_type(float(shift.min()), float(shift.max())))
        value = self.written.put(before, "Add", [numbers.value, added], name, numbers.value, {})
        shifted = replace(numbers, value=value, lo=lo, hi=hi, bias=None, parity=None, mac=None)
        self.written.annotate(shifted)
        self._shifted[numbers.value] = shifted
        return shifted

    def threshold(self, value: ir.Value, chain: Chain, *, quantizer: bool) -> Integers | Refusal:
        node = value.producer()
        if node is None:  # a chain has nodes
            return Refusal(problem="nothing makes it", node=str(value.name))
        declared = declared_levels(node, self.model) if quantizer else None
        found = threshold(self.written, node, chain, self.values[value].grid, declared, ties=self.ties)
        if isinstance(found, Refusal):
            return found
        numbers, layer = found
        self.chains[value] = chain_of(numbers)
        if layer is not None:
            self.layers.append(layer)
        return numbers

    def _added(self, value: ir.Value, pairs: Pairs) -> Integers | Refusal:
        """The sum of two tensors whose scales are whole multiples of each other."""
        node = value.producer()
        if node is None:  # a sum has a node
            return Refusal(problem="nothing makes it", node=str(value.name))
        a, b = (self.without_bias(part, node) for part in (pairs.a, pairs.b))
        if isinstance(a, Refusal) or isinstance(b, Refusal):
            return a if isinstance(a, Refusal) else b
        unit = np.minimum(a.unit, b.unit)
        ratios = [part.unit / unit for part in (a, b)]
        whole = [np.rint(r) for r in ratios]
        if any((w != w[0]).any() or (np.abs(r / w - 1) > SAME).any() for r, w in zip(ratios, whole, strict=True)):
            return Refusal(
                problem="it adds numbers of different scales",
                node=label(node),
                got=f"{float(a.unit[0]):g} and {float(b.unit[0]):g}",
                hint="give both summands one scale, or quantise the sum",
            )
        p, q = (int(w[0]) for w in whole)
        numbers = Integers(
            self.written.sum_of(node, value, replace(pairs, a=a, b=b), (p, q)),
            a.axis if a.axis is not None else b.axis,
            unit,
            a.lo * p + b.lo * q,
            a.hi * p + b.hi * q,
            total=pairs.total,
        )
        if not (is_scaled_exactly(a) and is_scaled_exactly(b)):
            numbers = inexact(
                numbers,
                magnitude=float((_largest(a) * p + _largest(b) * q).max()),
                relative=max(
                    part.relative_error + float(np.abs(r / w - 1).max())
                    for part, r, w in zip((a, b), ratios, whole, strict=True)
                ),
                steps=sum(part.step_error * float(r.max()) for part, r in zip((a, b), ratios, strict=True)),
                one_sign=has_one_sign(a, b),
            )
        self.written.annotate(numbers)
        self._sums[value] = numbers
        return numbers


def is_scaled_exactly(numbers: Integers) -> bool:
    """Whether float32 computes with what they stand for exactly."""
    return numbers.is_exact and numbers.divisor == 1 and bool(is_power_of_two(numbers.scale).all())


def has_one_sign(*parts: Integers) -> bool:
    """Whether no number of any part has another sign than one of another part, 0 aside."""
    return all((p.lo >= 0).all() for p in parts) or all((p.hi <= 0).all() for p in parts)


def inexact(numbers: Integers, *, magnitude: float, relative: float, steps: float, one_sign: bool) -> Integers:
    """A sum or mean of what float32 rounds.

    Args:
        numbers: The sum, as if it were exact.
        magnitude: What the magnitudes of its terms add up to at most, in units of it.
        relative: How far a term may be off, as a share of it.
        steps: How far the terms together may be off besides, in units of the sum.
        one_sign: Whether all terms have one sign: then their magnitudes add up to that of the sum.
    """
    error = relative + _FLOAT_ROUNDING * (1 + relative)
    steps = steps * (1 + _FLOAT_ROUNDING) + _SUBNORMAL / float(np.abs(numbers.unit).min())
    if one_sign:
        return replace(numbers, relative_error=error, step_error=steps)
    return replace(numbers, relative_error=0.0, step_error=steps + error * magnitude)


def _largest(numbers: Integers) -> Float64s:
    return np.maximum(np.abs(numbers.lo), np.abs(numbers.hi))
