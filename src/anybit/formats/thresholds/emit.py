"""Written: the nodes and constants of whole numbers that are added to a hub model, their formats stated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir

from anybit.analysis.values.tensor_values import Float64s, smallest_format
from anybit.arrays import Array, is_power_of_two
from anybit.exact.chain import Chain
from anybit.exact.numbers import Floats, Integers, Pairs
from anybit.formats.thresholds.rows import Levels, Rows
from anybit.graph.annotations import annotate_number_format
from anybit.graph.constants import constant
from anybit.graph.editor import Editor
from anybit.graph.walk import shape_of
from anybit.number_formats import BipolarFormat, IntFormat, NumberFormat
from anybit.ops.multi_threshold import MULTI_THRESHOLD
from anybit.ops.operator import DOMAIN

LAYOUTS = {(3, 1): "NCW", (4, 1): "NCHW", (5, 1): "NCDHW", (3, 2): "NWC", (4, 3): "NHWC", (5, 4): "NDHWC"}
"""The layout of a tensor of more than two axes, by rank and axis of channels."""
_LEAST_SIGNED_BITS = 2


@dataclass
class Written:
    """Adds nodes to a model, each before a node of the hub in whose place it computes.

    Attributes:
        edit: Adds nodes and constants.
        roots: Whole numbers by the tensor of the hub that they stand for.
    """

    edit: Editor
    roots: dict[ir.Value, Integers] = field(default_factory=dict[ir.Value, Integers])

    def put(
        self,
        before: ir.Node,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        name: str,
        like: ir.Value,
        attributes: Mapping[str, ir.Attr],
    ) -> ir.Value:
        """The output of a new standard node."""
        node = self.edit.node(op_type, inputs, name, like=like, attributes=attributes)
        self.edit.insert(node, before=before, of=before)
        return node.outputs[0]

    def weights(self, name: str, weights: Array, declared: NumberFormat | None) -> ir.Value:
        """Integer weights as float32."""
        value = self.edit.constant(name, np.ascontiguousarray(weights, np.float32))
        annotate_number_format(value, weight_type(weights, declared))
        return value

    def scaled(self, before: ir.Node, value: ir.Value, by: Float64s, axis: int | None, name: str) -> ir.Value:
        """The tensor times one number, or one a channel."""
        factor = self.edit.constant(f"{name}/factor", laid(by.astype(np.float32), axis, value))
        if np.isfinite(by).all() and (by == np.rint(by)).all():
            annotate_number_format(factor, integer_type(float(by.min()), float(by.max())))
        return self.put(before, "Mul", [value, factor], name, value, {})

    def sum_of(self, before: ir.Node, like: ir.Value, pairs: Pairs, multipliers: tuple[int, int]) -> ir.Value:
        """p * a + q * b."""
        name = f"{like.name}/sums"
        parts = [
            part.value if m == 1 else self.scaled(before, part.value, np.full(1, float(m)), None, name)
            for part, m in zip((pairs.a, pairs.b), multipliers, strict=True)
        ]
        return self.put(before, "Add", parts, name, like, {})

    def negated(
        self, chain: Chain, root: Integers | Floats, sign: Float64s, before: ir.Node
    ) -> tuple[Chain, Integers | Floats]:
        """The chain behind sign * number; the weights that make the numbers are negated if nothing else reads them."""
        sign = sign if (sign != sign[0]).any() else sign[:1]
        maker = root.mac if isinstance(root, Integers) and chain.private else None
        if maker is None:
            value = self.scaled(before, root.value, sign, chain.axis, f"{root.value.name}/negated")
        else:
            value = root.value
            self._negate_weights(maker, sign)
        rising = None if chain.rising is None else chain.rising * sign
        if isinstance(root, Floats):
            turned: Integers | Floats = replace(root, value=value)
        else:
            lo, hi = root.lo * sign, root.hi * sign
            axis = root.axis if len(sign) == 1 else chain.axis
            turned = replace(
                root, value=value, axis=axis, scale=root.scale * sign, lo=np.minimum(lo, hi), hi=np.maximum(lo, hi)
            )
            self.annotate(turned)
        return replace(chain, root=turned, rising=rising), turned

    def _negate_weights(self, maker: ir.Node, sign: Float64s) -> None:
        old = maker.inputs[1]
        weights = constant(old)
        if old is None or weights is None:  # the writer made it
            raise ValueError(f"{maker.name} has no weights")
        across = (-1, *(1,) * (weights.ndim - 1)) if maker.op_type == "Conv" else (1, -1)
        turned = weights * sign.astype(np.float32).reshape(across)
        bipolar = bool((np.abs(turned) == 1).all())
        new = self.weights(f"{old.name}/signed", turned, BipolarFormat() if bipolar else None)
        maker.replace_input_with(1, new)

    def multi_threshold(
        self, node: ir.Node, source: ir.Value, rows: Rows, levels: Levels, axis: int | None, *, whole: bool
    ) -> ir.Value:
        """MultiThreshold in the place of a quantiser: the level of each number."""
        output = node.outputs[0]
        thresholds = self.edit.constant(f"{output.name}/thresholds", rows.thresholds)
        if whole and rows.thresholds.size:
            ends = (float(f(rows.thresholds)) for f in (np.min, np.max))
            annotate_number_format(thresholds, integer_type(*ends))
        datatype = BipolarFormat() if levels.bipolar else integer_type(levels.lo, levels.hi)
        attributes: list[ir.Attr] = [
            ir.AttrString("out_dtype", str(datatype)),
            ir.AttrFloat32("out_scale", 2.0 if levels.bipolar else 1.0),
            ir.AttrFloat32("out_bias", float(levels.lo)),
        ]
        rank = len(shape_of(output) or ())
        layout = LAYOUTS.get((rank, axis if axis is not None and len(rows.thresholds) > 1 else 1))
        if layout is not None:
            attributes.append(ir.AttrString("data_layout", layout))
        new = self.edit.node(
            MULTI_THRESHOLD.name,
            [source, thresholds],
            f"{output.name}/levels",
            like=output,
            domain=DOMAIN,
            attributes={a.name: a for a in attributes},
        )
        self.edit.insert(new, before=node, of=node)
        annotate_number_format(new.outputs[0], datatype)
        return new.outputs[0]

    def annotate(self, numbers: Integers) -> None:
        """States the format of whole numbers."""
        lo, hi = float(numbers.lo.min(initial=0)), float(numbers.hi.max(initial=0))
        bipolar = numbers.parity == 1 and (lo, hi) == (-1, 1)
        annotate_number_format(numbers.value, BipolarFormat() if bipolar else integer_type(lo, hi))

    def realise(self) -> None:
        """Lets what still reads a tensor of the hub get the numbers times their scale; its own node makes it else."""
        for old, numbers in self.roots.items():
            maker = old.producer()
            if maker is None or not (old.uses() or old.is_graph_output()) or not _is_kept_by_scale(numbers):
                continue
            real = numbers.value
            unit = numbers.unit if (numbers.unit != numbers.unit[0]).any() else numbers.unit[:1]
            if (unit == 1).all() and numbers.bias is None and not old.is_graph_output():
                self.edit.redirect(old, real)
                continue
            if (unit != 1).any() or numbers.bias is None:
                real = self.scaled(maker, real, unit, numbers.axis, f"{old.name}/scaled")
            if numbers.bias is not None:
                bias = laid(numbers.bias.astype(np.float32), numbers.axis, real)
                added = self.edit.constant(f"{old.name}/bias", bias)
                real = self.put(maker, "Add", [real, added], f"{old.name}/biased", old, {})
            self.edit.replace(old, real)


def _is_kept_by_scale(numbers: Integers) -> bool:
    """Whether the numbers times their scale are what the hub's own sum or mean is, bit for bit."""
    return numbers.is_exact and bool(is_power_of_two(numbers.divisor))


def laid(by_channel: Array, axis: int | None, like: ir.Value) -> Array:
    """Numbers by channel as they broadcast to a tensor."""
    if axis is None or by_channel.size == 1:
        return np.asarray(by_channel.reshape(-1)[0])
    rank = len(shape_of(like) or ())
    return by_channel.reshape(-1, *(1,) * (rank - axis - 1))


def integer_type(lo: float, hi: float) -> IntFormat:
    """The smallest format that holds lo .. hi; a signed one has two bits at least."""
    found = smallest_format(int(lo), int(hi))
    return IntFormat(max(found.bits, _LEAST_SIGNED_BITS), signed=True) if found.signed else found


def weight_type(weights: Array, declared: NumberFormat | None) -> NumberFormat:
    """The declared format of weights, if it is one of integers that holds them; else the smallest."""
    if declared is not None and declared.is_integer and declared.allows(weights).all():
        return declared
    return integer_type(float(weights.min(initial=0)), float(weights.max(initial=0)))
